package commitlog

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/recordbatch"
)

// restart ends the log cleanly, by SIGKILL or by a power loss, and opens what is left,
// which may be interrupted in the same ways.
func (s *mixedSim) restart() {
	s.t.Helper()
	clean := false
	s.synced = max(s.synced, s.log.SyncedEnd())
	if s.rng.IntN(3) == 0 {
		clean = s.allow("close", s.log.Close())
	}
	if clean {
		s.synced = int64(len(s.history))
	}
	closeQuietly(s.log)
	killed := true
	if !clean {
		killed = s.interrupt()
	}
	for attempt := range 5 {
		s.disk.mode, s.disk.failedSince = diskWorks, 0
		switch _, err := s.disk.FS.Stat(s.disk.FS.PathJoin(testDir, swapFile)); {
		case attempt == 4: // enough of them
		case err == nil && s.rng.IntN(3) > 0:
			s.disk.die() // while a compaction is finished
		case s.rng.IntN(2) == 0:
			s.disk.fail()
		}
		l, err := Open(s.nextConfig(clean))
		s.suspect = s.suspect && err != nil || s.disk.syncFailed && err != nil
		s.trace("open, clean %t: %v", clean, err)
		if err == nil {
			s.log = l
			break
		}
		if s.disk.failedSince == 0 || errors.Is(err, ErrCorrupt) || !errors.Is(err, errDied) {
			s.t.Fatalf("open: %v", err)
		}
		clean = false
		killed = s.interrupt() && killed
	}
	mode := s.disk.mode
	s.disk.mode = diskWorks
	s.afterOpen(killed)
	s.disk.mode = mode
	s.goOn(killed)
}

// interrupt is a kill, or a power loss.
func (s *mixedSim) interrupt() (killed bool) {
	if s.rng.IntN(2) == 0 {
		s.trace("kill")
		return true
	}
	s.disk.FS = loseThePower(s.t, s.disk.FS.(*vfs.MemFS), s.rng)
	s.trace("power loss: %v", s.names())
	s.inspect()
	return false
}

func (s *mixedSim) names() []string {
	names, err := s.disk.FS.List(testDir)
	if err != nil {
		s.t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func (s *mixedSim) nextConfig(clean bool) Config {
	cfg := s.cfg
	cfg.Cleanly, cfg.Suspect, cfg.SuspectDisk, cfg.Existing = clean, !clean, s.suspect, true
	s.disk.syncFailed = false
	return cfg
}

// afterOpen compares the log with what was appended.
func (s *mixedSim) afterOpen(killed bool) {
	s.t.Helper()
	l, end := s.log, s.log.End()
	if end < s.synced || l.SyncedEnd() != end || l.Start() != s.cfg.LogStart {
		s.t.Fatalf("the log has %d to %d, durable to %d; want %d to %d at least", l.Start(), end, l.SyncedEnd(), s.cfg.LogStart, s.synced)
	}
	s.retrace(killed)
	s.synced = end
	// What no checkpoint knows stays where none can be written.
	known := s.disk.failedSince == 0
	if bases := s.bases(); bases[0] > s.cfg.LogStart || len(bases) > 1 && bases[1] <= s.cfg.LogStart && known {
		s.t.Fatalf("the log starts at %d, and has segments %v", s.cfg.LogStart, bases)
	}
	s.replay()
	for i := range s.pids {
		if d := s.decisionOf(i); d != nil {
			l.Decide(d.id, d.epoch, d.commit)
			s.abort(i, *d)
		}
	}
	s.trace("start %d end %d stable %d of %d", l.Start(), l.End(), l.LastStable(), len(s.history))
	s.check()
	if !l.swapping {
		s.inspect()
	}
	// What is shown now must survive the next crash at once.
	again := mustOpen(s.t, cfg2(s.nextConfig(false), s.disk.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})))
	if again.End() != end || !slices.Equal(again.Producers(), l.Producers()) {
		s.t.Fatalf("after a power loss right after a start: end %d, producers %+v; were %d, %+v", again.End(), again.Producers(), end, l.Producers())
	}
	closeQuietly(again)
}

// inspect looks at the files as they are.
func (s *mixedSim) inspect() {
	s.t.Helper()
	_, err := Inspector{FS: s.disk.FS, Dir: testDir, LogStart: s.cfg.LogStart, Fault: func(f Fault) {
		if !f.Derived || strings.Contains(f.What, "is not there") {
			s.t.Error(f)
		}
	}}.Inspect()
	if err != nil && !strings.Contains(err.Error(), swapFile) {
		s.t.Error(err)
	}
}

