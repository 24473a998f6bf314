package commitlog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// dirtyPages counts those of a log of one segment that the disk has not been given.
func dirtyPages(t *testing.T, dir string) uint64 {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(names) != 1 {
		t.Fatalf("segments of %s: %v, %v", dir, names, err)
	}
	f, err := os.Open(names[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var held unix.Cachestat_t
	err = unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &held, 0)
	if errors.Is(err, unix.ENOSYS) {
		t.Skip("this kernel does not tell which pages are dirty: Linux 6.5 is the first that does")
	}
	if err != nil {
		t.Fatal(err)
	}
	return held.Dirty
}

// TestWriteOut: the disk gets what was appended, and nothing counts as durable by that.
func TestWriteOut(t *testing.T) {
	dir := t.TempDir()
	cache := NewPageCache(1 << 30)
	l := mustOpen(t, Config{Dir: dir, Cache: cache})
	value := strings.Repeat("v", 1<<20)
	for n := int64(1); n <= 5; n++ {
		mustAppend(t, l, source{}, value)
		if n == 1 && dirtyPages(t, dir) == 0 {
			t.Skip("this file system has no dirty pages, or gives them to the disk at once")
		}
		if !l.WriteOut() {
			t.Fatal("the system could not be asked")
		}
		// Those at the end may be on their way from the call before, and are dirty again.
		if left := dirtyPages(t, dir); left > 16 {
			t.Errorf("%d pages are dirty after %d MiB", left, n)
		}
		if l.SyncedEnd() != 0 {
			t.Errorf("offset %d counts as synced", l.SyncedEnd())
		}
		if full := n << 20 / extent * extent; cache.held != full {
			t.Errorf("%d bytes of %d MiB are known as held, want %d", cache.held, n, full)
		}
	}
	mustAppend(t, l, source{}, value)
	l.syncing.Lock()
	if !l.WriteOut() || dirtyPages(t, dir) == 0 {
		t.Error("it does not leave what a sync under way does to that")
	}
	l.syncing.Unlock()
	if err := l.Sync(); err != nil || l.SyncedEnd() != l.End() {
		t.Errorf("a sync after it: %v, up to %d of %d", err, l.SyncedEnd(), l.End())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l.WriteOut() {
		t.Error("a closed log was written")
	}
}

// TestWriteOutRefused: a system that cannot be asked leaves it to a sync.
func TestWriteOutRefused(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMem()))
	defer l.Close()
	mustAppend(t, l, source{}, "v")
	if l.WriteOut() {
		t.Error("files in memory were written to a disk")
	}
	if !writeOut(^uintptr(0)>>33, 0, 1) {
		return
	}
	t.Error("a file that is not open was written")
}
