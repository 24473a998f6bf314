package commitlog

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/levada/levada/internal/recordbatch"
)

// keyed is a record as it was appended.
type keyed struct {
	key, value string
	tombstone  bool
	marker     bool
	aborted    bool
	owner      int // index of its producer
	id         int64
	appended   time.Time
}

// compactSim drives one log with keys through appends, transactions,
// compactions, deletions and crashes, and remembers what was appended.
type compactSim struct {
	t         *testing.T
	rng       *rand.Rand
	fs        *vfs.MemFS
	cfg       Config
	log       *Log
	now       time.Time
	history   []keyed // by offset
	pids      [5]source
	open      [5]int64 // first offset of the transaction, -1: none
	last      [5]recordbatch.Batch
	compactor *Compactor
	retention time.Duration // of tombstones
	cleanTo   int64         // compacted below
	touchedTo int64         // perhaps compacted below: an interrupted one may have got so far
	left      int           // writes until the disk dies; -1: it lives
	removed   int64
}

func newCompactSim(t *testing.T, seed uint64) *compactSim {
	s := &compactSim{t: t, rng: rand.New(rand.NewPCG(seed, 3)), fs: crashableDir(t), now: time.UnixMilli(1_700_000_000_000)}
	s.cfg = testConfig(s.fs)
	s.cfg.Now, s.left = func() time.Time { return s.now }, -1
	s.cfg.SegmentBytes = 1000 + int64(s.rng.IntN(8000))
	s.compactor, s.retention = NewCompactor(1<<10*keySlotSize), time.Duration(s.rng.IntN(3))*20*time.Second
	if s.rng.IntN(2) == 0 {
		s.compactor = NewCompactor(0) // 14 keys: several rounds
	}
	s.cfg.FS = s.mortal()
	s.log = mustOpen(t, s.cfg)
	for i := range s.pids {
		s.pids[i], s.open[i] = source{id: int64(100 + i), transactional: i > 1}, -1
	}
	s.pids[0] = source{}
	return s
}

var errDied = errors.New("the disk died")

// mortal is the disk, which dies after left more writes.
func (s *compactSim) mortal() vfs.FS {
	return errorfs.Wrap(s.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if s.left < 0 || op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		if s.left == 0 {
			return errDied
		}
		s.left--
		return nil
	}))
}

