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

// A start after a crash reads what no checkpoint vouches for, and nothing else: it
// does not notice a damage below the checkpoint of a log that goes on, but every
// one above it.
func TestCheckpointOfALogThatGoesOn(t *testing.T) {
	for _, below := range []bool{true, false} {
		fs := vfs.NewMem()
		cfg := testConfig(fs)
		cfg.SegmentBytes = 1 << 20
		l := mustOpen(t, cfg)
		value := strings.Repeat("x", 100)
		for range 20 {
			mustAppend(t, l, source{}, value)
		}
		c, err := l.BeginCheckpoint(1000)
		if c == nil || err != nil {
			t.Fatalf("checkpoint %v, %v", c, err)
		}
		if err := errors.Join(c.Sync(), c.Finish()); err != nil {
			t.Fatal(err)
		}
		mark := l.active().size.Load()
		if again, err := l.BeginCheckpoint(1000); again != nil || err != nil {
			t.Fatalf("another checkpoint of the same log: %v, %v", again, err)
		}
		for range 5 {
			mustAppend(t, l, source{}, value)
		}
		// One that is not finished changes nothing.
		if again, err := l.BeginCheckpoint(100); again == nil || err != nil {
			t.Fatalf("checkpoint %v, %v", again, err)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		at := mark - 1000 // before the last entry of the index
		if !below {
			at = mark + 100
		}
		f, err := fs.OpenReadWrite(l.active().path(), writeCategory)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("y"), at); err != nil {
			t.Fatal(err)
		}
		_, err = Open(cfg)
		if damaged := errors.Is(err, ErrCorrupt); damaged == below {
			t.Fatalf("a damage below the checkpoint (%t): open says %v", below, err)
		}
	}
}

// A checkpoint that was overtaken by a new segment is not put in the place of the
// newer one.
func TestCheckpointThatCameTooLate(t *testing.T) {
	fs := vfs.NewMem()
	cfg := testConfig(fs)
	l := mustOpen(t, cfg)
	mustAppend(t, l, source{}, strings.Repeat("x", 500))
	c, err := l.BeginCheckpoint(1)
	if c == nil || err != nil {
		t.Fatalf("checkpoint %v, %v", c, err)
	}
	for len(*l.segments.Load()) < 3 {
		mustAppend(t, l, source{}, strings.Repeat("x", 500))
	}
	saved := l.saved
	if err := errors.Join(c.Sync(), c.Finish()); err != nil {
		t.Fatal(err)
	}
	if l.saved != saved {
		t.Fatalf("the checkpoint ends at %d, was %d", l.saved, saved)
	}
	if _, err := fs.Stat(l.dir.join(nextCheckpoint)); !isNotExist(err) {
		t.Fatalf("what is left of it: %v", err)
	}
}

// A checkpoint that was begun is not made to count by one that was begun before it.
func TestCheckpointsThatWereBegunTwice(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	l := mustOpen(t, cfg)
	for range 2 { // one that begins a file, and one that is added
		saved := l.saved
		var begun [2]*Checkpoint
		for i := range begun {
			mustAppend(t, l, source{}, "value")
			c, err := l.BeginCheckpoint(1)
			if c == nil || err != nil {
				t.Fatalf("checkpoint %v, %v", c, err)
			}
			begun[i] = c
		}
		if err := errors.Join(begun[0].Sync(), begun[0].Finish()); err != nil || l.saved != saved {
			t.Errorf("%v: the checkpoint ends at %d, was %d", err, l.saved, saved)
		}
		if err := errors.Join(begun[1].Sync(), begun[1].Finish()); err != nil || l.saved != l.End() {
			t.Errorf("%v: the checkpoint ends at %d of %d", err, l.saved, l.End())
		}
	}
}

// TestCheckpointSaysWhatWasDurable: where the mark and the snapshot are lost, a batch
// that cannot be read below the end of the checkpoint is damage, not a torn tail.
func TestCheckpointSaysWhatWasDurable(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	l := mustOpen(t, cfg)
	for range 3 {
		mustAppend(t, l, source{}, "value")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	join := func(name string) string { return cfg.FS.PathJoin(testDir, name) }
	f, err := cfg.FS.OpenReadWrite(join(firstLog), writeCategory)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte{1}, l.SizeBytes()-1)
	if err := errors.Join(err, f.Close(), cfg.FS.Remove(join(markFile))); err != nil {
		t.Fatal(err)
	}
	// The last byte of the file is one of the snapshot, with a sum of both that is right.
	c, snapshot, _, err := lastCheckpoint(fileBytes(t, cfg.FS, join(checkpointFile)))
	if err != nil {
		t.Fatal(err)
	}
	snapshot[len(snapshot)-1]++
	if err := l.dir.writeFile(checkpointFile, c.encode(snapshot), true); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); !errors.Is(err, ErrCorrupt) {
		t.Errorf("opened: %v", err)
	}
}

