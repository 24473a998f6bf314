package commitlog

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestCheckpointThatCannotBeAdded: at any of its writes, when a segment is full. The log
// goes on, the one before it counts, and the next goes into another file.
func TestCheckpointThatCannotBeAdded(t *testing.T) {
	for n := range 3 {
		fs, writes := vfs.NewMem(), -1
		cfg := testConfig(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if writes < 0 || !strings.HasSuffix(op.Path, checkpointFile) || op.Kind != errorfs.OpFileWriteAt && op.Kind != errorfs.OpFileSync {
				return nil
			}
			if writes++; writes == n+1 {
				return syscall.ENOSPC
			}
			return nil
		})))
		l := mustOpen(t, cfg)
		before := manyCheckpoints(t, l, 2)[1]
		writes = 0
		for len(*l.segments.Load()) < 2 {
			mustAppend(t, l, source{}, strings.Repeat("x", 100))
		}
		if writes <= n || l.saved != before {
			t.Errorf("write %d of %d: the checkpoint ends at %d, was %d", n, writes, l.saved, before)
		}
		// The log may be looked at, and killed, at this moment.
		if _, faults := inspect(t, fs); len(faults) > 0 {
			t.Errorf("write %d: %v", n, faults)
		}
		again := mustOpen(t, cfg2(cfg, readImage(t, fs).write(t)))
		if again.End() != l.End() {
			t.Errorf("write %d: a start ends at %d of %d", n, again.End(), l.End())
		}
		checkState(t, again)
		if ends := manyCheckpoints(t, l, 2); l.checkpoints.count != 2 || ends[1] != l.End() {
			t.Errorf("write %d: %+v, and the checkpoints end at %d", n, l.checkpoints, ends)
		}
		closeQuietly(l)
	}
}

// TestCheckpointOfWhatWasDeleted: all records that a checkpoint tells of go, and none can
// be written of the empty log. What it knows of producers still holds.
func TestCheckpointOfWhatWasDeleted(t *testing.T) {
	full := false
	cfg := testConfig(noRoom(vfs.NewMem(), checkpointFile, &full))
	l := mustOpen(t, cfg)
	mustAppend(t, l, source{id: 7}, "deleted")
	manyCheckpoints(t, l, 1)
	full = true
	if _, err := l.Retain(Retention{Bytes: -1}, func(start int64) error { cfg.LogStart = start; return nil }); err != nil {
		t.Fatal(err)
	}
	full = false
	want := l.Producers()
	l = mustOpen(t, cfg) // after a kill
	if got := l.Producers(); len(*l.segments.Load()) != 1 || l.Start() != 2 || l.End() != 2 || len(got) != 1 || !slices.Equal(got, want) {
		t.Errorf("%d to %d, producers %+v, were %+v", l.Start(), l.End(), got, want)
	}
	mustAppend(t, l, source{}, "more")
	l = mustOpen(t, cfg)
	if got := l.Producers(); l.End() != 3 || !slices.Equal(got, want) {
		t.Errorf("the end is %d, producers %+v, were %+v", l.End(), got, want)
	}
}

// TestCheckpointOfWhatWasDeletedInPart: more was deleted than it tells of, and no newer one
// could be written. It says nothing about what is left, which is no damage.
func TestCheckpointOfWhatWasDeletedInPart(t *testing.T) {
	full := false
	cfg := testConfig(noRoom(vfs.NewMem(), checkpointFile, &full))
	l := mustOpen(t, cfg)
	mustAppend(t, l, source{id: 7}, "deleted")
	manyCheckpoints(t, l, 1)
	full = true
	mustAppend(t, l, source{id: 7, sequence: 1}, "deleted too")
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Retain(Retention{Bytes: -1}, func(start int64) error { cfg.LogStart = start; return nil }); err != nil {
		t.Fatal(err)
	}
	full = false
	l = mustOpen(t, cfg)
	if l.Start() != 3 || l.End() != 3 {
		t.Errorf("%d to %d", l.Start(), l.End())
	}
	mustAppend(t, l, source{id: 7, sequence: 2}, "more")
}

