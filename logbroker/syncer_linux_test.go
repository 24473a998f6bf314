package logbroker

import (
	"errors"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// toldFS gives directories a descriptor, which is one that cannot be synced where that
// is asked for.
type toldFS struct {
	vfs.FS
	fd   uintptr
	told func(*toldDir) (failed bool)
}

type toldDir struct {
	vfs.File
	fs *toldFS
}

func (f *toldFS) OpenDir(name string) (vfs.File, error) {
	d, err := f.FS.OpenDir(name)
	return &toldDir{d, f}, err
}

func (d *toldDir) Fd() uintptr {
	if d.fs.told(d) {
		return 1 << 30
	}
	return d.fs.fd
}

// TestWhoIsToldOfAFailedWrite: the kernel tells each descriptor once. A checkpoint or a
// backup that is told ends the broker, and takes it from nobody who waits for records
// to be durable.
func TestWhoIsToldOfAFailedWrite(t *testing.T) {
	for name, does := range map[string]func(*Broker) error{
		"checkpoint": func(b *Broker) error { return b.checkpoint(1) },
		"backup":     func(b *Broker) error { _, err := b.Backup("/backup"); return err },
	} {
		real, err := os.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer real.Close()
		failing, told := false, map[*toldDir]bool{}
		fs := &toldFS{FS: vfs.NewMem(), fd: real.Fd(), told: func(d *toldDir) bool {
			told[d] = told[d] || failing
			return failing
		}}
		var fatal error
		b, err := Open(Config{Dir: "/data", FS: fs, Synchronous: true, OnFatal: func(err error) { fatal = err }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.topics.create("t", 1, nil, false); err != nil {
			t.Fatal(err)
		}
		log := b.topics.byName("t").parts()[0].log
		if _, err := log.Append(oneRecord(-1, -1, -1, false, "v"), nil); err != nil {
			t.Fatal(err)
		}
		failing = true
		if err := does(b); !errors.Is(err, unix.EBADF) || !errors.Is(fatal, unix.EBADF) {
			t.Errorf("%s: %v; the broker: %v", name, err, fatal)
		}
		if len(told) != 1 {
			t.Errorf("%s: %d descriptors were told", name, len(told))
		}
		b.syncer.root.Fd()
		if len(told) != 2 {
			t.Errorf("%s: took it from those who wait", name)
		}
		b.Kill()
	}
}
