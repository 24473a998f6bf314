package commitlog

import (
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// openCount counts the files of a file system that are open.
type openCount struct {
	vfs.FS
	mu   sync.Mutex // guards open
	open map[string]int
}

func newOpenCount(fs vfs.FS) *openCount { return &openCount{FS: fs, open: map[string]int{}} }

type openFile struct {
	vfs.File
	fs   *openCount
	name string
}

func (f *openCount) add(name string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[name] += n; f.open[name] == 0 {
		delete(f.open, name)
	}
}

// list is what is open, by path.
func (f *openCount) list() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.open)
}

func (f *openCount) wrap(name string, file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	f.add(name, 1)
	return &openFile{file, f, name}, nil
}

func (f *openCount) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return f.wrap(name, file, err)
}

func (f *openCount) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, opts...)
	return f.wrap(name, file, err)
}

func (f *openCount) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, opts...)
	return f.wrap(name, file, err)
}

func (f *openCount) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	return f.wrap(name, file, err)
}

func (f *openFile) Close() error {
	f.fs.add(f.name, -1)
	return f.File.Close()
}

// TestIdleLogHasOneFileOpen: a log that nobody writes to has its active segment open
// and nothing else, after a start and some time after the last sync; its mark says
// nevertheless what was synced. A log that is closed has no file open.
func TestIdleLogHasOneFileOpen(t *testing.T) {
	fs := newOpenCount(crashableDir(t))
	idle := func(when string, l *Log) {
		t.Helper()
		if open := fs.list(); len(open) != 1 || open[l.active().path()] != 1 {
			t.Errorf("%s: open are %v", when, open)
		}
		if mark := readMark(l.dir); mark != l.End() {
			t.Errorf("%s: the mark says %d, the log ends at %d", when, mark, l.End())
		}
	}
	for range 2 {
		l := mustOpen(t, testConfig(fs))
		idle("after the start", l)
		for range 3 {
			mustAppend(t, l, source{}, "v")
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			l.Rest()
			if open := fs.list(); len(open) != 2 {
				t.Errorf("soon after a sync open are %v", open)
			}
			l.Rest()
			idle("when it rests", l)
		}
		mustAppend(t, l, source{}, "v")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l.Rest()
		if open := fs.list(); len(open) != 0 {
			t.Errorf("after the end open are %v", open)
		}
	}
}

// TestFailedStartLeavesNoFileOpen fails each call of a start that has a compaction to
// finish and a torn tail to cut off.
func TestFailedStartLeavesNoFileOpen(t *testing.T) {
	full := false
	mem := crashableDir(t)
	cfg := testConfig(noRoom(mem, checkpointFile, &full, errorfs.OpCreate))
	cfg.SegmentBytes = 1
	l := mustOpen(t, cfg)
	for range 4 {
		putKeyed(t, l, "a", "v")
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	full = true
	if _, err := l.Compact(NewCompactor(1<<16), Compaction{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	l.Discard()
	for at, failed := 1, true; failed; at++ {
		calls := 0
		failed = false
		open := newOpenCount(mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}))
		cfg.FS = errorfs.Wrap(open, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if calls++; calls != at {
				return nil
			}
			failed = true
			return syscall.EIO
		}))
		cfg.SegmentBytes = 2000
		l, err := Open(cfg)
		if err == nil {
			err = l.Close()
		}
		if left := open.list(); len(left) > 0 {
			t.Errorf("call %d fails, %v: open are %v", at, err, left)
		}
		if !failed && (err != nil || at < 20) {
			t.Errorf("after %d calls: %v", at-1, err)
		}
	}
}