func TestCompaction(t *testing.T) {
	removed := int64(0)
	for seed := range seeds(t, 150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newCompactSim(t, uint64(seed))
			for range 5 {
				for range 20 + s.rng.IntN(150) {
					s.step()
				}
				s.restart()
				s.check()
			}
			removed += s.removed
			if err := s.log.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if removed == 0 {
		t.Error("nothing was compacted")
	}
}

func (s *compactSim) step() {
	s.t.Helper()
	switch n := s.rng.IntN(100); {
	case n < 60:
		s.append()
	case n < 75:
		s.end()
	case n < 90:
		s.now = s.now.Add(time.Duration(s.rng.IntN(1000)) * time.Millisecond)
	case n < 95:
		if err := s.log.Sync(); err != nil {
			s.t.Fatal(err)
		}
	default:
		s.compact()
		s.check()
	}
}

func (s *compactSim) append() {
	i := s.rng.IntN(len(s.pids))
	batch, records := s.nextBatch(i)
	res, err := s.log.Append(batch, nil)
	if err != nil || res.BaseOffset != int64(len(s.history)) {
		s.t.Fatalf("append: %+v, %v, want offset %d", res, err, len(s.history))
	}
	s.appended(i, batch, records)
}

// nextBatch makes what a producer writes next.
func (s *compactSim) nextBatch(i int) (recordbatch.Batch, []keyed) {
	var b recordbatch.Builder
	records := make([]keyed, 1+s.rng.IntN(4))
	for j := range records {
		r := keyed{key: fmt.Sprint("k", s.rng.IntN(30)), value: fmt.Sprint("v", s.rng.IntN(1000)), appended: s.now, owner: i, id: s.pids[i].id}
		value := []byte(r.value)
		if r.tombstone = s.rng.IntN(4) == 0; r.tombstone {
			r.value, value = "", nil
		}
		b.Append(s.now.UnixMilli(), []byte(r.key), value, nil)
		records[j] = r
	}
	batch := b.Batch()
	if p := s.pids[i]; i > 0 {
		batch.SetProducer(p.id, p.epoch, p.sequence, p.transactional)
	}
	batch.SetCRC()
	return batch, records
}

// appended remembers a batch of a producer that is in the log.
func (s *compactSim) appended(i int, batch recordbatch.Batch, records []keyed) {
	s.pids[i].sequence += int32(len(records))
	s.last[i] = slices.Clone(batch)
	if s.pids[i].transactional && s.open[i] < 0 {
		s.open[i] = batch.BaseOffset()
	}
	s.history = append(s.history, records...)
}

// end ends a transaction under a new epoch; if none is open the marker stands alone.
func (s *compactSim) end() {
	i := s.rng.IntN(len(s.pids))
	p := &s.pids[i]
	if i == 0 || p.epoch == math.MaxInt16 { // it has no id, or there is no other epoch
		return
	}
	alone := s.open[i] < 0
	commit := s.rng.IntN(2) == 0
	s.log.Decide(p.id, p.epoch, commit)
	p.epoch++
	offset, appended, err := s.log.AppendMarker(Marker{ProducerID: p.id, Epoch: p.epoch, Commit: commit, CoordinatorEpoch: 1, Alone: alone})
	if err != nil || !appended || offset != int64(len(s.history)) {
		s.t.Fatal(offset, appended, err)
	}
	s.history = append(s.history, keyed{marker: true, owner: -1})
	for at := s.open[i]; at < offset && !commit && !alone; at++ {
		if r := &s.history[at]; r.owner == i {
			r.aborted = true
		}
	}
	s.open[i], p.sequence, s.last[i] = -1, 0, nil
}

func (s *compactSim) compact() {
	if err := s.log.Sync(); err != nil {
		s.t.Fatal(err)
	}
	cfg := Compaction{DeleteRetention: s.retention, MinDirtyRatio: float64(s.rng.IntN(2)) * 0.3}
	if s.rng.IntN(3) == 0 {
		cfg.MinLag = 2 * time.Second
	}
	stats, err := s.log.Compact(s.compactor, cfg)
	s.removed += stats.Records
	if err != nil {
		s.t.Fatal(err)
	}
	s.cleanTo = max(s.cleanTo, stats.To)
	s.touchedTo = max(s.touchedTo, s.cleanTo)
}

// dieCompacting lets the disk die in the middle of a compaction.
func (s *compactSim) dieCompacting() {
	s.t.Helper()
	if err := s.log.Sync(); err != nil {
		s.t.Fatal(err)
	}
	s.left = s.rng.IntN(40)
	if _, err := s.log.Compact(s.compactor, Compaction{DeleteRetention: s.retention}); err != nil && !errors.Is(err, errDied) {
		s.t.Fatal(err)
	}
	s.touchedTo = max(s.touchedTo, s.log.LastStable())
}

// restart ends the log cleanly, by SIGKILL or by a power loss, and opens what
// is left, with or without what is derived.
func (s *compactSim) restart() {
	s.t.Helper()
	synced := s.log.SyncedEnd()
	died := s.rng.IntN(2) == 0
	if died {
		s.dieCompacting()
		synced = s.log.SyncedEnd()
	}
	clean := !died && s.rng.IntN(3) == 0
	switch {
	case clean:
		if err := s.log.Close(); err != nil {
			s.t.Fatal(err)
		}
	case s.rng.IntN(2) == 0:
		closeQuietly(s.log)
	default:
		closeQuietly(s.log)
		s.fs = s.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: s.rng.IntN(101), RNG: s.rng})
	}
	s.left = -1
	s.cfg.FS, s.cfg.Cleanly = s.mortal(), clean
	if s.rng.IntN(3) == 0 {
		for _, name := range []string{checkpointFile, markFile} {
			if err := s.fs.Remove(s.fs.PathJoin(testDir, name)); err != nil && !isNotExist(err) {
				s.t.Fatal(err)
			}
		}
	}
	s.log = mustOpen(s.t, s.cfg)
	end := s.log.End()
	if end < synced || end > int64(len(s.history)) {
		s.t.Fatalf("end %d after a restart, synced %d, appended %d", end, synced, len(s.history))
	}
	s.history = s.history[:end]
	s.checkProducers()
	// A lost end is no longer a transaction's; those that are open are aborted.
	for i := range s.pids {
		s.pids[i].id += 1000
		s.pids[i].epoch, s.pids[i].sequence, s.last[i] = 0, 0, nil
		s.open[i] = -1
	}
	s.pids[0] = source{}
	for _, open := range s.log.OpenTransactions() {
		s.log.Decide(open.ProducerID, open.Epoch, false)
		if _, _, err := s.log.AppendMarker(Marker{ProducerID: open.ProducerID, Epoch: open.Epoch, CoordinatorEpoch: 1}); err != nil {
			s.t.Fatal(err)
		}
		for at := open.FirstOffset; at < end; at++ {
			if r := &s.history[at]; r.id == open.ProducerID {
				r.aborted = true
			}
		}
		s.history = append(s.history, keyed{marker: true, owner: -1})
	}
}

