package logbroker

import (
	"math/rand/v2"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// crashDisk is a disk in memory that keeps what a crash in the middle of a call
// would leave of it.
type crashDisk struct {
	mu        sync.Mutex // guards what follows, which Pebble's goroutines change too
	fs        *vfs.MemFS // below the hook
	countdown int        // calls until the snapshot; -1: none is due
	snapshot  *vfs.MemFS // what the crash leaves
	crashRNG  *rand.Rand // of the hook alone
	keep      int        // percent of unsynced data that the crash keeps
}

func newCrashDisk(seed uint64) crashDisk {
	return crashDisk{fs: vfs.NewCrashableMem(), crashRNG: rand.New(rand.NewPCG(seed, 8)), countdown: -1}
}

// hook counts the calls of a file system.
func (d *crashDisk) hook() errorfs.Injector {
	return errorfs.InjectorFunc(func(errorfs.Op) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.countdown > 0 {
			d.countdown--
		}
		if d.countdown == 0 && d.snapshot == nil {
			d.countdown = -1
			d.snapshot = d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: d.keep, RNG: d.crashRNG})
		}
		return nil
	})
}

// crashed tells whether the crash has happened.
func (d *crashDisk) crashed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.snapshot != nil
}

// arm lets a crash happen after some calls.
func (d *crashDisk) arm(calls, keep int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.countdown, d.keep = calls, keep
}

// crashNow is a crash between two calls, if there was none.
func (d *crashDisk) crashNow(keep int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.countdown = -1; d.snapshot == nil {
		d.snapshot = d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: d.crashRNG})
	}
}

// goOn goes on with what the crash left.
func (d *crashDisk) goOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fs, d.snapshot = d.snapshot, nil
}