// retrace reads what was appended and was not durable: it is there up to some batch, and
// in the place of one that was lost may be another that was refused before it.
func (s *mixedSim) retrace(killed bool) {
	s.t.Helper()
	from, wrote := s.synced, slices.Clone(s.batches)
	s.history = s.history[:from]
	s.batches = slices.DeleteFunc(s.batches, func(w wroteBatch) bool { return w.base >= from })
	for end := s.log.End(); from < end; {
		p, err := s.log.Read(from, end, 1, true, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		b, _, err := recordbatch.Split(p)
		if err != nil {
			s.t.Fatal(err)
		}
		is := func(w wroteBatch) bool { return w.is(b) }
		all := slices.Concat(wrote, s.refused)
		at := slices.IndexFunc(all, is)
		if at < 0 {
			s.t.Fatalf("nobody wrote the batch of %d to %d", b.BaseOffset(), b.LastOffset())
		}
		s.batches, s.history = append(s.batches, all[at]), append(s.history, all[at].records...)
		from = b.NextOffset()
	}
	for i, w := range wrote {
		if killed && (i >= len(s.batches) || s.batches[i].base != w.base || !bytes.Equal(s.batches[i].raw, w.raw)) {
			s.t.Fatalf("a kill took the batch at %d", w.base)
		}
	}
	s.refused = nil
}

// is tells whether a batch is this one.
func (w wroteBatch) is(b recordbatch.Batch) bool {
	if b.BaseOffset() != w.base || b.LastOffset() != w.last {
		return false
	}
	return w.raw == nil && b.IsControl() && b.ProducerID() == w.id && b.ProducerEpoch() == w.epoch || bytes.Equal(w.raw, b)
}

// replay finds out what the producers have written of what is there, which the log must
// know though it may have deleted it.
func (s *mixedSim) replay() {
	s.t.Helper()
	want := map[int64]ProducerState{}
	for i := range s.pids {
		s.pids[i].epoch, s.pids[i].sequence, s.open[i], s.last[i] = 0, 0, -1, nil
	}
	for _, w := range s.batches {
		if w.owner == 0 {
			continue
		}
		p, known := want[w.id]
		if !known || p.Epoch != w.epoch {
			p.ProducerID, p.Epoch, p.LastSequence = w.id, w.epoch, -1
		}
		if !known || w.raw == nil {
			p.TxnFirstOffset = -1
		}
		if w.raw != nil {
			p.LastSequence = w.raw.BaseSequence() + w.raw.LastOffsetDelta()
			if p.TxnFirstOffset < 0 && w.raw.IsTransactional() {
				p.TxnFirstOffset = w.base
			}
		}
		want[w.id] = p
		at := &s.pids[w.owner] // its last one goes on
		if s.open[w.owner] = p.TxnFirstOffset; at.id != w.id || p.LastSequence < 0 {
			s.last[w.owner] = nil
		}
		if at.id, at.epoch, at.sequence = w.id, p.Epoch, p.LastSequence+1; w.raw != nil {
			s.last[w.owner] = w.raw
		}
	}
	got := s.log.Producers()
	for i, p := range got {
		got[i].LastTimestamp, got[i].CoordinatorEpoch = 0, 0
		if first := want[p.ProducerID].TxnFirstOffset; first >= 0 && first < p.TxnFirstOffset && first < s.touchedTo {
			got[i].TxnFirstOffset = first // what it aborted first was compacted away
		}
		if got[i] != want[p.ProducerID] {
			s.t.Fatalf("producer %+v, want %+v", got[i], want[p.ProducerID])
		}
	}
	if len(got) != len(want) {
		s.t.Fatalf("%d producers are known, want %d: %+v, want %+v", len(got), len(want), got, want)
	}
}

// goOn is what the broker does with the transactions that are open after a start.
func (s *mixedSim) goOn(killed bool) {
	s.t.Helper()
	for i := range s.pids {
		if s.open[i] >= 0 && s.decisionOf(i) == nil && !killed {
			s.decide(i, false)
		}
		if s.decisionOf(i) != nil {
			s.mark(i)
		}
		if i > 0 && s.open[i] < 0 && s.rng.IntN(4) == 0 { // another comes in its place
			s.pids[i] = source{id: s.pids[i].id + 1000, transactional: i > 1}
			s.last[i] = nil
		}
	}
}
