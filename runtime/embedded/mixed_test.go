package embedded_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/runtime"
	"github.com/levada/levada/runtime/embedded"
	"github.com/levada/levada/runtime/launch"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/kafka"
)

// process is one process of the application, on a log of either kind.
type process struct {
	p    *launch.Process
	log  logclient.Log
	stop context.CancelFunc
	done chan error
}

func startProcess(t *testing.T, dir string, log logclient.Log) *process {
	t.Helper()
	p, err := launch.Open(dir, runtime.Config{
		App: "mixed", Log: log, Topology: wordCount(t), Workers: 2, LeaveOnClose: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	one := &process{p: p, log: log, stop: stop, done: make(chan error, 1)}
	go func() { one.done <- p.Run(ctx) }()
	return one
}

func (p *process) end(t *testing.T) {
	t.Helper()
	p.stop()
	if err := <-p.done; err != nil {
		t.Error(err)
	}
	if err := p.p.Close(); err != nil {
		t.Error(err)
	}
	if err := p.log.Close(); err != nil {
		t.Error(err)
	}
}

// TestMembersOfBothKindsShareAGroup lets processes on the embedded log and over
// TCP come and go while lines arrive. Each count in the output is one more than
// the one before it, so no record was processed twice or by two at once.
func TestMembersOfBothKindsShareAGroup(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	broker, err := logbroker.Open(logbroker.Config{Dir: filepath.Join(dir, "log")})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = broker.Serve(ln) }() // ends with the broker
	here := embedded.New(broker)
	_, err = here.Admin().CreateTopics([]logclient.TopicSpec{
		{Name: "lines", Partitions: 4, ReplicationFactor: -1}, {Name: "word-counts", Partitions: 2, ReplicationFactor: -1},
	}).Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	overTCP := func() logclient.Log {
		log, err := kafka.Open(ctx, kafka.Config{Brokers: []string{ln.Addr().String()}})
		if err != nil {
			t.Fatal(err)
		}
		return log
	}
	want := map[string]int64{}
	produce := func(n int) {
		lines := iter.Seq2[[]byte, []byte](func(yield func(key, value []byte) bool) {
			for i := range n {
				word := fmt.Sprint("w", (len(want)+i)%37)
				want[word] += 2
				if !yield(nil, []byte(word+" "+word)) {
					return
				}
			}
		})
		if err := launch.Write(ctx, here, "lines-writer", "lines", lines); err != nil {
			t.Fatal(err)
		}
	}
	caughtUp := func(p *process) {
		t.Helper()
		for ctx.Err() == nil {
			if p.p.App.Stats().RunningTasks > 0 {
				if lag, err := p.p.App.Lag(ctx); err == nil && lag == 0 {
					return
				}
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case err := <-p.done:
				t.Fatalf("the process ended: %v", err)
			}
		}
		t.Fatal("not caught up in time")
	}
	first := startProcess(t, filepath.Join(dir, "first"), embedded.New(broker))
	produce(500)
	caughtUp(first)
	second := startProcess(t, filepath.Join(dir, "second"), overTCP())
	produce(500)
	caughtUp(second)
	third := startProcess(t, filepath.Join(dir, "third"), overTCP())
	produce(500)
	caughtUp(third)
	first.end(t)
	produce(500)
	caughtUp(second)
	again := startProcess(t, filepath.Join(dir, "first"), embedded.New(broker))
	third.end(t)
	produce(500)
	caughtUp(again)
	second.end(t)
	again.end(t)
	got := map[string]int64{}
	err = launch.Read(ctx, here, "word-counts", func(_ int32, r *recordbatch.Record) error {
		n, err := serde.Int64{}.Decode(r.Value)
		if n != got[string(r.Key)]+1 {
			t.Errorf("%s went from %d to %d", r.Key, got[string(r.Key)], n)
		}
		got[string(r.Key)] = n
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}
