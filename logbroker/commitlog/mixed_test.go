package commitlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/levada/levada/internal/recordbatch"
)

// mixedSim drives one log through all that can happen to it at once: what compactSim
// does, and retention, deleted records, seals, checkpoints that are begun and not
// finished, and a disk that refuses calls, once, for a while or for good, also while
// the log is opened. Its producers go on after a start.
type mixedSim struct {
	compactSim
	disk    faultyDisk
	batches []wroteBatch // what the log holds, by offset
	refused []wroteBatch // what it refused since, and may hold nevertheless
	decided []decision
	synced  int64 // what a power loss must leave
	suspect bool  // a sync failed since the last start
	trace   func(format string, args ...any)
}

// wroteBatch is a batch as it was appended, or a marker, of which raw is nil.
type wroteBatch struct {
	base, last int64
	owner      int
	id         int64
	epoch      int16
	raw        recordbatch.Batch
	records    []keyed
}

// decision is over a transaction, and durable.
type decision struct {
	id     int64
	first  int64
	epoch  int16 // of the marker
	commit bool
}

// TestAllAtOnce: whatever happens, and in whatever order, no record is lost or changed but
// those that were deleted or compacted away, no offset is used twice, each producer is known
// with its last sequence, and nothing is damaged (LEVADA_SEEDS for more, LEVADA_SEED for one
// with all that happens).
func TestAllAtOnce(t *testing.T) {
	faults, removed := 0, int64(0)
	run := func(seed int) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newMixedSim(t, uint64(seed))
			for range 8 {
				for n := 10 + s.rng.IntN(80); n > 0; n-- {
					if s.step(); s.disk.died() {
						n /= 2
					}
				}
				s.restart()
			}
			faults, removed = faults+s.disk.faults, removed+s.removed
		})
	}
	if one, err := strconv.Atoi(os.Getenv("LEVADA_SEED")); err == nil {
		run(one)
		return
	}
	for seed := range seeds(t, 400) {
		run(seed)
	}
	if faults == 0 || removed == 0 {
		t.Errorf("%d calls failed, and %d records were compacted away", faults, removed)
	}
}

func newMixedSim(t *testing.T, seed uint64) *mixedSim {
	s := &mixedSim{trace: func(string, ...any) {}}
	if os.Getenv("LEVADA_SEED") != "" {
		s.trace = t.Logf
	}
	s.t, s.rng, s.now = t, rand.New(rand.NewPCG(seed, 4)), time.UnixMilli(1_700_000_000_000)
	s.disk = faultyDisk{FS: crashableDir(t), rng: s.rng, trace: s.trace}
	s.cfg = testConfig(errorfs.Wrap(&s.disk, errorfs.InjectorFunc(s.disk.inject)))
	s.cfg.Now = func() time.Time { return s.now }
	s.cfg.SegmentBytes = 300 + int64(s.rng.IntN(3000))
	s.compactor, s.retention = NewCompactor(1<<10*keySlotSize), time.Duration(s.rng.IntN(3))*20*time.Second
	if s.rng.IntN(2) == 0 {
		s.compactor = NewCompactor(0)
	}
	for i := range s.pids {
		s.pids[i], s.open[i] = source{id: int64(100 + i), transactional: i > 1}, -1
	}
	s.pids[0] = source{}
	s.log = mustOpen(t, s.cfg)
	return s
}

// step does one thing, which may fail if the disk did.
func (s *mixedSim) step() {
	s.t.Helper()
	if s.disk.mode == diskWorks && s.rng.IntN(12) == 0 {
		s.disk.fail()
	}
	switch n := s.rng.IntN(100); {
	case n < 50:
		s.append()
	case n < 62:
		s.end()
	case n < 70:
		s.now = s.now.Add(time.Duration(s.rng.IntN(1000)) * time.Millisecond)
	case n < 76:
		s.allow("sync", s.log.Sync())
	case n < 82:
		s.checkpoint()
	case n < 87:
		s.compact()
	case n < 90:
		_, err := s.log.Seal()
		s.allow("seal", err)
	case n < 94:
		s.retain()
	case n < 97:
		start := s.cfg.LogStart + s.rng.Int64N(s.log.SyncedEnd()-s.cfg.LogStart+1)
		s.cfg.LogStart = start
		if s.rng.IntN(4) > 0 { // otherwise the crash comes first
			s.allow(fmt.Sprintf("delete to %d", start), s.log.DeleteTo(start))
		} else {
			s.trace("deletion to %d was recorded", start)
		}
	default:
		s.disk.mend()
	}
	s.synced = max(s.synced, s.log.SyncedEnd())
}

// allow checks that a call failed only if the disk did.
func (s *mixedSim) allow(what string, err error) bool {
	s.t.Helper()
	s.trace("%s: %v; segments %v, end %d, synced %d, saved %d", what, err, s.bases(), s.log.End(), s.log.SyncedEnd(), s.log.saved)
	s.suspect = s.suspect || errors.Is(err, ErrFailed)
	if err != nil && (s.disk.failedSince == 0 || !errors.Is(err, errDied) && !errors.Is(err, ErrFailed)) {
		s.t.Fatalf("%s: %v", what, err)
	}
	return err == nil
}

func (s *mixedSim) bases() (out []int64) {
	for _, seg := range *s.log.segments.Load() {
		out = append(out, seg.base)
	}
	return out
}

