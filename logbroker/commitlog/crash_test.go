package commitlog

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"

	"github.com/levada/levada/internal/recordbatch"
)

// seeds is how many schedules a randomised test runs.
func seeds(t testing.TB, fallback int) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("LEVADA_SEEDS"))
	if err != nil {
		return fallback
	}
	return n
}

// crashSim drives one log through appends, syncs, deletions and crashes, and
// remembers what was appended.
type crashSim struct {
	t      *testing.T
	rng    *rand.Rand
	fs     *vfs.MemFS
	cfg    Config
	log    *Log
	values []string // by offset; a marker is ""
	synced int64
	pids   [4]source
	open   [4]bool
}

func TestCrashes(t *testing.T) {
	for seed := range seeds(t, 150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := &crashSim{t: t, rng: rand.New(rand.NewPCG(uint64(seed), 1)), fs: crashableDir(t)}
			s.cfg = testConfig(s.fs)
			s.cfg.SegmentBytes = 3000 + int64(s.rng.IntN(20000))
			s.log = mustOpen(t, s.cfg)
			s.newProducers()
			for range 6 {
				for range 5 + s.rng.IntN(60) {
					s.step()
				}
				s.crash()
			}
		})
	}
}

func (s *crashSim) newProducers() {
	for i := range s.pids {
		s.pids[i] = source{id: s.rng.Int64N(1 << 40), transactional: i%2 == 1}
		s.open[i] = false
	}
}

func (s *crashSim) step() {
	s.t.Helper()
	switch n := s.rng.IntN(100); {
	case n < 60:
		s.append()
	case n < 65:
		s.checkpoint()
	case n < 75:
		s.marker()
	case n < 95:
		if err := s.log.Sync(); err != nil {
			s.t.Fatal(err)
		}
		s.synced = s.log.End()
	case n < 98:
		s.cfg.LogStart += s.rng.Int64N(s.log.SyncedEnd() - s.cfg.LogStart + 1)
		if err := s.log.DeleteTo(s.cfg.LogStart); err != nil {
			s.t.Fatal(err)
		}
	default:
		if err := s.log.Close(); err != nil {
			s.t.Fatal(err)
		}
		s.synced = int64(len(s.values))
		s.reopen(true)
		s.check()
	}
	if s.log.SyncedEnd() > s.synced {
		s.synced = s.log.SyncedEnd() // a roll synced
	}
}

// checkpoint goes as far as chance will have it, while the log goes on.
func (s *crashSim) checkpoint() {
	s.t.Helper()
	c, err := s.log.BeginCheckpoint(s.rng.Int64N(2000))
	if err != nil {
		s.t.Fatal(err)
	}
	for step := range s.rng.IntN(3) {
		for range s.rng.IntN(8) {
			s.append()
		}
		switch {
		case c == nil:
		case step == 0:
			err = c.Sync()
		default:
			err = c.Finish()
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *crashSim) append() {
	s.t.Helper()
	i := s.rng.IntN(len(s.pids) + 1)
	var from source
	if i < len(s.pids) {
		from = s.pids[i]
	}
	values := make([]string, 1+s.rng.IntN(4))
	for j := range values {
		values[j] = fmt.Sprintf("%d/%d:%0*d", len(s.values), j, s.rng.IntN(900), i)
	}
	res := mustAppend(s.t, s.log, from, values...)
	if res.BaseOffset != int64(len(s.values)) {
		s.t.Fatalf("base offset %d, want %d", res.BaseOffset, len(s.values))
	}
	s.values = append(s.values, values...)
	if i < len(s.pids) {
		s.pids[i].sequence += int32(len(values))
		s.open[i] = from.transactional
	}
}

func (s *crashSim) marker() {
	s.t.Helper()
	i := s.rng.IntN(len(s.pids))
	p := &s.pids[i]
	bump := int16(s.rng.IntN(2))
	commit := s.rng.IntN(2) == 0
	s.log.Decide(p.id, p.epoch, commit)
	_, appended, err := s.log.AppendMarker(Marker{ProducerID: p.id, Epoch: p.epoch + bump, Commit: commit, CoordinatorEpoch: 3})
	if err != nil || appended != s.open[i] {
		s.t.Fatalf("marker of producer %d: appended %t, want %t, error %v", i, appended, s.open[i], err)
	}
	if appended {
		s.values = append(s.values, "")
		s.open[i] = false
		if p.epoch += bump; bump > 0 {
			p.sequence = 0
		}
	}
}

// crash kills the log or takes the power, recovers under further crashes, and
// compares.
func (s *crashSim) crash() {
	s.t.Helper()
	closeQuietly(s.log)
	if s.rng.IntN(3) == 0 {
		s.synced = int64(len(s.values)) // a kill leaves the page cache
	} else {
		percent := []int{0, 50, 90, 100}[s.rng.IntN(4)]
		s.fs = s.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: s.rng})
		for range s.rng.IntN(4) {
			s.interruptRecovery()
		}
	}
	s.reopen(false)
	end := s.log.End()
	if end < s.synced || end > int64(len(s.values)) {
		s.t.Fatalf("end %d after a crash, synced %d, appended %d", end, s.synced, len(s.values))
	}
	s.values = s.values[:end]
	s.check()
	// What is shown now must survive the next crash at once.
	after := *s
	after.fs = s.fs.CrashClone(vfs.CrashCloneCfg{})
	after.reopen(false)
	if got := after.log.End(); got != end {
		s.t.Fatalf("end %d after a crash right after recovery, was %d", got, end)
	}
	after.check()
	closeQuietly(after.log)
	s.synced = end
	s.newProducers()
}

