package embedded_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/dsl"
	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/runtime"
	"github.com/levada/levada/runtime/embedded"
	"github.com/levada/levada/runtime/launch"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// bench is a broker and an application of one worker, stepped by the test.
type bench struct {
	t   *testing.T
	now time.Time
	log *embedded.Log
	bro *logbroker.Broker
	cfg runtime.Config
	app *runtime.App
}

func newBench(t *testing.T, plan *topology.Topology, change func(*runtime.Config)) *bench {
	t.Helper()
	b := &bench{t: t, now: time.UnixMilli(1_700_000_000_000)}
	clock := func() time.Time { return b.now }
	var err error
	b.bro, err = logbroker.Open(logbroker.Config{Dir: "broker", FS: vfs.NewMem(), Now: clock, Synchronous: true, BootID: func() string { return "boot" }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.bro.Kill)
	b.log = embedded.New(b.bro)
	engine, err := statestore.Open(statestore.Config{Dir: "state", FS: vfs.NewMem(), Now: clock, Synchronous: true})
	if err != nil {
		t.Fatal(err)
	}
	b.create("in", 2)
	b.create("out", 2)
	b.cfg = runtime.Config{
		App: "app", Log: b.log, Topology: plan, Engine: engine, ProcessID: "process", Now: clock,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&b.cfg)
	}
	b.start()
	return b
}

