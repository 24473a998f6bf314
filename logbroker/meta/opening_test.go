package meta

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// brokenDisk fails the n-th call after it was armed, or all from the n-th on.
type brokenDisk struct {
	at    int
	stays bool

	mu    sync.Mutex // guards what follows; Pebble calls from goroutines of its own
	armed bool
	calls int
	hit   string // the first call that failed
}

func (d *brokenDisk) arm(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed = on
}

func (d *brokenDisk) fail(op errorfs.Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.armed {
		return nil
	}
	d.calls++
	if d.calls < d.at || d.calls > d.at && !d.stays {
		return nil
	}
	if d.hit == "" {
		d.hit = fmt.Sprint(op.Kind, " ", op.Path)
	}
	return syscall.EIO
}

// TestFailedFlushLosesNothing lets the n-th call fail from a flush on, with which the
// database changes to another log. It does not end the process, nor try again without
// end; what a SIGKILL or a power loss leaves has every row that was acknowledged.
func TestFailedFlushLosesNothing(t *testing.T) {
	for at := 1; ; at++ {
		disk := &brokenDisk{at: at}
		fs := vfs.NewCrashableMem()
		s, err := Open(Config{FS: errorfs.Wrap(fs, errorfs.InjectorFunc(disk.fail)), Dir: "meta", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		put := func(name string) {
			b := s.NewBatch()
			b.PutSystem(name, []byte("value"))
			want[name] = s.Commit(b, true) == nil
		}
		put("before")
		disk.arm(true)
		if err := s.db.Flush(); err != nil {
			t.Fatalf("call %d (%s): %v", at, disk.hit, err)
		}
		put("after")
		disk.arm(false)
		put("later")
		for _, percent := range []int{0, 100} {
			crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, 1))})
			checkRows(t, crashed, want, fmt.Sprintf("call %d (%s), %d %% of the unsynced data", at, disk.hit, percent))
		}
		if err := s.Close(); err != nil {
			t.Errorf("call %d (%s): close: %v", at, disk.hit, err)
		}
		if disk.hit == "" {
			if !want["before"] || !want["after"] || !want["later"] {
				t.Error("nothing failed, and a row was refused")
			}
			return
		}
	}
}

// checkRows opens what is left of a database and looks for the rows that it must have.
func checkRows(t *testing.T, fs vfs.FS, want map[string]bool, where string) {
	t.Helper()
	s, err := Open(Config{FS: fs, Dir: "meta", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	for name, must := range want {
		if v, err := s.System(name); err != nil || must && string(v) != "value" {
			t.Errorf("%s: row %q is %q, %v", where, name, v, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s: %v", where, err)
	}
}

// A checkpoint that cannot be written says so; the database goes on.
func TestFailedCheckpointDoesNotEndTheDatabase(t *testing.T) {
	for at := 1; ; at++ {
		disk := &brokenDisk{at: at}
		fs := vfs.NewCrashableMem()
		s := openMem(t, errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if !strings.HasPrefix(op.Path, "backup") || op.Kind == errorfs.OpList || op.Kind == errorfs.OpStat {
				return nil // of the database, or of a look at the copy
			}
			return disk.fail(op)
		})))
		commit(t, s, func(b *Batch) { b.PutSystem("a", []byte("1")) })
		disk.arm(true)
		err := s.Checkpoint("backup")
		disk.arm(false)
		if (err == nil) != (disk.hit == "") {
			t.Fatalf("call %d (%s): the checkpoint returns %v", at, disk.hit, err)
		}
		commit(t, s, func(b *Batch) { b.PutSystem("b", []byte("2")) })
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if disk.hit == "" {
			return
		}
	}
}
