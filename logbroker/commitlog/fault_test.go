package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// fullDisk lets writes through up to a number of bytes, the last one in part.
type fullDisk struct {
	vfs.FS
	left int
}

func (d *fullDisk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, c, opts...)
	if err != nil || !strings.HasSuffix(name, logSuffix) {
		return f, err
	}
	return &fullFile{f, d}, nil
}

type fullFile struct {
	vfs.File
	disk *fullDisk
}

func (f *fullFile) WriteAt(p []byte, at int64) (int, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	grow := at + int64(len(p)) - info.Size()
	if grow <= int64(f.disk.left) {
		f.disk.left -= int(max(grow, 0))
		return f.File.WriteAt(p, at)
	}
	n, err := f.File.WriteAt(p[:len(p)-int(grow)+f.disk.left], at)
	f.disk.left = 0
	return n, errors.Join(err, syscall.ENOSPC)
}

// The disk fills up at every byte of an append. Nothing of it is seen, the log
// goes on when there is space, and no recovery takes what a client had put into
// the failed batch for a batch.
func TestFullDisk(t *testing.T) {
	// The failed batch carries, as a value, a whole batch that would follow.
	inner := makeBatch(source{}, 1, "smuggled")
	inner.SetBaseOffset(2)
	outer := makeBatch(source{}, 1, strings.Repeat("-", 40), string(inner), "end")
	// As long as what comes before it: it would be the next.
	small := makeBatch(source{}, 1, "")
	before := bytes.Index(outer, inner)
	small = makeBatch(source{}, 1, strings.Repeat("s", before-len(small)))
	if len(small) != before {
		t.Fatalf("the small batch has %d bytes, want %d", len(small), before)
	}
	for space := range len(outer) {
		fs := crashableDir(t)
		disk := &fullDisk{fs, 1 << 20}
		cfg := testConfig(disk)
		l := mustOpen(t, cfg)
		mustAppend(t, l, source{}, "before")
		disk.left = space
		if _, err := l.Append(outer[:len(outer):len(outer)], nil); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("space %d: %v, want ENOSPC", space, err)
		}
		if got := readValues(t, l, 0, l.End(), 1000); len(got) != 1 || l.End() != 1 || l.SizeBytes() != int64(len(makeBatch(source{}, 1, "before"))) {
			t.Fatalf("space %d: %v, end %d", space, got, l.End())
		}
		// Killed at once.
		again := mustOpen(t, cfg2(cfg, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: testRNG()})))
		if again.End() != 1 {
			t.Fatalf("space %d: end %d after a kill", space, again.End())
		}
		disk.left = 1 << 20
		if _, err := l.Append(small, nil); err != nil {
			t.Fatalf("space %d: %v", space, err)
		}
		again = mustOpen(t, cfg2(cfg, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: testRNG()})))
		if got := readValues(t, again, 0, again.End(), 1000); len(got) != 2 || got[1].value[0] != 's' {
			t.Fatalf("space %d: recovered %v", space, got)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		cfg.Cleanly = true
		if l = mustOpen(t, cfg); l.End() != 2 {
			t.Fatalf("space %d: end %d after Close", space, l.End())
		}
	}
}

func cfg2(cfg Config, fs vfs.FS) Config {
	cfg.FS = fs
	return cfg
}

// An error at the n-th operation of any kind: what was acknowledged is there
// after a restart, and what was refused either is as a whole, at the end, or
// is not.
func TestErrorAtEveryOperation(t *testing.T) {
	for n, done := 0, false; !done; n++ {
		if n > 2000 {
			t.Fatal("the workload does not end")
		}
		fs := vfs.NewMem()
		left := n
		broken := errors.New("injected")
		inj := errorfs.InjectorFunc(func(errorfs.Op) error {
			if left--; left == -1 {
				return broken
			}
			return nil
		})
		acked, synced, err := faultyWorkload(errorfs.Wrap(fs, inj))
		done = left >= 0
		if done && err != nil {
			t.Fatalf("no error injected, yet %v", err)
		}
		if err != nil && !errors.Is(err, broken) {
			t.Fatalf("operation %d: %v, want the injected error", n, err)
		}
		l := mustOpen(t, testConfig(fs))
		got := map[string]bool{}
		for _, v := range readValues(t, l, 0, l.End(), 300) {
			got[v.value] = true
		}
		for _, v := range acked {
			if !got[v] {
				t.Fatalf("operation %d: %q was appended, and is gone", n, v)
			}
		}
		if l.End() < synced {
			t.Fatalf("operation %d: end %d, synced %d", n, l.End(), synced)
		}
		checkState(t, l)
	}
}

// faultyWorkload appends, syncs, reads, reopens. It goes on after errors as a
// broker would, and returns the last one.
func faultyWorkload(fs vfs.FS) (acked []string, synced int64, err error) {
	cfg := testConfig(fs)
	for round := range 3 {
		cfg.Cleanly = err == nil && round > 0
		l, openErr := Open(cfg)
		if openErr != nil {
			err = openErr
			if l, openErr = Open(cfg); openErr != nil {
				return acked, synced, openErr
			}
		}
		for i := range 40 {
			value := fmt.Sprintf("%d/%d/%080d", round, i, 0)
			if _, e := l.Append(makeBatch(source{}, 1, value), nil); e != nil {
				err = e
				continue
			}
			acked = append(acked, value)
			if i%10 == 0 {
				if e := l.Sync(); e != nil {
					err = e
				}
			}
			if _, e := l.Read(0, l.End(), 200, true, nil); e != nil {
				err = e
			}
		}
		synced = l.SyncedEnd()
		if e := l.Close(); e != nil {
			err = e
		}
	}
	return acked, synced, err
}

