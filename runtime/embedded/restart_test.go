package embedded_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/statestore"
)

// restart drops the application and its engine as a SIGKILL or a power loss
// does, and starts both again on what the disk holds.
func (w *world) restart() {
	w.t.Helper()
	w.stateFS = w.stateFS.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: w.rng.IntN(101), RNG: w.rng})
	w.start()
}

// behind opens the store's partitions to see how far they are on disk, and tells
// how many changelog records follow.
func (w *world) behind() (records int64) {
	w.t.Helper()
	e, err := statestore.Open(statestore.Config{Dir: "state", FS: w.stateFS.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}), Synchronous: true})
	if err != nil {
		w.t.Fatal(err)
	}
	for partition := range int32(3) {
		tp := logclient.TopicPartition{Topic: "wc-counts-changelog", Partition: partition}
		ends, err := w.log.Admin().ListOffsets([]logclient.TopicPartition{tp}, logclient.OffsetSpec{Kind: logclient.LatestHigh}).Result()
		if err != nil {
			w.t.Fatal(err)
		}
		p, err := e.Open(statestore.ID{App: "wc", Store: "counts", Partition: partition})
		if err != nil {
			w.t.Fatal(err)
		}
		cut, _ := p.Cut()
		records += ends[tp].Offset - cut.Offset
	}
	return records
}

// TestARestartReplaysNoMoreThanTheFlushLeft kills the application at random
// moments: it replays at most the changelog records after the last flush, and the
// store equals an independent recomputation.
func TestARestartReplaysNoMoreThanTheFlushLeft(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed)
			replayed, flushed := int64(0), false
			for range 4 {
				for range 1500 {
					if w.rng.IntN(40) == 0 {
						w.produce()
					}
					w.step()
				}
				flushed = flushed || w.engine.Stats().Flushes > 0
				w.restart()
				limit := w.behind()
				w.drain()
				s := w.app.Stats()
				if s.Restored > limit {
					t.Fatalf("%d records were replayed, only %d follow the cuts on disk", s.Restored, limit)
				}
				replayed += s.Restored
			}
			if diff := cmp.Diff(w.want, w.counts()); diff != "" {
				t.Fatalf("counts (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(w.want, w.stored()); diff != "" {
				t.Fatalf("stores (-want +got):\n%s", diff)
			}
			if replayed == 0 || !flushed {
				t.Fatalf("%d records replayed, flushed %v: the test has shown nothing", replayed, flushed)
			}
		})
	}
}

// stored reads the stores of a stopped application.
func (w *world) stored() map[string]int64 {
	w.t.Helper()
	w.app.StopWorker(0)
	w.app.StopWorker(1)
	for i := 0; i < 10_000 && !(w.app.Stopped(0) && w.app.Stopped(1)); i++ {
		w.step()
	}
	for worker := range 2 {
		if err := w.app.CloseWorker(worker); err != nil {
			w.t.Fatal(err)
		}
	}
	got := map[string]int64{}
	for partition := range int32(3) {
		p, err := w.engine.Open(statestore.ID{App: "wc", Store: "counts", Partition: partition})
		if err != nil {
			w.t.Fatal(err)
		}
		s := statestore.NewKeyValue("counts", p, serde.Int64{})
		err = s.Scan(nil, nil, func(key []byte, e *statestore.Entry[int64]) (bool, error) {
			got[string(key)] = e.Value
			return true, nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return got
}

// drain steps until nothing is left to do.
func (w *world) drain() {
	w.t.Helper()
	for range 60_000 {
		lag, err := w.app.Lag(context.Background())
		if err != nil {
			w.t.Fatal(err)
		}
		if lag == 0 && w.app.Stats().RunningTasks == 6 {
			return // all is processed, and every task has restored its store
		}
		w.step()
		w.now = w.now.Add(time.Millisecond)
	}
	w.t.Fatal("the application does not come to an end of its input")
}
