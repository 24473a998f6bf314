package differential

import (
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker"
)

// apart are the answers of a script of which brokers give some alike and some not: a line
// for both, or one for each.
type apart []map[string]string

// both is what stands for all brokers.
const both = ""

func readApart(text string) (out apart) {
	for line := range strings.Lines(text) {
		who, told := both, strings.TrimSuffix(line, "\n")
		for name := range sides {
			if rest, ok := strings.CutPrefix(told, name+": "); ok {
				who, told = name, rest
				break
			}
		}
		last := len(out) - 1
		if last < 0 || who == both || out[last][both] != "" || out[last][who] != "" {
			out = append(out, map[string]string{})
		}
		out[len(out)-1][who] = told
	}
	return out
}

// sides are the brokers that are held against each other, each with the other.
var sides = map[string]string{"Levada": kafkaName, kafkaName: "Levada"}

// answer is told of the n-th request by a broker: as it is by both, or else by itself.
func (a apart) answer(n int, who, told string) string {
	if n >= len(a) || a[n][both] == told {
		return told + "\n"
	}
	other := a[n][both]
	if other == "" {
		other = a[n][sides[who]]
	}
	if other == told {
		return told + "\n"
	}
	lines := map[string]string{who: told, sides[who]: other}
	return fmt.Sprintf("%s: %s\nLevada: %s\n", kafkaName, lines[kafkaName], lines["Levada"])
}

// differences has a broker answer the requests of a file, which says what each broker does.
func differences(t *testing.T, file, name, addr string) {
	datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
		a := newRawTalk(t, name, addr)
		a.client = a.prefix + "differential" // that has limits of its own
		a.settles = slices.DeleteFunc(a.settles, func(s string) bool { return strings.Contains(s, "CONCURRENT_TRANSACTIONS") })
		maps.Copy(a.batches, oddBatches(t))
		was, out := readApart(d.Expected), ""
		for i, line := range strings.Split(d.Input, "\n") {
			told := strings.TrimSuffix(a.do(line), "\n")
			out += was.answer(i, name, strings.ReplaceAll(told, base64.StdEncoding.EncodeToString(a.batches["mega"]), "%mega"))
		}
		if len(was) > 0 && !strings.Contains(out, "Levada: ") {
			t.Errorf("%s: both brokers answer alike", d.Pos)
		}
		return out
	})
}

// oddBatches are batches that one broker takes and the other does not, and a megabyte.
func oddBatches(t *testing.T) map[string][]byte {
	var build recordbatch.Builder
	build.Append(1_700_000_000_000, []byte("k"), []byte("v"), nil)
	build.Append(1_700_000_000_000, []byte("k"), []byte("v"), nil)
	two := build.Batch()
	recode := func(codec recordbatch.Codec, change func(recordbatch.Batch)) recordbatch.Batch {
		odd := slices.Clone(two)
		change(odd)
		out, err := new(recordbatch.Reader).Recode(nil, odd, codec, 0)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	unchanged := func(recordbatch.Batch) {}
	sum := recode(recordbatch.CodecLZ4, unchanged)
	sum[len(sum)-1] ^= 1 // of the frame
	sum.SetCRC()
	large := batchOf(strings.Repeat("k", 20_000))
	large.SetCRC()
	return map[string][]byte{
		"gap":    recode(recordbatch.CodecNone, func(b recordbatch.Batch) { b[recordbatch.HeaderSize+3] = 8 }),
		"packed": recode(recordbatch.CodecGzip, func(b recordbatch.Batch) { b[recordbatch.HeaderSize+3] = 8 }),
		"length": recode(recordbatch.CodecGzip, func(b recordbatch.Batch) { b[recordbatch.HeaderSize] += 2 }),
		"sum":    sum,
		"large":  large,
		"mega":   make([]byte, 1<<20+1),
	}
}

// TestDifferences: where docs/compatibility.md says that we do not as Kafka, we do as it
// says.
func TestDifferences(t *testing.T) {
	differences(t, "testdata/differences", "Levada", startLevada(t))
}

// TestDifferencesOfApacheKafka: and Kafka does what is said of it.
func TestDifferencesOfApacheKafka(t *testing.T) {
	differences(t, "testdata/differences", kafkaName, kafkaAddress(t))
}

// TestDifferentRights: the same of brokers with access rules.
func TestDifferentRights(t *testing.T) {
	differences(t, "testdata/differentrights", "Levada", startLevadaWith(t, authorizing))
}

func TestDifferentRightsOfApacheKafka(t *testing.T) {
	differences(t, "testdata/differentrights", kafkaName, authorizingKafka(t))
}

// authorizing has a broker whose clients may do everything.
var authorizing = logbroker.Security{Authorize: true, SuperUsers: []string{"User:ANONYMOUS"}}

// authorizingKafka is the address of one that was started with an authorizer.
func authorizingKafka(t *testing.T) string {
	t.Helper()
	addr := kafkaAddress(t)
	if os.Getenv("LEVADA_KAFKA_AUTHORIZES") == "" {
		t.Skip("LEVADA_KAFKA_AUTHORIZES is not set: make kafka starts a broker with an authorizer for it")
	}
	return addr
}
