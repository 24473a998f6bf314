package commitlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/levada/levada/internal/recordbatch"
)

// putKeyed appends a record of one key.
func putKeyed(t testing.TB, l *Log, key, value string) {
	t.Helper()
	var b recordbatch.Builder
	b.Append(l.cfg.Now().UnixMilli(), []byte(key), []byte(value), nil)
	batch := b.Batch()
	batch.SetCRC()
	if _, err := l.Append(batch, nil); err != nil {
		t.Fatal(err)
	}
}

// TestCheckpointInsideWhatIsCompacted: the checkpoint that a full disk left ends
// inside a segment which has been sealed since, or a newer one was finished whose
// end is not on disk yet. A compaction that is interrupted at any write leaves a log
// that opens, with all its newest records.
func TestCheckpointInsideWhatIsCompacted(t *testing.T) {
	t.Run("the last", func(t *testing.T) { testCheckpointInside(t, checkpointFile, false) })
	// Where the index cannot be written, the next checkpoint goes into the same file.
	t.Run("the last on disk", func(t *testing.T) { testCheckpointInside(t, indexSuffix, false) })
	t.Run("the last on disk, after a kill", func(t *testing.T) { testCheckpointInside(t, indexSuffix, true) })
}

func testCheckpointInside(t *testing.T, failing string, killed bool) {
	for n, done := 0, false; !done; n++ {
		if n > 500 {
			t.Fatal("the compaction does not end")
		}
		fs := crashableDir(t)
		full, left := false, -1
		cfg := testConfig(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			switch {
			case full && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, failing):
				return syscall.ENOSPC
			case left == 0 && op.Kind.ReadOrWrite() == errorfs.OpIsWrite:
				return errDied
			case left > 0 && op.Kind.ReadOrWrite() == errorfs.OpIsWrite:
				left--
			}
			return nil
		})))
		cfg.SegmentBytes = 500
		l := mustOpen(t, cfg)
		for i := range 3 {
			putKeyed(t, l, "a", fmt.Sprint(i))
		}
		mustCheckpoint(t, l)
		full = true
		for i := range 12 {
			putKeyed(t, l, fmt.Sprint("b", i%4), fmt.Sprint(i))
		}
		full = false
		if failing == indexSuffix {
			mustCheckpoint(t, l)
		}
		if killed {
			l = mustOpen(t, cfg)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		left = n
		_, err := l.Compact(NewCompactor(1<<16), Compaction{})
		if done = err == nil; !done && !errors.Is(err, errDied) {
			t.Fatal(err)
		}
		end := l.End()
		closeQuietly(l)
		l = mustOpen(t, cfg2(cfg, fs.CrashClone(vfs.CrashCloneCfg{})))
		seen := map[string]bool{}
		for _, v := range readCompacted(t, l) {
			seen[v.value] = true
		}
		for _, want := range []string{"2", "8", "9", "10", "11"} {
			if !seen[want] {
				t.Fatalf("write %d: %v is left, and %s is gone", n, seen, want)
			}
		}
		if l.End() != end {
			t.Fatalf("write %d: end %d, was %d", n, l.End(), end)
		}
		closeQuietly(l)
	}
}

// readCompacted reads all data records of a log with gaps.
func readCompacted(t testing.TB, l *Log) (out []offsetValue) {
	t.Helper()
	for next := l.Start(); next < l.End(); {
		chunk, err := l.Read(next, l.End(), 1<<20, true, nil)
		if err != nil {
			t.Fatalf("Read(%d): %v", next, err)
		}
		if len(chunk) == 0 {
			return out
		}
		out = append(out, splitValues(t, chunk)...)
		for len(chunk) > 0 {
			var b recordbatch.Batch
			if b, chunk, err = recordbatch.Split(chunk); err != nil {
				t.Fatal(err)
			}
			next = b.NextOffset()
		}
	}
	return out
}