// interruptRecovery opens the log on a disk that dies after some operations.
func (s *crashSim) interruptRecovery() {
	left := s.rng.IntN(25)
	died := errors.New("power lost")
	cfg := s.openConfig(false)
	cfg.FS = errorfs.Wrap(s.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		if left--; left < 0 {
			return died
		}
		return nil
	}))
	if l, err := Open(cfg); err == nil {
		closeQuietly(l)
	} else if errors.Is(err, ErrCorrupt) || !errors.Is(err, died) {
		s.t.Fatalf("interrupted recovery: %v", err)
	}
	s.fs = s.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: s.rng.IntN(101), RNG: s.rng})
}

// closeQuietly lets go of a log whose disk is no longer there.
func closeQuietly(l *Log) {
	l.failed.Store(new(error))
	*l.failed.Load() = ErrFailed
	_ = l.Close()
}

func (s *crashSim) openConfig(cleanly bool) Config {
	cfg := s.cfg
	cfg.FS, cfg.Cleanly, cfg.Suspect = s.fs, cleanly, !cleanly
	cfg.SuspectDisk = !cleanly && s.rng.IntN(3) == 0
	return cfg
}

func (s *crashSim) reopen(cleanly bool) {
	s.t.Helper()
	s.log = mustOpen(s.t, s.openConfig(cleanly))
}

// check compares records and state with what was appended.
func (s *crashSim) check() {
	s.t.Helper()
	l := s.log
	if l.SyncedEnd() != l.End() {
		s.t.Fatalf("synced end %d after Open, end %d", l.SyncedEnd(), l.End())
	}
	for _, got := range readValues(s.t, l, l.Start(), l.End(), 500) {
		if want := s.values[got.offset]; got.value != want {
			s.t.Fatalf("offset %d holds %q, want %q", got.offset, got.value, want)
		}
	}
	for range 10 {
		if l.Start() == l.End() {
			break
		}
		offset := l.Start() + s.rng.Int64N(l.End()-l.Start())
		readValues(s.t, l, offset, l.End(), s.rng.IntN(3000))
	}
	checkState(s.t, l)
}

// checkState compares what the log says of producers and transactions with a
// replay of its batches, as far as those are still there.
func checkState(t testing.TB, l *Log) {
	t.Helper()
	segs := *l.segments.Load()
	if segs[0].base > 0 {
		return // the state knows more than the batches that are left
	}
	want := newState(l.cfg.MaxProducers)
	for _, s := range segs {
		w := newWalker(s, 0, s.size.Load())
		for {
			b, _, err := w.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil {
				err = want.apply(recordbatch.Batch(b))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	want.aborted.dropBelow(l.Start())
	if d := cmp.Diff(string(want.encodeSnapshot(l.End())), string(l.state.encodeSnapshot(l.End()))); d != "" {
		t.Fatalf("state differs from a replay: %s", d)
	}
}
