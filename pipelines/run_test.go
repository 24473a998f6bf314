package pipelines

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/levada/levada/pipelines/row"
	"github.com/levada/levada/runtime/streamtest"
	"github.com/levada/levada/runtime/topology"
)

// TestRun runs the pipelines of testdata/run in memory. `pipeline` loads one
// and prints its plan; `send` produces records, one a line: topic, time, key,
// value, with - for null, and prints what comes out.
func TestRun(t *testing.T) {
	datadriven.Walk(t, "testdata/run", func(t *testing.T, path string) {
		r := &runner{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "pipeline":
				return r.load(t, d)
			case "send":
				return r.send(t, d)
			case "dropped":
				return fmt.Sprintf("%+v\n", r.driver.Dropped())
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

// goLine is where in the source a panic was; it moves.
var goLine = regexp.MustCompile(`\.go:[0-9]+`)

type runner struct {
	plan   *Plan
	driver *streamtest.Driver
}

func (r *runner) load(t *testing.T, d *datadriven.TestData) string {
	plan, faults := Parse("f.yaml", []byte(d.Input+"\n"), options())
	if plan == nil {
		t.Fatalf("%s", faults)
	}
	r.plan = plan
	partitions := 1
	d.MaybeScanArgs(t, "partitions", &partitions)
	r.driver = streamtest.New(t, plan.Topology, streamtest.Partitions(int32(partitions)))
	if d.HasArg("quiet") {
		return faults.String()
	}
	var b strings.Builder
	b.WriteString(faults.String())
	for _, c := range plan.Sources {
		fmt.Fprintf(&b, "source %s: %s %s to %s, on error %s %s\n", c.Name, c.Plugin, c.Config, c.Topic, c.OnError, c.DeadLetterTopic)
	}
	for _, c := range plan.Sinks {
		fmt.Fprintf(&b, "sink %s: %s %s from %s, on error %s %s\n", c.Name, c.Plugin, c.Config, c.Topic, c.OnError, c.DeadLetterTopic)
	}
	for _, topic := range plan.Topics {
		fmt.Fprintf(&b, "topic %s of %d partitions, compacted %v\n", topic.Name, topic.Partitions, topic.Compacted)
	}
	fmt.Fprintf(&b, "%s, %s, %v, %d workers, %s %s\n", plan.Name, plan.Guarantee, plan.CommitInterval, plan.Workers, plan.OnError, plan.DeadLetterTopic)
	return b.String() + plan.Topology.Describe()
}

// send produces records and prints what comes out. A key that is written
// int:7 is the eight bytes of 7.
func (r *runner) send(t *testing.T, d *datadriven.TestData) string {
	var b strings.Builder
	for _, line := range strings.Split(d.Input, "\n") {
		parts := strings.SplitN(line, " ", 4)
		if len(parts) != 4 {
			t.Fatalf("%s: %q: want topic time key value", d.Pos, line)
		}
		ts, err := strconv.ParseInt(parts[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		m := streamtest.Message{Key: keyBytes(t, parts[2]), Value: textBytes(parts[3]), Timestamp: ts}
		if err := r.driver.Produce(parts[0], m); err != nil {
			var re *topology.RecordError
			if !errors.As(err, &re) {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "error (clean %v): %s\n", re.Clean, goLine.ReplaceAllString(re.Error(), ".go"))
		}
		r.written(t, &b)
	}
	return b.String()
}

func keyBytes(t *testing.T, s string) []byte {
	if n, ok := strings.CutPrefix(s, "int:"); ok {
		i, err := strconv.Atoi(n)
		if err != nil {
			t.Fatal(err)
		}
		b, err := row.KeySerde("int").Append(nil, i)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return textBytes(s)
}

func textBytes(s string) []byte {
	if s == "-" {
		return nil
	}
	return []byte(s)
}

// written prints the records that came out since the last time.
func (r *runner) written(t *testing.T, b *strings.Builder) {
	var topics []string
	for _, sub := range r.plan.Topology.Subtopologies {
		for _, s := range sub.Sinks {
			if s.Topic.Kind == topology.External && !slices.Contains(topics, s.Topic.Name) {
				topics = append(topics, s.Topic.Name)
			}
		}
	}
	for _, topic := range topics {
		for _, m := range r.driver.Take(topic) {
			fmt.Fprintf(b, "%s @%d %s = %s", topic, m.Timestamp, show(m.Key), show(m.Value))
			hs, err := m.Headers.Decode()
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range hs {
				fmt.Fprintf(b, " [%s: %s]", h.Key, h.Value)
			}
			b.WriteByte('\n')
		}
	}
}

func show(b []byte) string {
	if b == nil {
		return "-"
	}
	if slices.ContainsFunc(b, func(c byte) bool { return c < ' ' || c >= 0x7f }) {
		return fmt.Sprintf("%x", b)
	}
	return string(b)
}