// TestDeletionWithoutACheckpoint: the last segment was begun, and the checkpoint for it not
// written. Whatever comes before all records that an older one tells of are deleted, a
// start after a kill knows who wrote them.
func TestDeletionWithoutACheckpoint(t *testing.T) {
	for name, between := range map[string]func(l *Log, cfg Config, full *bool) *Log{
		"a kill": func(_ *Log, cfg Config, full *bool) *Log {
			*full = false
			return mustOpen(t, cfg)
		},
		"a kill before the deletion": func(_ *Log, cfg Config, full *bool) *Log {
			*full = false
			return mustOpen(t, cfg)
		},
		"room":                   func(l *Log, _ Config, full *bool) *Log { *full = false; return l },
		"room with the deletion": func(l *Log, _ Config, _ *bool) *Log { return l },
	} {
		full := false
		cfg := testConfig(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpRemove && strings.HasSuffix(op.Path, firstLog) {
				full = false
			}
			if full && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, checkpointFile) {
				return syscall.ENOSPC
			}
			return nil
		})))
		l := mustOpen(t, cfg)
		manyCheckpoints(t, l, 1)
		mustAppend(t, l, source{id: 7}, "deleted")
		full = true
		for len(*l.segments.Load()) < 2 {
			mustAppend(t, l, source{}, strings.Repeat("x", 100))
		}
		want := l.Producers()
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		l = between(l, cfg, &full)
		cfg.LogStart = l.active().base
		if name != "a kill before the deletion" { // which the next start does
			if err := l.DeleteTo(cfg.LogStart); err != nil {
				t.Fatal(err)
			}
		}
		again := mustOpen(t, cfg)
		if got := again.Producers(); again.End() != l.End() || len(got) != 1 || !slices.Equal(got, want) {
			t.Errorf("%s: the end is %d of %d, producers %+v, were %+v", name, again.End(), l.End(), got, want)
		}
		closeQuietly(again)
	}
}

// TestStartThatDeletes: a deletion was recorded, and a kill came before it was carried out,
// where the last segment had been begun without a checkpoint. The start knows who wrote
// what it removes, and so do those after it, whether or not it could write that down.
func TestStartThatDeletes(t *testing.T) {
	for _, noneAtAll := range []bool{false, true} {
		for _, room := range []bool{true, false} {
			full := false
			cfg := testConfig(noRoom(crashableDir(t), checkpointFile, &full))
			l := mustOpen(t, cfg)
			if !noneAtAll {
				manyCheckpoints(t, l, 1)
			}
			full = true
			mustAppend(t, l, source{id: 7}, "deleted")
			for len(*l.segments.Load()) < 4 {
				mustAppend(t, l, source{}, strings.Repeat("x", 100))
			}
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			want, bases := l.Producers(), len(*l.segments.Load())
			cfg.LogStart = l.active().base
			closeQuietly(l)
			for start := range 3 {
				full = start == 0 && !room
				again := mustOpen(t, cfg)
				if got := again.Producers(); again.Start() != cfg.LogStart || len(got) != 1 || !slices.Equal(got, want) {
					t.Errorf("no checkpoint %t, room %t, start %d: it begins at %d, producers %+v, were %+v", noneAtAll, room, start, again.Start(), got, want)
				}
				if left := len(*again.segments.Load()); left != 1 && !full || left != bases && full {
					t.Errorf("no checkpoint %t, room %t, start %d: %d segments of %d are left", noneAtAll, room, start, left, bases)
				}
				closeQuietly(again)
			}
		}
	}
}

