package streamtest_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/levada/levada/dsl"
	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/runtime/streamtest"
	"github.com/levada/levada/runtime/topology"
)

var (
	lines  = dsl.NewTopic("lines", serde.Bytes{}, serde.String{})
	counts = dsl.NewTopic("word-counts", serde.String{}, serde.Int64{})
)

func wordCount(opts ...dsl.Option) (*topology.Topology, error) {
	b := dsl.NewBuilder()
	words := dsl.FlatMapValues(lines.Stream(b), strings.Fields)
	dsl.GroupBy(words, func(_ []byte, w string) string { return w }).Count("counts", opts...).Stream().To(counts)
	return b.Build()
}

func open(t *testing.T, plan *topology.Topology, err error) *streamtest.Driver {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return streamtest.New(t, plan)
}

func TestScript(t *testing.T) {
	streamtest.RunScript(t, "testdata/wordcount", func() (*topology.Topology, error) { return wordCount() }, lines, counts)
}

func TestTyped(t *testing.T) {
	plan, err := wordCount()
	d := open(t, plan, err)
	in, out := streamtest.Input(d, lines), streamtest.Output(d, counts)
	in.SendAt(5, nil, "to be")
	in.Send([]byte("k"), "to")
	out.Want("to=1 be=1 to=2")
	out.Want("")
	in.SendAt(3, nil, "be")
	in.DeleteAt(4, []byte("k"))
	got := out.Take()
	if len(got) != 1 || got[0].Key != "be" || got[0].Value != 2 || got[0].Timestamp != 5 {
		t.Errorf("took %+v, want be=2 at 5", got)
	}
	if n := d.Dropped(); n.NullValue != 1 {
		t.Errorf("dropped %+v, want one null value", n)
	}
	store := streamtest.Store(d, "counts", serde.String{}, serde.Int64{})
	if text := fmt.Sprint(store); text != "[{be 2 5 false false []} {to 2 5 false false []}]" {
		t.Errorf("store holds %s", text)
	}
}

// TestPartitionsDoNotMatter: by whatever number of partitions records travel,
// the counts are those of a map.
func TestPartitionsDoNotMatter(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		plan, err := wordCount(dsl.EmitOnCommit())
		if err != nil {
			r.Fatal(err)
		}
		d, err := streamtest.Open(streamtest.Config{Topology: plan, Partitions: rapid.Int32Range(1, 5).Draw(r, "partitions")})
		if err != nil {
			r.Fatal(err)
		}
		defer func() {
			if err := d.Close(); err != nil {
				r.Fatal(err)
			}
		}()
		want, got := map[string]int64{}, map[string]int64{}
		out := streamtest.Output(d, counts)
		for i := range rapid.IntRange(1, 20).Draw(r, "lines") {
			words := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "dd", "eee", "é"}), 0, 6).Draw(r, "words")
			for _, w := range words {
				want[w]++
			}
			streamtest.Input(d, lines).SendAt(int64(i), []byte(fmt.Sprint(i)), strings.Join(words, " "))
			if rapid.Bool().Draw(r, "commit") {
				if err := d.Commit(); err != nil {
					r.Fatal(err)
				}
			}
		}
		if err := d.Commit(); err != nil {
			r.Fatal(err)
		}
		for _, rec := range out.Take() {
			if rec.Value <= got[rec.Key] {
				r.Fatalf("%s went from %d to %d", rec.Key, got[rec.Key], rec.Value)
			}
			got[rec.Key] = rec.Value
		}
		if !maps.Equal(got, want) {
			r.Fatalf("counted %v, want %v", got, want)
		}
	})
}

// TestErrors: a record that fails is an error of Produce; the driver goes on
// after it if it had no effects.
func TestErrors(t *testing.T) {
	numbers := dsl.NewTopic("numbers", serde.String{}, serde.Int64{})
	b := dsl.NewBuilder()
	s := numbers.Stream(b)
	s.To(dsl.NewTopic("copy", serde.String{}, serde.Int64{}))
	dsl.MapValues(s, func(n int64) int64 { return 100 / n }).To(dsl.NewTopic("shares", serde.String{}, serde.Int64{}))
	plan, err := b.Build()
	d := open(t, plan, err)
	message := func(v string) streamtest.Message { return streamtest.Message{Key: []byte("k"), Value: []byte(v)} }
	var re *topology.RecordError
	if err := d.Produce("numbers", message("short")); !errors.As(err, &re) || !re.Clean {
		t.Errorf("undecodable: %v, want a clean RecordError", err)
	}
	if err := d.Produce("numbers", message("\x00\x00\x00\x00\x00\x00\x00\x02")); err != nil {
		t.Errorf("after a clean error: %v", err)
	}
	if err := d.Produce("numbers", message("\x00\x00\x00\x00\x00\x00\x00\x00")); !errors.As(err, &re) || re.Clean || re.Node != "mapValues-1" {
		t.Errorf("division by zero: %v, want an error of mapValues-1 that is not clean", err)
	}
	if err := d.Produce("numbers", message("\x00\x00\x00\x00\x00\x00\x00\x01")); err == nil {
		t.Error("after an error that is not clean the driver goes on")
	}
	if err := d.Produce("other", message("")); err == nil || err.Error() != `streamtest: the topology does not read topic "other"; it reads numbers` {
		t.Errorf("unknown topic: %v", err)
	}
	if err := d.ProduceTo("numbers", streamtest.Message{Partition: 1}); err == nil {
		t.Error("a partition that does not exist was taken")
	}
	if _, err := d.StoreText("none"); err == nil {
		t.Error("a store that does not exist was listed")
	}
}

// TestLoop: a topology that writes what it reads is stopped.
func TestLoop(t *testing.T) {
	b := dsl.NewBuilder()
	lines.Stream(b).To(lines)
	plan, err := b.Build()
	d := open(t, plan, err)
	if err := d.Produce("lines", streamtest.Message{Value: []byte("x")}); err == nil || !strings.Contains(err.Error(), "feeds itself") {
		t.Errorf("a loop gave %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	if _, err := streamtest.Open(streamtest.Config{}); err == nil {
		t.Error("opened without a topology")
	}
	plan, err := wordCount()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := streamtest.Open(streamtest.Config{Topology: plan, Partitions: -1}); err == nil {
		t.Error("opened with -1 partitions")
	}
}

func ExampleNew() {
	// In a test: d := streamtest.New(t, plan)
	plan, err := wordCount()
	if err != nil {
		panic(err)
	}
	d, err := streamtest.Open(streamtest.Config{Topology: plan, Partitions: 3})
	if err != nil {
		panic(err)
	}
	streamtest.Input(d, lines).Send(nil, "to be or not to be")
	fmt.Println(streamtest.Output(d, counts).Text())
	text, err := d.StoreText("counts")
	fmt.Println(text, err)
	// Output:
	// to=1 be=1 or=1 not=1 to=2 be=2
	// be=2 not=1 or=1 to=2 <nil>
}