func (s *mixedSim) append() {
	s.t.Helper()
	i := s.rng.IntN(len(s.pids))
	if i > 0 && s.last[i] != nil && s.rng.IntN(8) == 0 && s.decisionOf(i) == nil {
		s.appendAgain(i)
		return
	}
	if s.decisionOf(i) != nil {
		return // its marker comes first
	}
	batch, records := s.nextBatch(i)
	res, err := s.log.Append(batch, nil)
	w := wroteBatch{int64(len(s.history)), int64(len(s.history) + len(records) - 1), i, s.pids[i].id, s.pids[i].epoch, slices.Clone(batch), records}
	if !s.allow(fmt.Sprintf("append of %d by %d", len(records), i), err) {
		s.refused = append(s.refused, w)
		return
	}
	if res.BaseOffset != w.base || res.LastOffset != w.last || res.Duplicate {
		s.t.Fatalf("append: %+v, want offset %d", res, w.base)
	}
	s.batches = append(s.batches, w)
	s.appended(i, batch, records)
}

// appendAgain sends the last batch of a producer again.
func (s *mixedSim) appendAgain(i int) {
	s.t.Helper()
	res, err := s.log.Append(slices.Clone(s.last[i]), nil)
	if s.allow("append again", err) && (!res.Duplicate || res.BaseOffset != s.last[i].BaseOffset()) {
		s.t.Fatalf("producer %d: its last batch again: %+v, want a duplicate at %d", i, res, s.last[i].BaseOffset())
	}
}

// decisionOf is the decision over the open transaction of a producer.
func (s *mixedSim) decisionOf(i int) *decision {
	at := slices.IndexFunc(s.decided, func(d decision) bool { return d.id == s.pids[i].id && d.first == s.open[i] })
	if s.open[i] < 0 || at < 0 {
		return nil
	}
	return &s.decided[at]
}

// end ends a transaction as the broker does: its records are durable before the
// decision, and that before the marker, which is tried until it is there.
func (s *mixedSim) end() {
	s.t.Helper()
	i := s.rng.IntN(len(s.pids))
	if s.open[i] < 0 {
		return
	}
	if s.decisionOf(i) == nil {
		if !s.allow("sync before a decision", s.log.Sync()) {
			return
		}
		s.decide(i, s.rng.IntN(2) == 0)
	}
	s.mark(i)
}

func (s *mixedSim) decide(i int, commit bool) {
	p := s.pids[i]
	d := decision{p.id, s.open[i], p.epoch + int16(s.rng.IntN(2)), commit}
	s.decided = append(s.decided, d)
	s.log.Decide(d.id, d.epoch, commit)
	s.abort(i, d)
}

// abort takes note of the records that a decision aborts, such as were refused and are
// there nevertheless too.
func (s *mixedSim) abort(i int, d decision) {
	for at := d.first; at < int64(len(s.history)) && !d.commit; at++ {
		if r := &s.history[at]; r.owner == i {
			r.aborted = true
		}
	}
}

// mark appends the marker of a decision.
func (s *mixedSim) mark(i int) {
	s.t.Helper()
	d := s.decisionOf(i)
	offset, appended, err := s.log.AppendMarker(Marker{ProducerID: d.id, Epoch: d.epoch, Commit: d.commit, CoordinatorEpoch: 1})
	w := wroteBatch{int64(len(s.history)), int64(len(s.history)), i, d.id, d.epoch, nil, []keyed{{marker: true, owner: -1}}}
	if !s.allow(fmt.Sprintf("marker of %d, commit %t", i, d.commit), err) {
		s.refused = append(s.refused, w)
		return
	}
	if !appended || offset != w.base {
		s.t.Fatalf("marker of producer %d: %d, %t, want it at %d", i, offset, appended, w.base)
	}
	s.took(w)
}

// took takes a marker into the model.
func (s *mixedSim) took(w wroteBatch) {
	s.batches, s.history = append(s.batches, w), append(s.history, w.records...)
	p := &s.pids[w.owner]
	if s.open[w.owner] = -1; p.epoch != w.epoch {
		p.epoch, p.sequence, s.last[w.owner] = w.epoch, 0, nil
	}
}

// checkpoint goes as far as chance will have it, while the log goes on.
func (s *mixedSim) checkpoint() {
	s.t.Helper()
	c, err := s.log.BeginCheckpoint(s.rng.Int64N(1000))
	if !s.allow("checkpoint", err) || c == nil {
		return
	}
	for step := range s.rng.IntN(3) {
		for range s.rng.IntN(4) {
			s.append()
		}
		if step == 0 {
			err = c.Sync()
		} else {
			err = c.Finish()
		}
		if !s.allow(fmt.Sprintf("checkpoint, step %d", step), err) {
			return
		}
	}
}

func (s *mixedSim) compact() {
	s.t.Helper()
	cfg := Compaction{DeleteRetention: s.retention, MinDirtyRatio: float64(s.rng.IntN(2)) * 0.3}
	if s.rng.IntN(3) == 0 {
		cfg.MinLag = 2 * time.Second
	}
	if s.rng.IntN(3) == 0 {
		s.disk.die()
	}
	stats, err := s.log.Compact(s.compactor, cfg)
	s.removed += stats.Records
	s.touchedTo = max(s.touchedTo, min(s.log.LastStable(), s.log.active().base))
	if s.allow("compact", err) {
		s.cleanTo = max(s.cleanTo, stats.To)
	}
}

func (s *mixedSim) retain() {
	s.t.Helper()
	keep := Retention{Age: -1, Bytes: -1}
	if s.rng.IntN(2) == 0 {
		keep.Age = time.Duration(s.rng.IntN(10)) * time.Second
	} else {
		keep.Bytes = s.rng.Int64N(10 * s.cfg.SegmentBytes)
	}
	_, err := s.log.Retain(keep, func(start int64) error {
		if s.cfg.LogStart = max(s.cfg.LogStart, start); s.rng.IntN(8) == 0 {
			s.disk.mode, s.disk.left = diskDies, 0 // before anything is removed
		}
		return nil
	})
	s.allow("retain", err)
}