func (b *bench) create(topic string, partitions int32) {
	b.t.Helper()
	// launch.Write stamps with the clock on the wall, which the broker's is far behind.
	configs := map[string]string{"message.timestamp.after.max.ms": "9223372036854775807"}
	if _, err := b.log.Admin().CreateTopics([]logclient.TopicSpec{{Name: topic, Partitions: partitions, ReplicationFactor: -1, Configs: configs}}).Result(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) start() {
	b.t.Helper()
	var err error
	if b.app, err = runtime.New(b.cfg); err != nil {
		b.t.Fatal(err)
	}
	if err := b.app.Start(context.Background()); err != nil {
		b.t.Fatal(err)
	}
}

// write writes values with a key to the input.
func (b *bench) write(id string, key string, values ...string) {
	b.t.Helper()
	err := launch.Write(context.Background(), b.log, id, "in", func(yield func(key, value []byte) bool) {
		for _, v := range values {
			if !yield([]byte(key), []byte(v)) {
				return
			}
		}
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// step steps the application and the broker once.
func (b *bench) step() error {
	_, err := b.app.Step(0, b.now)
	b.now = b.now.Add(time.Millisecond)
	b.bro.Tick(b.now)
	return err
}

// drain steps until all input is processed and committed.
func (b *bench) drain() {
	b.t.Helper()
	for range 50_000 {
		if err := b.step(); err != nil {
			b.t.Fatal(err)
		}
		if lag, err := b.app.Lag(context.Background()); err != nil {
			b.t.Fatal(err)
		} else if lag == 0 && b.app.Stats().RunningTasks > 0 {
			return
		}
	}
	b.t.Fatal("the input does not come to its end")
}

// read reads the records of a topic.
func (b *bench) read(topic string) (all []recordbatch.Record) {
	b.t.Helper()
	err := launch.Read(context.Background(), b.log, topic, func(_ int32, r *recordbatch.Record) error {
		c := *r
		c.Key, c.Value, c.Headers = slices.Clone(r.Key), slices.Clone(r.Value), slices.Clone(r.Headers)
		all = append(all, c)
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

func plan(t *testing.T, make func(b *dsl.Builder)) *topology.Topology {
	t.Helper()
	b := dsl.NewBuilder()
	make(b)
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var (
	in  = dsl.NewTopic("in", serde.String{}, serde.String{})
	out = dsl.NewTopic("out", serde.String{}, serde.String{})
)

func numbers(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(i)
	}
	return all
}

// TestAtLeastOnce kills an application that commits without transactions: no
// record is lost, some come twice; without a kill each comes once.
func TestAtLeastOnce(t *testing.T) {
	for name, kills := range map[string]int{"undisturbed": 0, "killed": 5} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, plan(t, func(d *dsl.Builder) { in.Stream(d).To(out) }), func(c *runtime.Config) { c.Guarantee = runtime.AtLeastOnce })
			rng := rand.New(rand.NewPCG(uint64(kills), 1))
			const n = 3000
			b.write("load", "k", numbers(n)...)
			for range kills {
				for range 20 + rng.IntN(60) {
					if err := b.step(); err != nil {
						t.Fatal(err)
					}
				}
				b.start() // the one before is never heard of again
			}
			b.drain()
			seen := map[string]int{}
			total := 0
			for _, r := range b.read("out") {
				seen[string(r.Value)]++
				total++
			}
			if len(seen) != n || kills == 0 && total != n {
				t.Errorf("%d of %d records in the output, %d in all", len(seen), n, total)
			}
		})
	}
}

// TestAtLeastOnceKeepsState counts without transactions; nothing fails, so the
// counts are exact, also after a restart that reads the changelog.
func TestAtLeastOnceKeepsState(t *testing.T) {
	counts := dsl.NewTopic("out", serde.String{}, serde.Int64{})
	b := newBench(t, plan(t, func(d *dsl.Builder) { in.Stream(d).GroupByKey().Count("counts").Stream().To(counts) }), func(c *runtime.Config) { c.Guarantee = runtime.AtLeastOnce })
	b.write("load", "k", numbers(100)...)
	b.drain()
	engine, err := statestore.OpenMemory() // the state of the process is gone
	if err != nil {
		t.Fatal(err)
	}
	b.cfg.Engine = engine
	b.start()
	b.write("load", "k", numbers(50)...)
	b.drain()
	records := b.read("out")
	last, err := serde.Int64{}.Decode(records[len(records)-1].Value)
	if err != nil || last != 150 || len(records) != 150 {
		t.Errorf("%d counts, the last %d, %v; want 150", len(records), last, err)
	}
}

// joined concatenates values in place, and fails on some of them after it has
// changed the value that it was handed.
func joined(d *dsl.Builder) {
	lists := dsl.NewTopic("out", serde.String{}, serde.JSON[[]string]{})
	dsl.Aggregate(in.Stream(d).GroupByKey(), "lists", func() []string { return nil }, func(_ string, v string, sum []string) []string {
		if len(sum) > 0 {
			sum[0] = "spoilt" // unless the transaction is replayed, this stays
		}
		if strings.HasPrefix(v, "bad") {
			panic("cannot take " + v)
		}
		if len(sum) > 0 {
			sum[0] = "first"
		}
		return append(sum, v)
	}).Stream().To(lists)
}

// TestPoisonRecords: user code that fails while it holds a value it may change
// leaves no trace of what it did; its record goes to the dead letters once.
func TestPoisonRecords(t *testing.T) {
	for _, onError := range []runtime.OnError{runtime.DeadLetter, runtime.Skip} {
		t.Run(string(onError), func(t *testing.T) {
			b := newBench(t, plan(t, joined), func(c *runtime.Config) {
				c.OnError = onError
				if onError == runtime.DeadLetter {
					c.DeadLetterTopic = "dead"
				}
			})
			b.write("load", "k", "first", "a", "bad1", "b", "bad2", "bad3", "c")
			b.drain()
			records := b.read("out")
			if got, want := string(records[len(records)-1].Value), `["first","a","b","c"]`; got != want || len(records) != 4 {
				t.Errorf("%d outputs, the last %s, want %s", len(records), got, want)
			}
			if onError == runtime.Skip {
				return
			}
			var letters []string
			for _, r := range b.read("dead") {
				hs, err := r.Headers.Decode()
				if err != nil {
					t.Fatal(err)
				}
				for _, h := range hs {
					if h.Key == runtime.HeaderErrorMessage {
						letters = append(letters, string(r.Value)+": "+string(h.Value))
					}
				}
			}
			if len(letters) != 3 || !strings.Contains(letters[0], "bad1") || !strings.Contains(letters[0], "cannot take bad1") {
				t.Errorf("dead letters %q", letters)
			}
		})
	}
}

// TestFailNamesTheRecord: by default a record that fails ends the application,
// which says which it was.
func TestFailNamesTheRecord(t *testing.T) {
	b := newBench(t, plan(t, joined), nil)
	b.write("load", "k", "good", "bad")
	var err error
	for i := 0; i < 10_000 && err == nil; i++ {
		err = b.step()
	}
	if err == nil || !strings.Contains(err.Error(), "offset 1") || !strings.Contains(err.Error(), "cannot take bad") {
		t.Errorf("the application ended with %v", err)
	}
	if strings.Contains(fmt.Sprint(err), "goroutine") {
		t.Errorf("a stack trace: %v", err)
	}
}

// TestRepartitionIsPurged: what was read from a repartition topic is deleted.
func TestRepartitionIsPurged(t *testing.T) {
	counts := dsl.NewTopic("out", serde.String{}, serde.Int64{})
	b := newBench(t, plan(t, func(d *dsl.Builder) {
		dsl.GroupBy(in.Stream(d), func(_, v string) string { return v[:1] }).Count("counts").Stream().To(counts)
	}), func(c *runtime.Config) { c.PurgeInterval = time.Second })
	b.write("load", "k", numbers(200)...)
	b.drain()
	topic := "app-counts-repartition"
	left := func() (records int64) {
		for p := range int32(2) {
			tp := []logclient.TopicPartition{{Topic: topic, Partition: p}}
			first, err := b.log.Admin().ListOffsets(tp, logclient.OffsetSpec{Kind: logclient.Earliest}).Result()
			if err != nil {
				t.Fatal(err)
			}
			end, err := b.log.Admin().ListOffsets(tp, logclient.OffsetSpec{Kind: logclient.LatestStable}).Result()
			if err != nil {
				t.Fatal(err)
			}
			records += end[tp[0]].Offset - first[tp[0]].Offset
		}
		return records
	}
	before := left()
	for range 3000 { // milliseconds
		if err := b.step(); err != nil {
			t.Fatal(err)
		}
	}
	if after := left(); before < 200 || after > 4 {
		t.Errorf("%d offsets before the purge, %d after", before, after)
	}
}

// TestInternalTopicsHaveSmallSegments: what is purged and compacted goes by segments,
// which are not those of a topic that records are kept in.
func TestInternalTopicsHaveSmallSegments(t *testing.T) {
	counts := dsl.NewTopic("out", serde.String{}, serde.Int64{})
	b := newBench(t, plan(t, func(d *dsl.Builder) {
		dsl.GroupBy(in.Stream(d), func(_, v string) string { return v }).Count("counts").Stream().To(counts)
	}), nil)
	topics, err := b.log.Admin().DescribeTopics([]string{"in", "app-counts-repartition", "app-counts-changelog"}, true).Result()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"in": "1073741824", "app-counts-repartition": "134217728", "app-counts-changelog": "134217728"} {
		if got := topics[name].Configs["segment.bytes"]; got != want {
			t.Errorf("%s: segment.bytes is %q, want %s", name, got, want)
		}
	}
}
