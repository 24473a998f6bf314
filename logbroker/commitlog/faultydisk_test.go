package commitlog

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// diskMode is what is wrong with a disk, after some calls.
type diskMode int

const (
	diskWorks  diskMode = iota
	diskFails           // one call fails
	diskNoRoom          // nothing can be made or written, for some calls
	diskDies            // all calls fail
)

// faultyDisk is a disk that refuses calls. A write that is refused may be there in part,
// or as a whole.
type faultyDisk struct {
	vfs.FS      // a MemFS
	rng         *rand.Rand
	mode        diskMode
	left        int  // calls until it begins
	renames     bool // only those are counted: decisions are made with them
	faults      int  // calls that were refused
	failedSince int  // as many since the last start
	syncFailed  bool
	trace       func(format string, args ...any)
}

var errNoRoom = fmt.Errorf("%w: %w", errDied, syscall.ENOSPC)

// fail lets something be wrong after some calls.
func (d *faultyDisk) fail() {
	d.mode, d.left = 1+diskMode(d.rng.IntN(3)), d.rng.IntN(40)
	if d.renames = d.rng.IntN(2) == 0; d.renames {
		d.left = 1 + d.rng.IntN(3)
	}
}

// die lets the disk die before long.
func (d *faultyDisk) die() {
	d.fail()
	d.mode = diskDies
}

// died tells that it will not answer any more.
func (d *faultyDisk) died() bool { return d.mode == diskDies && d.left == 0 }

func (d *faultyDisk) mend() {
	if d.mode != diskDies {
		d.mode = diskWorks
	}
}

// refuses decides about a call.
func (d *faultyDisk) refuses(kind errorfs.OpKind, path string) error {
	if d.mode == diskWorks {
		return nil
	}
	if d.left > 0 {
		if !d.renames || kind == errorfs.OpRename {
			d.left--
		}
		return nil
	}
	err := errDied
	switch {
	case d.mode == diskFails:
		d.mode = diskWorks
	case d.mode == diskDies:
	default:
		if !slices.Contains([]errorfs.OpKind{errorfs.OpCreate, errorfs.OpLink, errorfs.OpFileWrite, errorfs.OpFileWriteAt}, kind) {
			return nil
		}
		if d.rng.IntN(20) == 0 {
			d.mode = diskWorks // there is room again
			return nil
		}
		err = errNoRoom
	}
	d.faults++
	d.failedSince++
	if kind == errorfs.OpFileSync || kind == errorfs.OpFileSyncData {
		d.syncFailed = true
	}
	d.trace("  call %d of %s fails", kind, path)
	return err
}

func (d *faultyDisk) inject(op errorfs.Op) error {
	if op.Kind == errorfs.OpFileWriteAt || op.Kind == errorfs.OpFileClose {
		return nil // see WriteAt
	}
	return d.refuses(op.Kind, op.Path)
}

func (d *faultyDisk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, c, opts...)
	if err != nil {
		return nil, err
	}
	return &faultyFile{f, d, name}, nil
}

type faultyFile struct {
	vfs.File
	disk *faultyDisk
	name string
}

func (f *faultyFile) WriteAt(p []byte, at int64) (int, error) {
	err := f.disk.refuses(errorfs.OpFileWriteAt, f.name)
	if err == nil {
		return f.File.WriteAt(p, at)
	}
	n := len(p) * f.disk.rng.IntN(5) / 4
	if n > 0 && n <= len(p) {
		if _, err := f.File.WriteAt(slices.Clone(p[:n]), at); err != nil {
			return 0, err
		}
	}
	return min(n, len(p)), err
}

// loseThePower gives what a power loss leaves: of what was not synced, any part of the
// data, of the names that were made, and of those that were removed. Unlike CrashClone it
// is a function of the disk and rng. The disk itself is spoilt by it.
func loseThePower(t testing.TB, fs *vfs.MemFS, rng *rand.Rand) *vfs.MemFS {
	t.Helper()
	percent := []int{0, 30, 50, 90, 100}[rng.IntN(5)]
	lucky := func() bool { return rng.IntN(100) < percent }
	old := readImage(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	live := readImage(t, fs)
	d := &directory{fs, testDir}
	if err := d.sync(); err != nil {
		t.Fatal(err)
	}
	synced := readImage(t, fs.CrashClone(vfs.CrashCloneCfg{})) // of the names that are there now
	after := image{}
	names := append(slices.Collect(maps.Keys(old)), slices.Collect(maps.Keys(live))...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		data, had := old[name]
		now, has := live[name]
		same := had && has && bytes.Equal(data, synced[name]) // perhaps the same file
		compacted, linked := live[name+compactSuffix]         // to the name, which was removed first
		linked = linked && has && bytes.Equal(compacted, now)
		switch {
		case has && (same || lucky()):
			after[name] = someBlocks(synced[name], now, lucky)
		case had && (!has || linked) && lucky(): // it was removed
		case had:
			after[name] = data
		}
	}
	out := crashableDir(t)
	d = &directory{out, testDir}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if err := d.writeFile(name, after[name], true); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.sync(); err != nil {
		t.Fatal(err)
	}
	return out
}

// someBlocks is a file of which only some of what was not synced is on disk.
func someBlocks(synced, live []byte, lucky func() bool) []byte {
	const block = 512
	out := slices.Clone(synced)
	for at := 0; at < len(live); at += block {
		if end := min(at+block, len(live)); lucky() {
			out = append(out, make([]byte, max(end-len(out), 0))...)
			copy(out[at:], live[at:end])
		}
	}
	return out
}