// TestDeletedSegmentsThatAreDamaged: what nobody reads any more takes no partition offline,
// though the start would have learnt from it who wrote there.
func TestDeletedSegmentsThatAreDamaged(t *testing.T) {
	for _, gone := range []bool{false, true} {
		fs, full := crashableDir(t), true
		cfg := testConfig(noRoom(fs, checkpointFile, &full))
		l := mustOpen(t, cfg)
		for len(*l.segments.Load()) < 3 {
			mustAppend(t, l, source{id: 7, sequence: int32(l.End())}, strings.Repeat("x", 100))
		}
		mustAppend(t, l, source{id: 8}, "kept")
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		second := (*l.segments.Load())[1]
		err := fs.Remove(second.path())
		if !gone {
			err = l.dir.writeFile(logName(second.base), []byte("garbage"), false)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(cfg); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("before the deletion: %v", err)
		}
		full, cfg.LogStart = false, l.active().base
		again := mustOpen(t, cfg)
		if got := again.Producers(); again.End() != l.End() || len(got) != 2 || got[len(got)-1].ProducerID != 8 {
			t.Errorf("it ends at %d of %d, producers %+v", again.End(), l.End(), got)
		}
		if names, err := fs.List(testDir); err != nil || slices.Contains(names, firstLog) {
			t.Errorf("%v are left, %v", names, err)
		}
	}
}

// TestDeletionStandsOnWhatIsDurable: the checkpoint that knows the deleted records is not
// synced yet. A power loss does not take it where it leaves the deletion.
func TestDeletionStandsOnWhatIsDurable(t *testing.T) {
	fs, full := crashableDir(t), false
	cfg := testConfig(noRoom(fs, checkpointFile, &full))
	l := mustOpen(t, cfg)
	manyCheckpoints(t, l, 1)
	mustAppend(t, l, source{id: 7}, "deleted")
	full = true
	for len(*l.segments.Load()) < 2 {
		mustAppend(t, l, source{}, strings.Repeat("x", 100))
	}
	full = false
	mustCheckpoint(t, l) // in another file, for the roll left that in an unknown state
	cfg.LogStart = l.active().base
	if err := l.DeleteTo(cfg.LogStart); err != nil {
		t.Fatal(err)
	}
	after := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := after.Remove(l.dir.join(firstLog)); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, cfg2(cfg, after))
	if got, want := again.Producers(), l.Producers(); len(got) != 1 || !slices.Equal(got, want) {
		t.Errorf("producers %+v, were %+v", got, want)
	}
}

// TestCheckpointThatCannotBeReadNow: a start that fails to read it, as where there are no
// descriptors, fails; what it knows of deleted records is not forgotten. A log of which
// nothing was deleted can do without.
func TestCheckpointThatCannotBeReadNow(t *testing.T) {
	for _, kind := range []errorfs.OpKind{errorfs.OpOpen, errorfs.OpFileStat, errorfs.OpFileReadAt} {
		failing := false
		cfg := testConfig(noRoom(vfs.NewMem(), checkpointFile, &failing, kind))
		l := mustOpen(t, cfg)
		mustAppend(t, l, source{id: 7}, "value")
		for len(*l.segments.Load()) < 2 {
			mustAppend(t, l, source{}, strings.Repeat("x", 100))
		}
		want := l.Producers()
		failing = true
		if l = mustOpen(t, cfg); !slices.Equal(l.Producers(), want) {
			t.Errorf("producers %+v, were %+v", l.Producers(), want)
		}
		failing, cfg.LogStart = false, l.active().base
		if err := l.DeleteTo(cfg.LogStart); err != nil {
			t.Fatal(err)
		}
		failing = true
		if _, err := Open(cfg); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrCorrupt) {
			t.Errorf("opened: %v", err)
		}
		failing = false
		if l = mustOpen(t, cfg); len(want) != 1 || !slices.Equal(l.Producers(), want) {
			t.Errorf("producers %+v, were %+v", l.Producers(), want)
		}
	}
}