// seenRecord is a record as a reader of committed records sees it.
type seenRecord struct {
	offset     int64
	key, value string
	tombstone  bool
}

// view reads what is committed.
func (s *compactSim) view() (out []seenRecord) {
	s.t.Helper()
	end := s.log.LastStable()
	aborted := s.log.Aborted(0, end)
	var reader recordbatch.Reader
	for next := s.log.Start(); next < end; {
		chunk, err := s.log.Read(next, end, 300+s.rng.IntN(3000), true, nil)
		if err != nil {
			s.t.Fatalf("Read(%d): %v", next, err)
		}
		if len(chunk) == 0 {
			break // the rest is compacted away
		}
		for len(chunk) > 0 {
			var b recordbatch.Batch
			if b, chunk, err = recordbatch.Split(chunk); err == nil {
				err = b.Validate()
			}
			if err == nil {
				err = reader.Reset(b)
			}
			if err != nil || b.NextOffset() <= next {
				s.t.Fatalf("Read(%d): batch of %d to %d, %v", next, b.BaseOffset(), b.LastOffset(), err)
			}
			next = b.NextOffset()
			hidden := b.IsControl()
			for _, a := range aborted {
				hidden = hidden || a.ProducerID == b.ProducerID() && b.IsTransactional() && b.BaseOffset() >= a.FirstOffset && b.LastOffset() <= a.LastOffset
			}
			if hidden && !b.IsControl() && b.Count() > 0 && b.BaseOffset() < s.cleanTo {
				s.t.Fatalf("aborted records at %d, compacted to %d", b.BaseOffset(), s.cleanTo)
			}
			var rec recordbatch.Record
			for !hidden {
				ok, err := reader.Next(&rec)
				if err != nil {
					s.t.Fatal(err)
				}
				if !ok {
					break
				}
				out = append(out, seenRecord{rec.Offset, string(rec.Key), string(rec.Value), rec.Value == nil})
			}
		}
	}
	return out
}

