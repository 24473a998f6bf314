package commitlog

import (
	"errors"
	"slices"
	"strings"
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
	if err := errors.Join(err, f.Close(), cfg.FS.Remove(join(markFile)), cfg.FS.Remove(join(snapshotName(3)))); err != nil {
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
	if made[indexSuffix] != 1 || made[timeIndexSuffix] != 1 {
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
