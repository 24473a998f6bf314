package runtime

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

var testPartition = logclient.TopicPartition{Topic: "t", Partition: 3}

// batchOf makes a batch of n records whose values are their offsets, handed
// over as bytes or as records.
func batchOf(base int64, n int, raw bool) logclient.Batch {
	b := logclient.Batch{TopicPartition: testPartition, Next: base + int64(n), End: 1 << 40, LeaderEpoch: int32(base % 7)}
	if n == 0 {
		return b
	}
	var builder recordbatch.Builder
	for i := range n {
		builder.Append(base+int64(i), []byte{byte(i)}, fmt.Append(nil, base+int64(i)), nil)
	}
	batch := builder.Batch()
	batch.SetBaseOffset(base)
	if raw {
		b.Raw = batch
		return b
	}
	var r recordbatch.Reader
	if err := r.Reset(batch); err != nil {
		panic(err)
	}
	var rec recordbatch.Record
	for {
		ok, err := r.Next(&rec)
		if err != nil {
			panic(err)
		}
		if !ok {
			return b
		}
		b.Records = append(b.Records, rec)
	}
}

// TestInputDeliversEachRecordOnce feeds batches of both forms, copies them out of the
// member's memory at random moments and overwrites that memory, as a Poll does.
func TestInputDeliversEachRecordOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(0, 50).Draw(t, "start")
		in := &input{tp: testPartition}
		in.reset(logclient.Position{TopicPartition: testPartition, Offset: start})
		next := start - rapid.Int64Range(0, start).Draw(t, "before") // a batch is handed over whole
		want := start
		var lent []logclient.Batch
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				b := batchOf(next, rapid.SampledFrom([]int{0, 1, 3, 700, 1500}).Draw(t, "records"), rapid.Bool().Draw(t, "raw"))
				next = b.Next
				in.add(b)
				lent = append(lent, b)
			case 1:
				in.keep()
				for _, b := range lent { // the member reuses its memory
					clear(b.Raw)
					for i := range b.Records {
						clear(b.Records[i].Value)
						b.Records[i] = recordbatch.Record{}
					}
				}
				lent = nil
			case 2:
				ok, err := in.head()
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					continue
				}
				n := min(in.upTo(rapid.SampledFrom([]int64{math.MaxInt64, want, want + 5}).Draw(t, "limit")), rapid.IntRange(1, 600).Draw(t, "n"))
				for _, r := range in.chunk[in.done : in.done+n] {
					if r.Offset != want || string(r.Value) != fmt.Sprint(want) {
						t.Fatalf("got offset %d value %q, want %d", r.Offset, r.Value, want)
					}
					want++
				}
				in.advance(n)
				if in.position < want {
					t.Fatalf("position %d after offset %d", in.position, want-1)
				}
			}
		}
		for {
			ok, err := in.head()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			for _, r := range in.chunk[in.done:] {
				if r.Offset != want {
					t.Fatalf("got offset %d, want %d", r.Offset, want)
				}
				want++
			}
			in.advance(len(in.chunk) - in.done)
		}
		if want < next || in.position != max(next, start) {
			t.Fatalf("ended at offset %d, position %d, want %d", want, in.position, next)
		}
		if in.keptBytes != 0 {
			t.Fatalf("%d bytes are still counted as kept", in.keptBytes)
		}
	})
}

func TestOffsetMetadata(t *testing.T) {
	m := offsetMetadata{streamTime: 1234, transactionalID: "app-9f-0 with a space"}
	got, err := decodeMetadata(logclient.Position{Metadata: m.encode()})
	if err != nil || got != m {
		t.Errorf("decode(encode(%+v)) = %+v, %v", m, got, err)
	}
	for _, foreign := range []string{"", "set by a tool", "levada/2 7 x"} {
		got, err := decodeMetadata(logclient.Position{Metadata: foreign})
		if err != nil || got.streamTime != -1 || got.transactionalID != "" {
			t.Errorf("decode(%q) = %+v, %v, want nothing known", foreign, got, err)
		}
	}
	if _, err := decodeMetadata(logclient.Position{Metadata: "levada/1 x y"}); err == nil {
		t.Error("a stream time that is no number was taken")
	}
}

func TestConfigReportsAllFaults(t *testing.T) {
	_, err := New(Config{App: "a/b", Workers: -1, Guarantee: "twice", OnError: DeadLetter})
	if err == nil {
		t.Fatal("a config without anything was taken")
	}
	for _, want := range []string{`application id "a/b"`, "Config.Log", "Config.Topology", "Config.ProcessID", "-1 workers", `guarantee "twice"`, "Config.DeadLetterTopic"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}