// The index files of a segment that grows are made once, and appended to by each
// checkpoint. One that is not finished leaves a beginning which is that of the
// checkpoint in place: nothing is wrong with it. The index that is read back is the one
// of the batches.
func TestIndexesAreAppendedTo(t *testing.T) {
	made := map[string]int{}
	fs := vfs.NewMem()
	cfg := testConfig(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate {
			made[op.Path[strings.LastIndexByte(op.Path, '.'):]]++
		}
		return nil
	})))
	cfg.SegmentBytes = 1 << 20
	l := mustOpen(t, cfg)
	for round := range 4 {
		for range 20 {
			mustAppend(t, l, source{}, strings.Repeat("x", 100))
		}
		c, err := l.BeginCheckpoint(1)
		if c == nil || err != nil {
			t.Fatalf("checkpoint %v, %v", c, err)
		}
		if round < 3 {
			err = errors.Join(c.Sync(), c.Finish())
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, faults := inspect(t, fs); len(faults) > 0 {
			t.Errorf("round %d: %v", round, faults)
		}
	}
	if made[indexSuffix] != 1 || made[timeIndexSuffix] != 1 || made[cutSuffix] != 1 {
		t.Errorf("files were made: %v", made)
	}
	want, err := l.active().buildIndex()
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.active().loadIndex()
	if err != nil || !slices.Equal(got.offsets, want.offsets) || len(got.offsets) < 20 {
		t.Errorf("%v: the files have %v, the batches %v", err, got, want)
	}
	l.active().sums = indexSums{} // the next is written anew, as after a failure
	l.active().written = indexSizes{}
	mustAppend(t, l, source{}, strings.Repeat("x", 5000), "y")
	mustAppend(t, l, source{}, "z")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, faults := inspect(t, fs); len(faults) > 0 || made[indexSuffix] != 2 {
		t.Errorf("%v; made %v", faults, made)
	}
}

// manyCheckpoints writes so many of a log that goes on, and gives the ends of them.
func manyCheckpoints(t *testing.T, l *Log, n int) (ends []int64) {
	t.Helper()
	for range n {
		mustAppend(t, l, source{}, strings.Repeat("x", 100))
		mustCheckpoint(t, l)
		ends = append(ends, l.saved)
	}
	return ends
}

func mustCheckpoint(t *testing.T, l *Log) {
	t.Helper()
	c, err := l.BeginCheckpoint(1)
	if c == nil || err != nil {
		t.Fatalf("checkpoint %v, %v", c, err)
	}
	if err := errors.Join(c.Sync(), c.Finish()); err != nil {
		t.Fatal(err)
	}
}

// TestCheckpointsAreAppended: one file holds many of them, and no more than it may.
func TestCheckpointsAreAppended(t *testing.T) {
	made, full := 0, false
	fs := vfs.NewMem()
	cfg := testConfig(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch {
		case full && op.Kind == errorfs.OpFileWriteAt && strings.Contains(op.Path, checkpointFile):
			return syscall.ENOSPC
		case op.Kind == errorfs.OpCreate && strings.Contains(op.Path, checkpointFile):
			made++
		}
		return nil
	})))
	cfg.SegmentBytes = 1 << 20
	l := mustOpen(t, cfg)
	for round := range 3 {
		for i := range maxCheckpoints {
			manyCheckpoints(t, l, 1)
			if made != round+1 {
				t.Fatalf("%d files were made for %d checkpoints", made, maxCheckpoints*round+i+1)
			}
		}
	}
	before := manyCheckpoints(t, l, 1)
	mustAppend(t, l, source{}, "more")
	full = true
	if c, err := l.BeginCheckpoint(1); c != nil || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("checkpoint %v, %v", c, err)
	}
	full, made = false, 0
	if l.saved != before[0] {
		t.Errorf("the checkpoint ends at %d, was %d", l.saved, before[0])
	}
	if manyCheckpoints(t, l, 2); made != 1 {
		t.Errorf("after one that was written in part %d files were made", made)
	}
	for i := range 2 * maxCheckpoints { // some that are large
		for j := range int64(3000) {
			l.state.aborted.put(AbortedTxn{ProducerID: 9, FirstOffset: int64(i)*3000 + j, LastOffset: int64(i)*3000 + j})
		}
		manyCheckpoints(t, l, 1)
		data := fileBytes(t, fs, l.dir.join(checkpointFile))
		if c, _, torn, err := lastCheckpoint(data); c.end != l.End() || torn || err != nil {
			t.Fatalf("the last ends at %d of %d, torn %t, %v", c.end, l.End(), torn, err)
		}
		if one := len(l.state.encodeSnapshot(0)); len(data) > max(maxCheckpointsSize, one+1000) {
			t.Fatalf("the file has %d bytes, one checkpoint %d", len(data), one)
		}
	}
}

