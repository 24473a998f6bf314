package logbroker

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
		failing = false
		if _, err := b.syncer.all(); !errors.Is(err, unix.EBADF) {
			t.Errorf("%s: whoever comes next is told %v", name, err)
		}
		b.Kill()
	}
}

// TestAFailedSyncIsToldToAll: the kernel tells it once, and who waits for the next sync of
// the file system has written what was lost, too.
func TestAFailedSyncIsToldToAll(t *testing.T) {
	real, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	b, err := Open(Config{Dir: "/data", FS: vfs.NewMem(), Synchronous: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Kill()
	if _, err := b.topics.create("t", 2, nil, false); err != nil {
		t.Fatal(err)
	}
	const noDescriptor = 1 << 30
	for i, fd := range []uintptr{noDescriptor, real.Fd()} {
		p := b.topics.byName("t").parts()[i]
		if _, err := p.log.Append(oneRecord(-1, -1, -1, false, "v"), nil); err != nil {
			t.Fatal(err)
		}
		var told error
		p.mayBegin()
		p.awaitSync(syncWaiter{end: 1, fn: func(err error) { told = err }})
		b.syncer.together([]*partition{p}, fd)
		if !errors.Is(told, unix.EBADF) || p.log.SyncedEnd() != 0 {
			t.Errorf("log %d: %v, durable up to %d", i, told, p.log.SyncedEnd())
		}
	}
}

// countingFS counts how often a log was synced by itself, and calls marked, once, when the
// first of several has been.
type countingFS struct {
	vfs.FS
	syncs  atomic.Int64
	marked atomic.Pointer[func()]
}

type countingFile struct {
	vfs.File
	fs *countingFS
}

func (f *countingFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, opts...)
	if err != nil || !strings.HasSuffix(name, ".log") && !strings.HasSuffix(name, "levada-synced") {
		return file, err
	}
	return &countingFile{file, f}, nil
}

func (f *countingFile) SyncData() error { f.fs.syncs.Add(1); return f.File.SyncData() }

func (f *countingFile) WriteAt(p []byte, at int64) (int, error) {
	if len(p) == 12 { // docs/format/segment.md: the synced end
		if marked := f.fs.marked.Swap(nil); marked != nil {
			(*marked)()
		}
	}
	return f.File.WriteAt(p, at)
}

// TestOneSyncForWhatComesAtOnce: logs that were written by what a client sent at once are
// synced by one sync of the file system, none before the others by itself, and so is what
// came meanwhile; fewer logs are synced by themselves, and one whose sync is under way is
// not waited for.
func TestOneSyncForWhatComesAtOnce(t *testing.T) {
	fs := &countingFS{FS: vfs.Default}
	b, err := Open(Config{Dir: t.TempDir(), FS: fs, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.topics.create("t", 16, nil, false); err != nil {
		t.Fatal(err)
	}
	parts := b.topics.byName("t").parts()
	send := func(parts []*partition) (done chan error) {
		s := syncs{gathers: true}
		done = make(chan error, len(parts))
		for _, p := range parts {
			appended, err := p.append(oneRecord(-1, -1, -1, false, "v"))
			if err != nil {
				t.Error(err)
			}
			s.begin(p, appended.LastOffset+1, func(err error) { done <- err })
		}
		s.flush()
		return done
	}
	write := func(parts []*partition, busy int) (alone int64) {
		t.Helper()
		before := fs.syncs.Load()
		done := send(parts)
		for i := range parts {
			if busy > 0 && i == len(parts)-1 {
				alone = fs.syncs.Load() - before
				parts[busy].syncAlone(func() {}, atOnce) // goes on
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range parts {
			if p.log.End() != p.log.SyncedEnd() {
				t.Fatal("told before it was durable")
			}
		}
		if busy > 0 {
			return alone
		}
		return fs.syncs.Load() - before
	}
	for range 20 {
		if n := write(parts, 0); n > 0 {
			t.Errorf("%d of %d logs were synced by themselves", n, len(parts))
		}
		if n := write(parts[:sharedSyncs-1], 0); n != sharedSyncs-1 {
			t.Errorf("%d of %d logs were synced by themselves", n, sharedSyncs-1)
		}
	}
	meanwhile := make(chan chan error, 1)
	during := func() { meanwhile <- send(parts) }
	fs.marked.Store(&during)
	before := fs.syncs.Load()
	first := send(parts)
	for _, done := range []chan error{first, <-meanwhile} {
		for range parts {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := fs.syncs.Load() - before; n > 0 {
		t.Errorf("of what came meanwhile %d logs were synced by themselves", n)
	}
	parts[3].mayBegin() // a sync of it is under way
	if n := write(parts, 3); n > 0 {
		t.Errorf("%d logs were synced by themselves", n)
	}
}

// TestNobodyWaitsForWhoIsToldWithThem: of the logs that one sync has made durable one has a
// caller in this process, and one a watcher, who do not come back until the others are told.
func TestNobodyWaitsForWhoIsToldWithThem(t *testing.T) {
	b, err := Open(Config{Dir: t.TempDir(), FS: vfs.Default, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.topics.create("t", 2*sharedSyncs, nil, false); err != nil {
		t.Fatal(err)
	}
	parts := b.topics.byName("t").parts()
	told, goOn := make(chan error, len(parts)), make(chan struct{})
	comeBack := sync.OnceFunc(func() { close(goOn) })
	defer comeBack()
	for i, p := range parts {
		p.mayBegin()
		appended, err := p.append(oneRecord(-1, -1, -1, false, "v"))
		if err != nil {
			t.Fatal(err)
		}
		s := syncs{gathers: i > 0} // as that of a connection, but for the first
		s.begin(p, appended.LastOffset+1, func(err error) {
			if i == 0 {
				<-goOn
			}
			told <- err
		})
	}
	defer parts[1].watch(false, func() { <-goOn })()
	b.syncer.add(parts...)
	for i := range parts {
		if i == len(parts)-1 {
			comeBack()
		}
		select {
		case err := <-told:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%d of %d were told", i, len(parts))
		}
	}
}

// TestNoSyncOfTheFileSystem: where there is none, each log is synced by itself, and nobody is
// told before that.
func TestNoSyncOfTheFileSystem(t *testing.T) {
	fs := &countingFS{FS: vfs.NewMem()}
	b, err := Open(Config{Dir: "/data", FS: fs, Synchronous: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Kill()
	if _, err := b.topics.create("t", sharedSyncs, nil, false); err != nil {
		t.Fatal(err)
	}
	asked := 0
	b.syncer.fileSystem = func(uintptr) (bool, error) { asked++; return false, nil }
	parts := b.topics.byName("t").parts()
	for range 2 {
		before, told := fs.syncs.Load(), make(chan error, len(parts))
		for i, p := range parts {
			appended, err := p.log.Append(oneRecord(-1, -1, -1, false, "v"), nil)
			if err != nil {
				t.Fatal(err)
			}
			p.mayBegin()
			p.awaitSync(syncWaiter{end: appended.LastOffset + 1, lazy: i == 0, fn: func(err error) { told <- err }})
		}
		if !b.syncer.unable {
			b.syncer.together(parts, 0)
		} else {
			b.syncer.waiting = append(b.syncer.waiting, parts...)
		}
		if len(told) > 0 || len(b.syncer.waiting) != len(parts) {
			t.Fatalf("%d were told, %d wait", len(told), len(b.syncer.waiting))
		}
		for b.syncer.serve() {
		}
		for range parts {
			if err := <-told; err != nil {
				t.Error(err)
			}
		}
		for _, p := range parts {
			if p.log.SyncedEnd() != p.log.End() {
				t.Error("told before it was durable")
			}
		}
		if n := fs.syncs.Load() - before; n < int64(len(parts)) || asked != 1 {
			t.Errorf("%d logs of %d were synced by themselves, the file system was tried %d times", n, len(parts), asked)
		}
	}
}
