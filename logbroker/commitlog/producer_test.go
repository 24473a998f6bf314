package commitlog

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/levada/levada/internal/recordbatch"
)

// drawBatch draws a batch that a state accepts, often one that begins, goes on
// with or ends a transaction.
func drawBatch(t *rapid.T, s *state, base int64) recordbatch.Batch {
	id := rapid.Int64Range(1, 6).Draw(t, "producer")
	p := s.producers[id]
	if p == nil {
		p = &producer{id: id}
	}
	epoch := p.epoch
	if p.txn == nil && rapid.IntRange(0, 9).Draw(t, "bump") == 0 {
		epoch++
	}
	if rapid.IntRange(0, 3).Draw(t, "marker") == 0 {
		b := recordbatch.ControlBatch(id, epoch+int16(rapid.IntRange(0, 1).Draw(t, "kip890")), rapid.Bool().Draw(t, "commit"), 7, base)
		b.SetBaseOffset(base)
		return b
	}
	sequence := int32(0)
	if epoch == p.epoch && p.known > 0 {
		sequence = recordbatch.AddSequence(p.batches[p.known-1].lastSequence(), 1)
	} else if len(s.producers) == 0 {
		sequence = math.MaxInt32 - 1 // wraps soon
	}
	transactional := p.txn != nil || rapid.Bool().Draw(t, "transactional")
	b := makeBatch(source{id, epoch, sequence, transactional}, base, make([]string, rapid.IntRange(1, 4).Draw(t, "records"))...)
	b.SetBaseOffset(base)
	b.SetLeaderEpoch(int32(base / 20))
	return b
}

// A snapshot at any place, and a replay of what follows, is a full replay.
func TestSnapshotAndReplayIsFullReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 8).Draw(t, "limit")
		full, resumed := newState(limit), newState(limit)
		base := int64(0)
		for range rapid.IntRange(1, 80).Draw(t, "batches") {
			b := drawBatch(t, full, base)
			if rapid.IntRange(0, 5).Draw(t, "restart") == 0 {
				var err error
				if resumed, err = decodeSnapshot(resumed.encodeSnapshot(base), base, limit); err != nil {
					t.Fatal(err)
				}
			}
			if rapid.IntRange(0, 5).Draw(t, "decide") == 0 {
				resumed.decide(b.ProducerID(), b.ProducerEpoch(), false) // is in no snapshot
			}
			if err := errors.Join(full.apply(b), resumed.apply(b)); err != nil {
				t.Fatal(err)
			}
			base = b.NextOffset()
			if d := cmp.Diff(full.encodeSnapshot(base), resumed.encodeSnapshot(base)); d != "" {
				t.Fatalf("at %d: %s", base, d)
			}
			if idle := len(full.producers) - len(full.txns.list); idle > limit {
				t.Fatalf("%d idle producers, limit %d", idle, limit)
			}
		}
	})
}

// producerModel is what a log must answer one producer: all that it appended,
// newest last.
type producerModel struct {
	epoch   int16
	next    int32
	batches []AppendResult
	firsts  []int32
}

func TestSequencesAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := testConfig(vfs.NewMem())
		l, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		m := producerModel{next: math.MaxInt32 - 5}
		for range rapid.IntRange(1, 40).Draw(t, "appends") {
			from := source{id: 1, epoch: m.epoch + int16(rapid.IntRange(-1, 1).Draw(t, "epoch")), sequence: m.next}
			if from.epoch < 0 {
				continue
			}
			if from.epoch > m.epoch {
				from.sequence = 0
			}
			off := int32(rapid.IntRange(-12, 2).Draw(t, "sequence")) // in twos: batches have two records
			from.sequence = int32((int64(from.sequence) + 2*int64(max(-6, min(off, 1)))) & math.MaxInt32)
			want, wantErr := m.append(from, l.End())
			got, err := l.Append(makeBatch(from, 5, "a", "b"), nil)
			if !errors.Is(err, wantErr) || got != want {
				t.Fatalf("%+v: %+v, %v; want %+v, %v", from, got, err, want, wantErr)
			}
			if rapid.IntRange(0, 9).Draw(t, "reopen") == 0 {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				cfg.Cleanly = true
				if l, err = Open(cfg); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func (m *producerModel) append(from source, end int64) (AppendResult, error) {
	if len(m.batches) > 0 {
		if from.epoch < m.epoch {
			return AppendResult{}, ErrInvalidProducerEpoch
		}
		for i := max(0, len(m.firsts)-rememberedBatches); i < len(m.firsts) && from.epoch == m.epoch; i++ {
			if m.firsts[i] == from.sequence {
				dup := m.batches[i]
				dup.Duplicate, dup.LogAppendTimeMs = true, 6 // its largest
				return dup, nil
			}
		}
		if (from.epoch == m.epoch && from.sequence != m.next) || (from.epoch > m.epoch && from.sequence != 0) {
			return AppendResult{}, ErrOutOfOrderSequence
		}
	}
	if from.epoch != m.epoch {
		m.firsts, m.batches = nil, nil
	}
	res := AppendResult{BaseOffset: end, LastOffset: end + 1, LogAppendTimeMs: -1}
	m.epoch, m.next = from.epoch, recordbatch.AddSequence(from.sequence, 2)
	m.firsts, m.batches = append(m.firsts, from.sequence), append(m.batches, res)
	return res, nil
}

func TestTxnCheck(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMem()))
	refused := errors.New("refused")
	var asked []bool
	check := func(first bool) error {
		asked = append(asked, first)
		if len(asked) == 1 {
			return refused
		}
		return nil
	}
	for i, want := range []error{refused, nil, nil} {
		from := source{id: 1, transactional: true, sequence: int32(max(0, i-1))}
		if _, err := l.Append(makeBatch(from, 1, "x"), check); !errors.Is(err, want) {
			t.Fatalf("append %d: %v, want %v", i, err, want)
		}
	}
	// Neither a duplicate nor a batch without a transaction asks.
	mustAppend(t, l, source{id: 2}, "y")
	if res, err := l.Append(makeBatch(source{id: 1, transactional: true, sequence: 1}, 1, "x"), check); err != nil || !res.Duplicate {
		t.Fatalf("duplicate: %+v %v", res, err)
	}
	if d := cmp.Diff([]bool{true, true, false}, asked); d != "" {
		t.Fatal(d)
	}
}

func TestInvalidBatches(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMem()))
	good := func() recordbatch.Batch { return makeBatch(source{id: 1}, 1, "a", "b") }
	short := good()
	magic := good()
	magic[16] = 1
	gap := good()
	gap[26] = 5
	none := good()
	none[60] = 0
	for name, b := range map[string]recordbatch.Batch{
		"nil": nil, "header only": good()[:40], "cut": short[:len(short)-1], "magic 1": magic, "gap in offsets": gap, "no records": none,
		"control":       recordbatch.ControlBatch(1, 0, true, 0, 0),
		"no producer":   makeBatch(source{id: -1, epoch: -1, sequence: -1, transactional: true}, 1, "x"),
		"no sequence":   makeBatch(source{id: 1, sequence: -1}, 1, "x"),
		"no epoch":      makeBatch(source{id: 1, epoch: -1}, 1, "x"),
		"two batches":   append(good(), good()...),
		"negative size": append(recordbatch.Batch{0, 0, 0, 0, 0, 0, 0, 0, 0xff}, good()[9:]...),
	} {
		if _, err := l.Append(b, nil); !errors.Is(err, ErrInvalidBatch) {
			t.Errorf("%s: %v, want ErrInvalidBatch", name, err)
		}
	}
	if l.End() != 0 {
		t.Errorf("end %d", l.End())
	}
}