// check compares what a reader sees with what was appended.
func (s *compactSim) check() {
	s.t.Helper()
	end := s.log.LastStable()
	newest, lastSeen := map[string]int64{}, map[string]int64{}
	for at, r := range s.history[:end] {
		if !r.marker && !r.aborted {
			newest[r.key] = int64(at)
		}
	}
	seen := map[int64]bool{}
	for _, got := range s.view() {
		want := s.history[got.offset]
		if want.marker || want.aborted || got.key != want.key || got.value != want.value || got.tombstone != want.tombstone {
			s.t.Fatalf("offset %d: read %+v, appended %+v", got.offset, got, want)
		}
		if before, ok := lastSeen[got.key]; ok && got.offset < s.cleanTo && before < s.cleanTo {
			s.t.Fatalf("key %s is at %d and %d, compacted to %d", got.key, before, got.offset, s.cleanTo)
		}
		lastSeen[got.key], seen[got.offset] = got.offset, true
	}
	for at, r := range s.history[:end] {
		switch {
		case r.marker || r.aborted || seen[int64(at)] || int64(at) < s.log.Start():
		case int64(at) >= s.touchedTo:
			s.t.Fatalf("offset %d is gone, compacted to %d", at, s.touchedTo)
		case newest[r.key] == int64(at) && !r.tombstone:
			s.t.Fatalf("offset %d of key %s, its newest, is gone", at, r.key)
		case newest[r.key] == int64(at) && s.now.Sub(r.appended) < s.retention:
			s.t.Fatalf("tombstone %d of key %s is gone after %v, kept for %v", at, r.key, s.now.Sub(r.appended), s.retention)
		}
	}
	s.checkProducers()
}

// checkProducers sends the last batch of each producer again.
func (s *compactSim) checkProducers() {
	s.t.Helper()
	for i, b := range s.last {
		if i == 0 || b == nil || b.LastOffset() >= int64(len(s.history)) {
			continue
		}
		res, err := s.log.Append(append(recordbatch.Batch(nil), b...), nil)
		if err != nil || !res.Duplicate {
			s.t.Fatalf("producer %d: its last batch again: %+v, %v", i, res, err)
		}
	}
}

