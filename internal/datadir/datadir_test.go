package datadir

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func TestOpenRefusesASecondHolder(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(vfs.Default, dir, "test, version 1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(vfs.Default, dir, "test, version 1"); err == nil || !strings.Contains(err.Error(), "in use by process ") {
		t.Errorf("second Open: %v, want the pid of the holder", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, err = Open(vfs.Default, dir, "test, version 1")
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}

// TestNotHeld: whoever may not write, or cannot, is not told that somebody else is there.
func TestNotHeld(t *testing.T) {
	readOnly := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpLock {
			return &fs.PathError{Op: "open", Path: op.Path, Err: syscall.EACCES}
		}
		return nil
	}))
	if _, err := Open(readOnly, "d", "test, version 1"); !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrHeld) || strings.Contains(err.Error(), "in use") {
		t.Errorf("without permission: %v", err)
	}
	for _, err := range []error{syscall.EAGAIN, syscall.EACCES, errors.New("lock held by current process")} {
		if !IsHeld(err) {
			t.Errorf("%v is not that the lock is held", err)
		}
	}
}

func TestOpenRefusesAnotherFormat(t *testing.T) {
	fs := vfs.NewMem()
	d, err := Open(fs, "d", "test, version 2")
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, err := Open(fs, "d", "test, version 1"); err == nil || !strings.Contains(err.Error(), `"test, version 2"`) {
		t.Errorf("Open with another version: %v", err)
	}
}

func TestReplaceSurvivesACrash(t *testing.T) {
	const format = "test, version 1"
	for crashAt, done := 0, false; !done; crashAt++ {
		mem := vfs.NewCrashableMem()
		var left []*vfs.MemFS // before the call crashAt of the second Replace, or after all
		calls := -1
		crash := func() {
			for _, percent := range []int{0, 100} {
				left = append(left, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, 2))}))
			}
		}
		d, err := Open(errorfs.Wrap(mem, errorfs.InjectorFunc(func(errorfs.Op) error {
			if calls >= 0 {
				if calls == crashAt {
					crash()
				}
				calls++
			}
			return nil
		})), "d", format)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Replace("mark", "old"); err != nil {
			t.Fatal(err)
		}
		calls = 0
		if err := d.Replace("mark", "new"); err != nil {
			t.Fatal(err)
		}
		calls = -1
		if done = left == nil; done {
			crash()
		}
		if done && crashAt < 5 {
			t.Fatalf("a Replace of %d calls", crashAt)
		}
		for _, fs := range left {
			crashed, err := Open(fs, "d", format)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := crashed.Read("mark"); err != nil || got != "new" && (done || got != "old") {
				t.Errorf("after a crash at call %d: %q, %v", crashAt, got, err)
			}
		}
	}
}