// TestCheckpointsAfterAStart: the first one after it makes no file, but is added to what the
// last run left, and so are its indexes; where that may not be what is on the disk, or is
// not whole, all are made anew.
func TestCheckpointsAfterAStart(t *testing.T) {
	for name, c := range map[string]struct {
		change func(cfg *Config, files image)
		made   int
	}{
		"killed":             {func(*Config, image) {}, 0},
		"closed":             {func(cfg *Config, _ image) { cfg.Cleanly = true }, 0},
		"a suspect disk":     {func(cfg *Config, _ image) { cfg.SuspectDisk = true }, 1},
		"one not finished":   {func(_ *Config, f image) { f[checkpointFile] = append(f[checkpointFile], make([]byte, 100)...) }, 1},
		"longer indexes":     {func(_ *Config, f image) { f[indexName(0)] = append(f[indexName(0)], make([]byte, 8)...) }, 2},
		"indexes are damage": {func(_ *Config, f image) { f[indexName(0)][3]++ }, 2},
	} {
		cfg := testConfig(vfs.NewMem())
		cfg.SegmentBytes = 1 << 20
		l := mustOpen(t, cfg)
		manyCheckpoints(t, l, 20)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		files := readImage(t, cfg.FS)
		c.change(&cfg, files)
		made, counting := 0, false
		cfg.FS = errorfs.Wrap(files.write(t), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if counting && op.Kind == errorfs.OpCreate {
				made++
			}
			return nil
		}))
		l = mustOpen(t, cfg)
		counting = true
		end := manyCheckpoints(t, l, 2)[1]
		if made != c.made {
			t.Errorf("%s: %d files were made, want %d", name, made, c.made)
		}
		if _, faults := inspect(t, cfg.FS); len(faults) > 0 {
			t.Errorf("%s: %v", name, faults)
		}
		want, err := l.active().buildIndex()
		if err != nil {
			t.Fatal(err)
		}
		again := mustOpen(t, cfg)
		x, err := again.active().loadIndex()
		if err != nil || again.saved != end || !slices.Equal(x.offsets, want.offsets) || len(x.offsets) < 5 {
			t.Errorf("%s: the checkpoint ends at %d of %d, the index is %v, want %v, %v", name, again.saved, end, x, want, err)
		}
		closeQuietly(again)
	}
}

// TestCheckpointBeforeTheLastIsDurable: a power loss takes the last one at most, whether it
// was added to a file or began one.
func TestCheckpointBeforeTheLastIsDurable(t *testing.T) {
	fs := crashableDir(t)
	cfg := testConfig(fs)
	cfg.SegmentBytes = 1 << 20
	l := mustOpen(t, cfg)
	before := manyCheckpoints(t, l, 1)[0]
	for i := range 2 * maxCheckpoints {
		last := manyCheckpoints(t, l, 1)[0]
		after := fs.CrashClone(vfs.CrashCloneCfg{})
		c, _, _, err := lastCheckpoint(fileBytes(t, after, l.dir.join(checkpointFile)))
		if err != nil || c.end < before {
			t.Fatalf("checkpoint %d: one that ends at %d is left, want %d: %v", i, c.end, before, err)
		}
		before = last
	}
}

// TestCheckpointOfALogThatFailed: a sync failed while it was begun, and what it tells of may
// be lost. It does not count, whoever says that all is durable.
func TestCheckpointOfALogThatFailed(t *testing.T) {
	for before := range 2 { // it begins a file, or is added
		fs, failing := vfs.NewMem(), false
		l := mustOpen(t, testConfig(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if failing && op.Kind == errorfs.OpFileSyncData {
				return syscall.EIO
			}
			return nil
		}))))
		manyCheckpoints(t, l, before)
		saved := l.saved
		mustAppend(t, l, source{}, "lost")
		c, err := l.BeginCheckpoint(1)
		if c == nil || err != nil {
			t.Fatalf("checkpoint %v, %v", c, err)
		}
		failing = true
		if err := l.Sync(); !errors.Is(err, ErrFailed) {
			t.Fatal(err)
		}
		if err := c.Finish(); err != nil {
			t.Fatal(err)
		}
		data, err := l.dir.readFile(checkpointFile, maxCheckpoint)
		if before == 0 && !isNotExist(err) {
			t.Errorf("there is one: %v", err)
		}
		if before > 0 {
			if c, _, _, err := lastCheckpoint(data); err != nil || c.end != saved {
				t.Errorf("it ends at %d, was %d: %v", c.end, saved, err)
			}
		}
	}
}

