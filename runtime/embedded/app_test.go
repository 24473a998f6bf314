package embedded_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

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

var (
	lines  = dsl.NewTopic("lines", serde.Bytes{}, serde.String{})
	counts = dsl.NewTopic("word-counts", serde.String{}, serde.Int64{})
)

func wordCount(t *testing.T) *topology.Topology {
	t.Helper()
	b := dsl.NewBuilder()
	words := dsl.FlatMapValues(lines.Stream(b), strings.Fields)
	dsl.GroupBy(words, func(_ []byte, w string) string { return w }).Count("counts").Stream().To(counts)
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// world is a broker and an application with two workers, stepped by one
// goroutine with a virtual clock.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	now     time.Time
	events  *bytes.Buffer
	broker  *logbroker.Broker
	log     *embedded.Log
	stateFS *vfs.MemFS
	engine  *statestore.Engine
	app     *runtime.App
	logger  *slog.Logger
	want    map[string]int64
	writer  logclient.Writer
}

// seeded gives random bytes that depend on the seed only.
type seeded struct{ *rand.ChaCha8 }

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: time.UnixMilli(1_700_000_000_000), events: &bytes.Buffer{}, want: map[string]int64{},
	}
	w.stateFS = vfs.NewCrashableMem()
	w.logger = slog.New(slog.NewTextHandler(w.events, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Time("t", w.now)
		}
		return a
	}}))
	clock := func() time.Time { return w.now }
	var err error
	w.broker, err = logbroker.Open(logbroker.Config{
		Dir: "broker", FS: vfs.NewMem(), Now: clock, Synchronous: true, BootID: func() string { return "boot" },
		Rand: seeded{rand.NewChaCha8([32]byte{byte(seed)})},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.log = embedded.New(w.broker)
	_, err = w.log.Admin().CreateTopics([]logclient.TopicSpec{
		{Name: "lines", Partitions: 3, ReplicationFactor: -1}, {Name: "word-counts", Partitions: 2, ReplicationFactor: -1},
	}).Result()
	if err != nil {
		t.Fatal(err)
	}
	w.start()
	if w.writer, err = w.log.NewWriter(logclient.WriterConfig{TransactionalID: "load"}); err != nil {
		t.Fatal(err)
	}
	return w
}

// start opens the engine on what the disk holds and starts the application.
func (w *world) start() {
	w.t.Helper()
	clock := func() time.Time { return w.now }
	var err error
	w.engine, err = statestore.Open(statestore.Config{Dir: "state", FS: w.stateFS, Now: clock, Synchronous: true, FlushInterval: time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	w.app, err = runtime.New(runtime.Config{
		App: "wc", Log: w.log, Topology: wordCount(w.t), Engine: w.engine, ProcessID: "process", Workers: 2, Logger: w.logger, Now: clock,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.app.Start(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// produce writes some lines, and aborts some others.
func (w *world) produce() {
	commit := w.rng.IntN(4) > 0
	for range 1 + w.rng.IntN(3) {
		var b recordbatch.Builder
		for range 1 + w.rng.IntN(5) {
			var words []string
			for range w.rng.IntN(6) {
				words = append(words, fmt.Sprintf("w%d", w.rng.IntN(20)))
			}
			b.Append(w.now.UnixMilli(), nil, []byte(strings.Join(words, " ")), nil)
			if commit {
				for _, word := range words {
					w.want[word]++
				}
			}
		}
		if err := w.writer.Append(logclient.TopicPartition{Topic: "lines", Partition: int32(w.rng.IntN(3))}, b.Batch()); err != nil {
			w.t.Fatal(err)
		}
	}
	var err error
	if commit {
		_, err = w.writer.Commit(nil).Result()
	} else {
		_, err = w.writer.Abort().Result()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// step lets the scheduler choose who goes on.
func (w *world) step() {
	switch n := w.rng.IntN(10); {
	case n < 4:
		if _, err := w.app.Step(0, w.now); err != nil {
			w.t.Fatal(err)
		}
	case n < 8:
		if _, err := w.app.Step(1, w.now); err != nil {
			w.t.Fatal(err)
		}
	default:
		w.now = w.now.Add(time.Duration(w.rng.IntN(40)) * time.Millisecond)
		w.broker.Tick(w.now)
	}
}

// run processes some input to its end and returns the counts in the output.
func (w *world) run() map[string]int64 {
	w.t.Helper()
	for i := range 4000 {
		if i%40 == 0 && i < 2000 {
			w.produce()
		}
		w.step()
	}
	for range 20_000 {
		lag, err := w.app.Lag(context.Background())
		if err != nil {
			w.t.Fatal(err)
		}
		if lag == 0 {
			break
		}
		w.step()
	}
	return w.counts()
}

// counts reads the output; each count must be one more than the one before.
func (w *world) counts() map[string]int64 {
	w.t.Helper()
	got := map[string]int64{}
	err := launch.Read(context.Background(), w.log, "word-counts", func(_ int32, r *recordbatch.Record) error {
		n, err := serde.Int64{}.Decode(r.Value)
		if n != got[string(r.Key)]+1 {
			w.t.Errorf("%s went from %d to %d", r.Key, got[string(r.Key)], n)
		}
		got[string(r.Key)] = n
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// TestOneGoroutineRunsTwoWorkersAndTheBroker runs an application and its broker
// by one random scheduler: the results are right, and the same seed gives the same
// events twice.
func TestOneGoroutineRunsTwoWorkersAndTheBroker(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			first := newWorld(t, seed)
			if diff := cmp.Diff(first.want, first.run()); diff != "" {
				t.Fatalf("counts (-want +got):\n%s", diff)
			}
			second := newWorld(t, seed)
			second.run()
			if diff := cmp.Diff(strings.Split(first.events.String(), "\n"), strings.Split(second.events.String(), "\n")); diff != "" {
				t.Fatalf("the same seed gave other events:\n%s", diff)
			}
			if n := strings.Count(first.events.String(), "msg=committed"); n < 10 {
				t.Fatalf("only %d commits in the event log:\n%s", n, first.events)
			}
		})
	}
}

var _ io.Reader = seeded{}