// TestDamagedCheckpoint: whatever byte of the newest checkpoint is wrong, that or the one
// before it counts, the log is as it was, and nothing is left to complain about.
func TestDamagedCheckpoint(t *testing.T) {
	fs := vfs.NewMem()
	cfg := testConfig(fs)
	cfg.SegmentBytes = 1 << 20
	l := mustOpen(t, cfg)
	mustAppend(t, l, source{id: 7, transactional: true}, "of a producer")
	manyCheckpoints(t, l, 2)
	path := l.dir.join(checkpointFile)
	second := len(fileBytes(t, fs, path))
	ends := manyCheckpoints(t, l, 1)
	mustAppend(t, l, source{}, "after")
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	files, whole := readImage(t, fs), fileBytes(t, fs, path)
	for at := second; at <= len(whole); at++ {
		for _, how := range []string{"flipped", "cut off", "zeros"} {
			data := slices.Clone(whole)
			switch {
			case at == len(whole) && how != "flipped":
				continue
			case at == len(whole): // nothing is wrong
			case how == "flipped":
				data[at] ^= 0x41
			case how == "cut off":
				data = data[:at]
			default:
				clear(data[at:])
			}
			fs := files.with(checkpointFile, data).write(t)
			r := recovery{cfg: testConfig(fs), dir: &directory{fs, testDir}, log: l.log}
			r.cfg.SegmentBytes, r.cfg.MaxProducers = 1<<20, defaultMaxProducers
			again, err := r.run()
			if err != nil {
				t.Fatalf("byte %d %s: %v", at, how, err)
			}
			if last := at == len(whole); (r.saved == ends[0]) != last || r.saved < ends[0]-1 || again.End() != l.End() {
				t.Fatalf("byte %d %s: the checkpoint ends at %d, the log at %d", at, how, r.saved, again.End())
			}
			checkState(t, again)
			if _, faults := inspect(t, fs); len(faults) > 0 {
				t.Fatalf("byte %d %s: %v", at, how, faults)
			}
		}
	}
}

// TestCheckpointsAfterACopy: those that are written while a copy is made are not in it,
// and one that was begun before it does not count there.
func TestCheckpointsAfterACopy(t *testing.T) {
	fs := vfs.NewMem()
	cfg := testConfig(fs)
	cfg.SegmentBytes = 1 << 20
	l := mustOpen(t, cfg)
	ends := manyCheckpoints(t, l, 3)
	mustAppend(t, l, source{}, "before")
	begun, err := l.BeginCheckpoint(1)
	if begun == nil || err != nil {
		t.Fatalf("checkpoint %v, %v", begun, err)
	}
	frozen, err := l.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	err = frozen.LinkTo("/copy")
	frozen.Thaw()
	if err := errors.Join(err, begun.Sync(), begun.Finish()); err != nil {
		t.Fatal(err)
	}
	manyCheckpoints(t, l, 3)
	if err := frozen.Complete(); err != nil {
		t.Fatal(err)
	}
	c, _, torn, err := lastCheckpoint(fileBytes(t, fs, "/copy/"+checkpointFile))
	if c.end != ends[2] || torn || err != nil {
		t.Errorf("the copy has a checkpoint that ends at %d, want %d; torn %t, %v", c.end, ends[2], torn, err)
	}
	if mark := readMark(&directory{fs, "/copy"}); mark != ends[2] {
		t.Errorf("the copy says that all below %d was on disk, want %d", mark, ends[2])
	}
	cfg.Dir = "/copy"
	if again := mustOpen(t, cfg); again.End() != frozen.End() {
		t.Errorf("the copy ends at %d, want %d", again.End(), frozen.End())
	}
}

// TestCheckpointOfAnIndexMadeAnew: an index that was made from the batches has fewer times
// than the files, to which a checkpoint had added one.
func TestCheckpointOfAnIndexMadeAnew(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.SegmentBytes, cfg.IndexIntervalBytes = 1<<20, 1000
	l := mustOpen(t, cfg)
	for i := range 20 {
		putAt(t, l, "k", int64(1000+i))
		if i%5 == 0 {
			l.active().forgetIndex()
		}
		checkpointNow(t, l)
	}
	if _, faults := inspect(t, cfg.FS); len(faults) > 0 {
		t.Errorf("the log is whole, and is said to be %v", faults)
	}
	offset, _, ok, err := l.OffsetForTime(1013)
	if err != nil || !ok || offset != 13 {
		t.Errorf("the record of its time is at %d (%t), %v", offset, ok, err)
	}
	closeQuietly(l)
}