// TestCheckpointAfterAFullFile: a segment that is full replaces a file of checkpoints that
// is, and those after it are added.
func TestCheckpointAfterAFullFile(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMem()))
	l.SetSegmentLimits(1<<20, 0)
	manyCheckpoints(t, l, maxCheckpoints)
	l.SetSegmentLimits(1, 0)
	mustAppend(t, l, source{}, "next segment")
	l.SetSegmentLimits(1<<20, 0)
	manyCheckpoints(t, l, 2)
	data := fileBytes(t, l.cfg.FS, l.dir.join(checkpointFile))
	c, _, torn, err := lastCheckpoint(data)
	if c.end != l.End() || torn || err != nil || l.checkpoints != (checkpoints{int64(len(data)), 3}) {
		t.Errorf("the last of %d bytes ends at %d of %d, torn %t, %v: %+v", len(data), c.end, l.End(), torn, err, l.checkpoints)
	}
	// A start counts from the last.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, l.cfg)
	if c, err := l.BeginCheckpoint(1); c != nil || err != nil {
		t.Errorf("a checkpoint of nothing new: %v, %v", c, err)
	}
}

// TestCheckpointOfASegmentThatIsMissing: it is damage, whichever it is, and not taken for
// another.
func TestCheckpointOfASegmentThatIsMissing(t *testing.T) {
	for gone := range 4 {
		fs := vfs.NewMem()
		cfg := testConfig(fs)
		cfg.SegmentBytes = 1
		l := mustOpen(t, cfg)
		for range 4 {
			mustAppend(t, l, source{}, "value")
		}
		base := (*l.segments.Load())[gone].base
		if err := errors.Join(l.Close(), fs.Remove(l.dir.join(logName(base)))); err != nil {
			t.Fatal(err)
		}
		var damage *DamageError
		if _, err := Open(cfg); !errors.As(err, &damage) || damage.Offset != base {
			t.Errorf("segment %d: %v", base, err)
		}
	}
}

// TestGarbageForACheckpoint: a start that cannot read it reads the log, and replaces it.
func TestGarbageForACheckpoint(t *testing.T) {
	fs := vfs.NewMem()
	cfg := testConfig(fs)
	l := mustOpen(t, cfg)
	manyCheckpoints(t, l, 1)
	for _, data := range [][]byte{[]byte("garbage"), {}, checkpoint{end: 1, segments: []checkpointSegment{{sizeBytes: 1}}}.encode([]byte("no snapshot"))} {
		files := readImage(t, fs).with(checkpointFile, data).write(t)
		again := mustOpen(t, cfg2(cfg, files))
		c, snapshot, torn, err := lastCheckpoint(fileBytes(t, files, again.dir.join(checkpointFile)))
		if err == nil {
			_, err = decodeSnapshot(snapshot, c.end, 1)
		}
		if again.End() != l.End() || c.end != l.End() || torn || err != nil {
			t.Errorf("after %q: the log ends at %d of %d, its checkpoint at %d, torn %t, %v", data, again.End(), l.End(), c.end, torn, err)
		}
		closeQuietly(again)
	}
}

// TestLargeCheckpoint: one of very many aborted transactions is read as any other.
func TestLargeCheckpoint(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	l := mustOpen(t, cfg)
	const aborted = 3_000_000
	for i := range int64(aborted) {
		l.state.aborted.put(AbortedTxn{ProducerID: 9, FirstOffset: i, LastOffset: i})
	}
	mustAppend(t, l, source{}, "value")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, cfg)
	if n := len(l.state.aborted.txns); n != aborted || l.saved != l.End() {
		t.Errorf("%d aborted transactions are known, want %d; the checkpoint ends at %d of %d", n, aborted, l.saved, l.End())
	}
}