// The index of aborted transactions answers as a search of all would.
func TestAbortedAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var index abortedIndex
		model := map[int64]AbortedTxn{}
		for range rapid.IntRange(0, 60).Draw(t, "changes") {
			first := rapid.Int64Range(0, 200).Draw(t, "first")
			last := first + rapid.Int64Range(0, 60).Draw(t, "length")
			if rapid.IntRange(0, 3).Draw(t, "pending") == 0 {
				last = math.MaxInt64
			}
			txn := AbortedTxn{ProducerID: 1, FirstOffset: first, LastOffset: last}
			index.put(txn)
			model[first] = txn
			if start := rapid.Int64Range(0, 1000).Draw(t, "start"); start < 100 {
				index.dropBelow(start)
				for k, v := range model {
					if v.LastOffset < start {
						delete(model, k)
					}
				}
			}
			if markers := rapid.MapOf(rapid.Int64Range(0, 260), rapid.Just(true)).Draw(t, "markers"); rapid.Bool().Draw(t, "drop") {
				index.drop(markers)
				maps.DeleteFunc(model, func(_ int64, v AbortedTxn) bool { return markers[v.LastOffset] })
			}
			from := rapid.Int64Range(0, 220).Draw(t, "from")
			to := from + rapid.Int64Range(0, 50).Draw(t, "span")
			var want []AbortedTxn
			for k := range int64(201) {
				if v, ok := model[k]; ok && v.FirstOffset < to && v.LastOffset >= from {
					want = append(want, v)
				}
			}
			if d := cmp.Diff(want, index.overlapping(from, to)); d != "" {
				t.Fatalf("[%d, %d): %s", from, to, d)
			}
		}
	})
}

func TestEpochEnd(t *testing.T) {
	epochs := []epochStart{{3, 10}, {5, 40}}
	for _, c := range []struct {
		epochs      []epochStart
		start       int64
		epoch, want int32
		end         int64
	}{
		{epochs, 0, -1, -1, -1},
		{epochs, 0, -2, -2, 10},
		{epochs, 0, 0, 0, 10},
		{epochs, 0, 2, 2, 10},
		{epochs, 0, 3, 3, 40},
		{epochs, 0, 4, 3, 40},
		{epochs, 0, 5, 5, 90},
		{epochs, 0, 6, 5, 90},
		{epochs, 0, 7, 7, 90},
		{epochs, 0, 8, -1, -1},
		// Nothing has been written under the present epoch, or under any.
		{epochs[:1], 0, 5, 3, 90},
		{nil, 0, 3, 3, 90},
		{nil, 0, 7, 7, 90},
		{nil, 0, 8, -1, -1},
		{nil, 0, -1, -1, -1},
		// The beginning is gone: of an epoch, of all that is before it, and the whole log.
		{epochs, 20, 2, 2, 20},
		{epochs, 20, 3, 3, 40},
		{epochs, 40, 3, 3, 40},
		{epochs, 40, 4, 4, 40},
		{epochs, 60, 4, 4, 60},
		{epochs, 60, 5, 5, 90},
		{epochs, 90, 5, 5, 90},
		{epochs, 90, 7, 7, 90},
		// 7 has batches itself.
		{[]epochStart{{3, 10}, {7, 40}}, 0, 6, 3, 40},
		{[]epochStart{{3, 10}, {7, 40}}, 0, 7, 7, 90},
	} {
		if got, end := epochEnd(c.epochs, 7, c.epoch, c.start, 90); got != c.want || end != c.end {
			t.Errorf("%v from %d on, epoch %d: %d, %d; want %d, %d", c.epochs, c.start, c.epoch, got, end, c.want, c.end)
		}
	}
}

func TestMaxProducers(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.MaxProducers = 10
	l := mustOpen(t, cfg)
	mustAppend(t, l, source{id: 1000, transactional: true}, "open")
	for i := range 50 {
		mustAppend(t, l, source{id: int64(i)}, "x")
	}
	var got []string
	for _, p := range l.Producers() {
		got = append(got, fmt.Sprint(p.ProducerID))
	}
	want := []string{"40", "41", "42", "43", "44", "45", "46", "47", "48", "49", "1000"}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
}