// A sync that failed is final: the page cache may call clean what the disk
// never got.
func TestSyncFailureIsFinal(t *testing.T) {
	for _, kind := range []errorfs.OpKind{errorfs.OpFileSyncData} {
		var on errorfs.Toggle
		on.Injector = errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == kind {
				return syscall.EIO
			}
			return nil
		})
		fs := vfs.NewMem()
		l := mustOpen(t, testConfig(errorfs.Wrap(fs, &on)))
		mustAppend(t, l, source{}, "durable")
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, source{}, "in doubt")
		on.On()
		if err := l.Sync(); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("Sync: %v", err)
		}
		on.Off()
		_, appendErr := l.Append(makeBatch(source{}, 1, "x"), nil)
		_, _, markerErr := l.AppendMarker(Marker{ProducerID: 1, Epoch: 0, Commit: true, CoordinatorEpoch: 0})
		for what, err := range map[string]error{
			"Sync": l.Sync(), "Append": appendErr, "AppendMarker": markerErr, "DeleteTo": l.DeleteTo(1), "Close": l.Close(),
		} {
			if !errors.Is(err, ErrFailed) {
				t.Errorf("%s after a failed sync: %v, want ErrFailed", what, err)
			}
		}
		if l.SyncedEnd() != 1 {
			t.Errorf("synced end %d, want 1", l.SyncedEnd())
		}
		cfg := testConfig(fs)
		cfg.SuspectDisk = true
		if l = mustOpen(t, cfg); l.End() != 2 || l.SyncedEnd() != 2 {
			t.Errorf("after a restart: end %d, synced %d", l.End(), l.SyncedEnd())
		}
	}
}

// After a failed sync the next start puts every suspect batch into a new file.
func TestSuspectDiskCopies(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testConfig(fs))
	mustAppend(t, l, source{}, "suspect")
	var copied, synced bool
	cfg := testConfig(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		copied = copied || (op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, firstLog+cutSuffix))
		synced = synced || (op.Kind == errorfs.OpFileSync && strings.HasSuffix(op.Path, firstLog+cutSuffix))
		return nil
	})))
	cfg.SuspectDisk = true
	if l = mustOpen(t, cfg); !copied || !synced || l.End() != 1 {
		t.Fatalf("copied %t, synced %t, end %d", copied, synced, l.End())
	}
}

// A roll whose checkpoint cannot be written still makes the new segment's name
// durable before anything in it is called so.
func TestRollWithoutCheckpoint(t *testing.T) {
	fs := crashableDir(t)
	cfg := testConfig(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate {
			return syscall.ENOSPC
		}
		return nil
	})))
	l := mustOpen(t, cfg)
	for len(*l.segments.Load()) < 3 {
		mustAppend(t, l, source{id: 1, sequence: int32(l.End())}, "value")
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	end := l.End()
	l = mustOpen(t, cfg2(cfg, fs.CrashClone(vfs.CrashCloneCfg{})))
	if l.End() != end {
		t.Fatalf("end %d after a power loss, synced %d", l.End(), end)
	}
	checkState(t, l)
}

// TestZerosOfAFailedAppendAreDurable: an append fails, and what it left was on disk before
// it was overwritten with zeros and the segment was sealed. A power loss does not bring it
// back: in a sealed segment it would be damage.
func TestZerosOfAFailedAppendAreDurable(t *testing.T) {
	fs := crashableDir(t)
	disk := &fullDisk{fs, 1 << 20}
	l := mustOpen(t, testConfig(disk))
	mustAppend(t, l, source{}, "value")
	disk.left = 50
	if _, err := l.Append(makeBatch(source{}, 1, "refused"), nil); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := l.Sync(); err != nil { // the file as a whole
		t.Fatal(err)
	}
	disk.left = 1 << 20
	l.SetSegmentLimits(1, 0)
	mustAppend(t, l, source{}, "next segment")
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	files := readImage(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	again := mustOpen(t, cfg2(testConfig(nil), files.with(checkpointFile, nil).write(t)))
	if again.End() != l.End() {
		t.Errorf("it ends at %d of %d", again.End(), l.End())
	}
}

// TestReadThatFailsIsNoDamage: the disk does not answer while a start looks at what the
// checkpoint describes. Nobody is told to restore the file.
func TestReadThatFailsIsNoDamage(t *testing.T) {
	failing := false
	cfg := testConfig(noRoom(vfs.NewMem(), firstLog, &failing, errorfs.OpFileReadAt))
	l := mustOpen(t, cfg)
	mustAppend(t, l, source{}, "value")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	failing = true
	if _, err := Open(cfg); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrCorrupt) {
		t.Errorf("opened: %v", err)
	}
	failing = false
	if l = mustOpen(t, cfg); l.End() != 1 {
		t.Errorf("the end is %d", l.End())
	}
}
