package statestore

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/dsl/serde"
)

// world is a store beside a model of it: maps for what is live, committed, and
// for each cut what a state on disk at that cut must hold.
type world struct {
	t         *testing.T
	rng       *rand.Rand
	fs        *vfs.MemFS
	now       time.Time
	engine    *Engine
	part      *Partition
	store     *KeyValue[int64]
	live      map[string]Entry[int64]
	committed map[string]Entry[int64]
	atCut     map[int64]map[string]Entry[int64]
	cut       Cut
	prepared  map[string]Entry[int64] // live as of the last Prepare; nil if none waits
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), fs: vfs.NewCrashableMem(), now: time.UnixMilli(1e12),
		live: map[string]Entry[int64]{}, committed: map[string]Entry[int64]{}, atCut: map[int64]map[string]Entry[int64]{},
		cut: Cut{LeaderEpoch: 1},
	}
	w.atCut[0] = map[string]Entry[int64]{}
	w.open()
	return w
}

func (w *world) open() {
	w.t.Helper()
	e, err := Open(Config{
		Dir: "state", FS: w.fs, Now: func() time.Time { return w.now }, Synchronous: true,
		TableBytes: 1 << 10, FlushBytes: 2 << 10, FlushInterval: time.Minute,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.engine = e
	if w.part, err = e.Open(ID{"app", "store", 3}); err != nil {
		w.t.Fatal(err)
	}
	w.store = NewKeyValue("store", w.part, serde.Int64{})
}

// key draws from few keys, some too long for an entry.
func (w *world) key() []byte {
	n := w.rng.IntN(3000)
	if n%7 == 0 {
		return fmt.Appendf(nil, "%d-a-key-that-is-too-long-to-lie-in-the-entry", n)
	}
	return fmt.Appendf(nil, "%d", n)
}

func (w *world) update() {
	for range w.rng.IntN(200) {
		key := w.key()
		e, err := w.store.Update(key)
		if err != nil {
			w.t.Fatal(err)
		}
		if want := w.live[string(key)]; *e != want {
			w.t.Fatalf("Update(%s) = %+v, want %+v", key, *e, want)
		}
		*e = Entry[int64]{}
		if w.rng.IntN(4) > 0 {
			*e = Entry[int64]{Value: w.rng.Int64(), Timestamp: w.rng.Int64N(1e12), Present: true}
		}
		w.live[string(key)] = *e
		if !e.Present {
			delete(w.live, string(key))
		}
	}
}

func (w *world) prepare() {
	changes := 0
	if err := w.store.Prepare(func(Change) error { changes++; return nil }); err != nil {
		w.t.Fatal(err)
	}
	w.cut.Offset += int64(changes) + 1
	w.prepared = maps.Clone(w.live)
}

func (w *world) commit() {
	w.store.Committed(w.cut)
	w.committed = w.prepared
	w.atCut[w.cut.Offset] = maps.Clone(w.committed)
	w.prepared = nil
}

func (w *world) abort() {
	w.store.Abort()
	w.live, w.prepared = maps.Clone(w.committed), nil
}

func (w *world) scan() {
	lo, hi := w.key(), w.key()
	if bytes.Compare(lo, hi) > 0 {
		lo, hi = hi, lo
	}
	var want []string
	for k := range w.live {
		if k >= string(lo) && k < string(hi) {
			want = append(want, k)
		}
	}
	slices.Sort(want)
	var got []string
	err := w.store.Scan(lo, hi, func(key []byte, e *Entry[int64]) (bool, error) {
		got = append(got, string(key))
		if *e != w.live[string(key)] {
			w.t.Fatalf("Scan: %s = %+v, want %+v", key, *e, w.live[string(key)])
		}
		return true, nil
	})
	if err != nil || !slices.Equal(got, want) {
		w.t.Fatalf("Scan(%s, %s) = %q, %v, want %q", lo, hi, got, err, want)
	}
}

// reopen closes or crashes the engine and compares what is on disk with what
// the model says of its cut.
func (w *world) reopen(crash bool) {
	if crash {
		w.fs = w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: w.rng.IntN(101), RNG: w.rng})
	} else {
		if err := w.part.Close(); err != nil {
			w.t.Fatal(err)
		}
		if err := w.engine.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	w.open()
	cut, _ := w.part.Cut()
	if !crash && cut.Offset != w.lastCommitted() {
		w.t.Fatalf("after a clean close the cut is %d, committed is %d", cut.Offset, w.lastCommitted())
	}
	want, ok := w.atCut[cut.Offset]
	if !ok {
		w.t.Fatalf("the state on disk is at offset %d, where nothing was committed", cut.Offset)
	}
	got := map[string]Entry[int64]{}
	err := w.store.Scan(nil, nil, func(key []byte, e *Entry[int64]) (bool, error) {
		got[string(key)] = *e
		return true, nil
	})
	if err != nil || !maps.Equal(got, want) {
		w.t.Fatalf("at cut %d: %d entries, %v, want %d", cut.Offset, len(got), err, len(want))
	}
	// The changelog after the cut is replayed: here as one batch of what differs.
	var changes []Change
	for k, e := range w.committed {
		changes = append(changes, Change{Key: []byte(k), Value: serdeInt64(e.Value), Timestamp: e.Timestamp})
	}
	for k := range want {
		if _, ok := w.committed[k]; !ok {
			changes = append(changes, Change{Key: []byte(k)})
		}
	}
	upTo := w.cut
	upTo.Offset = w.lastCommitted()
	if err := w.part.Restore(changes, upTo); err != nil {
		w.t.Fatal(err)
	}
	w.cut = upTo
	w.live, w.prepared = maps.Clone(w.committed), nil
}

func serdeInt64(v int64) []byte {
	b, _ := serde.Int64{}.Append(nil, v)
	return b
}

func (w *world) lastCommitted() int64 {
	return slices.Max(slices.Collect(maps.Keys(w.atCut)))
}

// TestStoreEqualsModel runs random updates, commits, aborts, flushes, scans,
// restarts and power losses beside maps.
func TestStoreEqualsModel(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed)
			for range 120 {
				w.now = w.now.Add(time.Second)
				switch n := w.rng.IntN(20); {
				case n < 8:
					w.update()
				case n < 13:
					w.prepare()
					w.commit()
				case n < 14:
					w.prepare()
					w.update()
					w.abort()
				case n < 15:
					w.abort()
				case n < 17:
					w.scan()
				case n < 18:
					if err := w.engine.Flush(); err != nil {
						t.Fatal(err)
					}
				default:
					w.abort()
					w.reopen(n == 19)
				}
			}
			w.abort()
			w.reopen(true)
		})
	}
}
