package storetest

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/levada/levada/statestore"
)

// world is a store beside a model of it: maps for what is live, committed, and
// for each cut what a state on disk at that cut must hold.
type world struct {
	*opened[int64]
	env       Env
	rng       *rand.Rand
	live      map[string]entry
	committed map[string]entry
	atCut     map[int64]map[string]entry
	prepared  map[string]entry // live as of the last Prepare; nil if none waits
}

type entry = statestore.Entry[int64]

func newWorld(t *testing.T, env Env, seed uint64) *world {
	return &world{
		opened: open(t, env, Int64{}), env: env, rng: rand.New(rand.NewPCG(seed, 0)), live: map[string]entry{},
		committed: map[string]entry{}, atCut: map[int64]map[string]entry{0: {}},
	}
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
		e, err := w.Update(key)
		if err != nil {
			w.t.Fatal(err)
		}
		if want := w.live[string(key)]; *e != want {
			w.t.Fatalf("Update(%s) = %+v, want %+v", key, *e, want)
		}
		*e = entry{}
		if w.rng.IntN(4) > 0 {
			*e = entry{Value: w.rng.Int64(), Timestamp: w.rng.Int64N(1e12), Present: true}
		}
		w.live[string(key)] = *e
		if !e.Present {
			delete(w.live, string(key))
		}
	}
}

func (w *world) prepare() {
	changes := 0
	if err := w.Prepare(func(statestore.Change) error { changes++; return nil }); err != nil {
		w.t.Fatal(err)
	}
	w.cut.Offset += int64(changes) + 1
	w.prepared = maps.Clone(w.live)
}

func (w *world) decided() {
	w.Committed(w.cut)
	w.committed = w.prepared
	w.atCut[w.cut.Offset] = maps.Clone(w.committed)
	w.prepared = nil
}

func (w *world) abort() {
	w.Abort()
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
	err := w.Scan(lo, hi, func(key []byte, e *entry) (bool, error) {
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
	cut := w.cut
	if crash {
		w.env.LosePower(w.rng)
	} else {
		w.close()
	}
	w.opened = open(w.t, w.env, Int64{})
	w.cut = cut
	w.checkCut(crash)
}

// checkCut compares a store just opened with the model of its cut, and restores
// what was committed after it.
func (w *world) checkCut(crash bool) {
	w.t.Helper()
	cut, _ := w.part.Cut()
	if !crash && cut.Offset != w.lastCommitted() {
		w.t.Fatalf("after a clean close the cut is %d, committed is %d", cut.Offset, w.lastCommitted())
	}
	want, ok := w.atCut[cut.Offset]
	if !ok {
		w.t.Fatalf("the state on disk is at offset %d, where nothing was committed", cut.Offset)
	}
	got := map[string]entry{}
	err := w.Scan(nil, nil, func(key []byte, e *entry) (bool, error) {
		got[string(key)] = *e
		return true, nil
	})
	if err != nil || !maps.Equal(got, want) {
		w.t.Fatalf("at cut %d: %d entries, %v, want %d", cut.Offset, len(got), err, len(want))
	}
	// The changelog after the cut is replayed: here as one batch of what differs.
	var changes []statestore.Change
	for k, e := range w.committed {
		changes = append(changes, statestore.Change{Key: []byte(k), Value: encoded(e.Value), Timestamp: e.Timestamp})
	}
	for k := range want {
		if _, ok := w.committed[k]; !ok {
			changes = append(changes, statestore.Change{Key: []byte(k)})
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

func encoded(v int64) []byte {
	b, _ := Int64{}.Append(nil, v) // never fails
	return b
}

func (w *world) lastCommitted() int64 {
	return slices.Max(slices.Collect(maps.Keys(w.atCut)))
}

// testModel runs random updates, commits, aborts, flushes, scans, restarts and
// power losses beside maps.
func testModel(t *testing.T, env Env) {
	for seed := range uint64(12) {
		w := newWorld(t, env, seed)
		for range 120 {
			env.Pass(time.Second)
			w.act(w.rng.IntN(20))
		}
		if w.abort(); env.LosePower != nil {
			w.reopen(true)
		}
		if err := w.part.Reset(); err != nil { // the next seed begins anew
			t.Fatal(err)
		}
		w.close()
	}
}

// act does one of twenty things.
func (w *world) act(n int) {
	w.t.Helper()
	switch {
	case n < 8:
		w.update()
	case n < 13:
		w.prepare()
		w.decided()
	case n < 14:
		w.prepare()
		w.update()
		w.abort()
	case n < 15:
		w.abort()
	case n < 17:
		w.scan()
	case n < 18 || w.env.LosePower == nil:
		w.flush()
	default:
		w.abort()
		w.reopen(n == 19)
	}
}