// TestCompactionStandsOnWhatIsDurable: a transaction's end that is not synced counts
// for a compaction. Whenever the power goes, either it is there after all, or what
// the transaction replaces still is.
func TestCompactionStandsOnWhatIsDurable(t *testing.T) {
	lost := 0
	for n, done := 0, false; !done; n++ {
		fs, left := crashableDir(t), -1
		cfg := testConfig(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			switch {
			case left < 0 || op.Kind.ReadOrWrite() != errorfs.OpIsWrite:
				return nil
			case left == 0:
				return errDied
			}
			left--
			return nil
		})))
		cfg.SegmentBytes = 1
		l := mustOpen(t, cfg)
		putKeyed(t, l, "a", "old")
		batch := makeKeyed("a")
		batch.SetProducer(7, 0, 0, true)
		batch.SetCRC()
		if _, err := l.Append(batch, nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := l.AppendMarker(Marker{ProducerID: 7, Epoch: 0, Commit: true, CoordinatorEpoch: 1}); err != nil {
			t.Fatal(err)
		}
		left = n
		_, err := l.Compact(NewCompactor(1<<16), Compaction{})
		if done = err == nil; !done && !errors.Is(err, errDied) {
			t.Fatal(err)
		}
		closeQuietly(l)
		l = mustOpen(t, cfg2(cfg, fs.CrashClone(vfs.CrashCloneCfg{})))
		if len(l.OpenTransactions()) > 0 {
			lost++
			if got := readCompacted(t, l); len(got) != 2 || got[0].value != "old" {
				t.Errorf("write %d: the transaction is open again, and %d records are left", n, len(got))
			}
		}
		closeQuietly(l)
	}
	if lost == 0 {
		t.Error("no power loss took the end")
	}
}

// TestSnapshotIsReplacedWhole: a compaction of a log to which nothing was appended since
// its checkpoint writes one of the same end. Whenever the power goes, what only the
// snapshot knows is still known: a producer whose records were deleted.
func TestSnapshotIsReplacedWhole(t *testing.T) {
	for n, done := 0, false; !done; n++ {
		fs, left := crashableDir(t), -1
		cfg := testConfig(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			switch {
			case left < 0 || op.Kind.ReadOrWrite() != errorfs.OpIsWrite:
				return nil
			case left == 0:
				return errDied
			}
			left--
			return nil
		})))
		cfg.SegmentBytes = 1
		l := mustOpen(t, cfg)
		mustAppend(t, l, source{id: 7}, "deleted")
		for range 4 {
			putKeyed(t, l, "a", "v")
		}
		if err := errors.Join(l.Sync(), l.DeleteTo(1), l.Close()); err != nil {
			t.Fatal(err)
		}
		cfg.LogStart, cfg.Cleanly = 1, true
		l = mustOpen(t, cfg)
		left = n
		_, err := l.Compact(NewCompactor(1<<16), Compaction{})
		if done = err == nil; !done && !errors.Is(err, errDied) {
			t.Fatal(err)
		}
		closeQuietly(l)
		cfg.Cleanly = false
		for seed := range uint64(10) {
			left := vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, 1))}
			l = mustOpen(t, cfg2(cfg, fs.CrashClone(left)))
			if got := l.Producers(); len(got) != 1 || got[0].ProducerID != 7 {
				t.Errorf("write %d: producers %+v", n, got)
			}
			closeQuietly(l)
		}
	}
}