// TestTombstonesAndMarkersGo: they stay for DeleteRetention after a compaction
// has first seen them, and then go, with the transaction in the index.
func TestTombstonesAndMarkersGo(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	cfg := testConfig(vfs.NewMem())
	cfg.SegmentBytes, cfg.Now = 1, func() time.Time { return now } // a segment for each batch
	l := mustOpen(t, cfg)
	put := func(from source, key string, value []byte) {
		t.Helper()
		var b recordbatch.Builder
		b.Append(now.UnixMilli(), []byte(key), value, nil)
		batch := b.Batch()
		if from != (source{}) {
			batch.SetProducer(from.id, from.epoch, from.sequence, from.transactional)
		}
		batch.SetCRC()
		if _, err := l.Append(batch, nil); err != nil {
			t.Fatal(err)
		}
	}
	end := func(from source, commit bool) {
		t.Helper()
		l.Decide(from.id, from.epoch, commit)
		if _, _, err := l.AppendMarker(Marker{ProducerID: from.id, Epoch: from.epoch, Commit: commit, CoordinatorEpoch: 1}); err != nil {
			t.Fatal(err)
		}
	}
	compactor := NewCompactor(1 << 16)
	compact := func(key string) {
		t.Helper()
		put(source{}, key, []byte("v")) // something that is not compacted yet
		put(source{}, "active", []byte("v"))
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Compact(compactor, Compaction{DeleteRetention: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	count := func() (tombstones, markers int) {
		t.Helper()
		for next := int64(0); ; {
			chunk, err := l.Read(next, l.End(), 1<<20, true, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(chunk) == 0 {
				return tombstones, markers
			}
			for len(chunk) > 0 {
				var b recordbatch.Batch
				if b, chunk, err = recordbatch.Split(chunk); err != nil {
					t.Fatal(err)
				}
				next = b.NextOffset()
				if b.IsControl() {
					markers++
				} else if b.Count() > 0 && len(batchValues(t, b)) > 0 && batchValues(t, b)[0].value == "" {
					tombstones++
				}
			}
		}
	}
	put(source{}, "a", []byte("old"))
	put(source{}, "a", nil)
	txn := source{id: 7, transactional: true}
	put(txn, "b", []byte("aborted"))
	end(txn, false)
	txn.sequence = 1
	put(txn, "c", []byte("committed"))
	end(txn, true)
	txn.sequence = 2
	put(txn, "c", []byte("newer")) // the last batch of the producer
	end(txn, true)
	for i, want := range []struct {
		pass                time.Duration
		tombstones, markers int
		aborted             int
	}{
		{0, 1, 3, 1},           // the tombstone gets its time; markers still have data before them
		{time.Second, 1, 3, 1}, // two markers get theirs
		{time.Minute, 0, 1, 0}, // both are over
	} {
		now = now.Add(want.pass)
		compact(fmt.Sprint("new", i))
		if tombstones, markers := count(); tombstones != want.tombstones || markers != want.markers {
			t.Errorf("round %d: %d tombstones and %d markers are left, want %d and %d", i, tombstones, markers, want.tombstones, want.markers)
		}
		if got := l.Aborted(0, l.End()); len(got) != want.aborted {
			t.Errorf("round %d: aborted %v, want %d", i, got, want.aborted)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestProducersOutliveCompaction: the last batch of a producer stays, empty, so
// that a log which is read anew knows it again.
func TestProducersOutliveCompaction(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.SegmentBytes = 1
	l := mustOpen(t, cfg)
	batch := func(from source, key string) recordbatch.Batch {
		var b recordbatch.Builder
		b.Append(1, []byte(key), []byte("v"), nil)
		out := b.Batch()
		if from != (source{}) {
			out.SetProducer(from.id, from.epoch, from.sequence, false)
		}
		out.SetCRC()
		return out
	}
	for i, from := range []source{{id: 9}, {id: 9, sequence: 1}, {}, {}} {
		if _, err := l.Append(batch(from, "x"), nil); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	if stats, err := l.Compact(NewCompactor(1<<16), Compaction{}); err != nil || stats.Records != 2 {
		t.Fatalf("%+v, %v", stats, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cfg.FS.Remove(cfg.FS.PathJoin(testDir, checkpointFile)); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, cfg)
	if res, err := l.Append(batch(source{id: 9, sequence: 1}, "x"), nil); err != nil || !res.Duplicate || res.BaseOffset != 1 {
		t.Errorf("the last batch again: %+v, %v", res, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCompactionThatCannotRead: a disk that fails is no damage, and the log is
// as it was. Memory is only taken for work.
func TestCompactionThatCannotRead(t *testing.T) {
	broken := false
	failed := errors.New("the disk does not answer")
	cfg := testConfig(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken && op.Kind == errorfs.OpFileReadAt {
			return failed
		}
		return nil
	})))
	cfg.SegmentBytes = 1
	l := mustOpen(t, cfg)
	c := NewCompactor(1 << 20)
	if stats, err := l.Compact(c, Compaction{}); err != nil || stats != (CompactStats{}) || c.keys != nil {
		t.Fatalf("an empty log: %+v, %v, memory taken: %v", stats, err, c.keys != nil)
	}
	for range 3 {
		var b recordbatch.Builder
		b.Append(1, []byte("x"), []byte("v"), nil)
		batch := b.Batch()
		batch.SetCRC()
		if _, err := l.Append(batch, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	broken = true
	if _, err := l.Compact(c, Compaction{}); !errors.Is(err, failed) || errors.Is(err, ErrCorrupt) {
		t.Errorf("a disk that fails: %v", err)
	}
	broken = false
	if stats, err := l.Compact(c, Compaction{}); err != nil || stats.Records != 1 {
		t.Errorf("after it: %+v, %v", stats, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