// TestCleanStartFinishesACompaction: a log is closed when the checkpoint of its last
// compaction could not be written. The next start, though it has nothing to read,
// writes one, and forgets the decision.
func TestCleanStartFinishesACompaction(t *testing.T) {
	full := false
	cfg := testConfig(noRoom(vfs.NewMem(), checkpointFile, &full, errorfs.OpCreate))
	cfg.SegmentBytes = 1
	l := mustOpen(t, cfg)
	for range 4 {
		putKeyed(t, l, "a", "v")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Cleanly = true
	l = mustOpen(t, cfg)
	full = true
	if _, err := l.Compact(NewCompactor(1<<16), Compaction{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	full = false
	if f, err := l.Freeze(); err == nil {
		f.Thaw()
		t.Error("a copy was begun whose checkpoint is older than its segments")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	decided := func() bool {
		_, err := cfg.FS.Stat(cfg.FS.PathJoin(testDir, swapFile))
		return err == nil
	}
	if !decided() {
		t.Fatal("the decision is gone before the checkpoint is there")
	}
	l = mustOpen(t, cfg)
	if got := readCompacted(t, l); len(got) != 3 || decided() {
		t.Errorf("%v are left; the decision too: %v", got, decided())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestStartThatCannotFinishACompaction: the checkpoint of the last compaction cannot be
// written by the start after it either. No other compaction may take the decision's place
// until it is there.
func TestStartThatCannotFinishACompaction(t *testing.T) {
	full := false
	cfg := testConfig(noRoom(vfs.NewMem(), checkpointFile, &full, errorfs.OpCreate))
	cfg.SegmentBytes = 1
	l := mustOpen(t, cfg)
	for range 6 {
		putKeyed(t, l, "a", "v")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, cfg)
	full = true
	for range 2 {
		if _, err := l.Compact(NewCompactor(1<<16), Compaction{}); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if f, err := l.Freeze(); err == nil {
			f.Thaw()
			t.Error("a copy was begun whose checkpoint is older than its segments")
		}
		if c, err := l.BeginCheckpoint(0); c != nil || err != nil {
			t.Errorf("checkpoint %v, %v", c, err)
		}
		closeQuietly(l)
		l = mustOpen(t, cfg)
	}
	full = false
	if _, err := l.Compact(NewCompactor(1<<16), Compaction{}); err != nil {
		t.Fatal(err)
	}
	if got := readCompacted(t, l); len(got) == 0 || got[len(got)-1].offset != 5 {
		t.Errorf("%v are left", got)
	}
}

// TestDecisionThatIsNotOnDisk: a kill comes right after a compaction was decided, and the
// power goes while the next start carries it out. What it did must not outlive the decision.
func TestDecisionThatIsNotOnDisk(t *testing.T) {
	for n := range 8 {
		for seed := range uint64(20) {
			fs, decided, left := crashableDir(t), false, -1
			cfg := testConfig(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
					return nil
				}
				if decided || left == 0 {
					return errDied
				}
				left--
				decided = op.Kind == errorfs.OpRename && strings.Contains(op.Path, swapFile)
				return nil
			})))
			cfg.SegmentBytes = 1000
			l := mustOpen(t, cfg)
			for range 20 {
				putKeyed(t, l, "a", "value")
			}
			if _, err := l.Compact(NewCompactor(1<<16), Compaction{}); !errors.Is(err, errDied) {
				t.Fatal(err)
			}
			closeQuietly(l)
			decided, left = false, n
			if l, err := Open(cfg); err == nil {
				closeQuietly(l)
			}
			after := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, 1))})
			l, err := Open(cfg2(testConfig(after), after))
			if err != nil {
				t.Fatalf("write %d: %v", n, err)
			}
			if got := readCompacted(t, l); l.End() != 19 && l.End() != 20 || got[len(got)-1].offset != l.End()-1 {
				t.Errorf("write %d: %v are left of %d", n, got, l.End())
			}
			closeQuietly(l)
		}
	}
}

// TestNoCheckpointOutlivesACompaction: those that were written before it tell of segments
// that are gone, and do not count where the one that was written after it is damaged.
func TestNoCheckpointOutlivesACompaction(t *testing.T) {
	fs := vfs.NewMem()
	cfg := testConfig(fs)
	cfg.SegmentBytes = 500
	l := mustOpen(t, cfg)
	for i := range 20 {
		putKeyed(t, l, fmt.Sprint("a", i%2), fmt.Sprint(i))
	}
	if stats, err := l.Compact(NewCompactor(1<<16), Compaction{}); err != nil || stats.BytesAfter >= stats.BytesBefore {
		t.Fatalf("%+v, %v", stats, err)
	}
	files := readImage(t, fs)
	want := readCompacted(t, l)
	data := files[checkpointFile]
	data[len(data)-1] ^= 1
	l = mustOpen(t, cfg2(cfg, files.with(checkpointFile, data).write(t)))
	if got := readCompacted(t, l); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
