package commitlog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"github.com/levada/levada/internal/recordbatch"
)

// resident counts the bytes of the segments in dir that the kernel holds.
func resident(t *testing.T, dir string) int64 {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(names) == 0 {
		t.Fatalf("segments of %s: %v, %v", dir, names, err)
	}
	var n int64
	for _, name := range names {
		n += residentFile(t, name)
	}
	return n
}

func residentFile(t *testing.T, name string) (n int64) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return 0
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)
	page := os.Getpagesize()
	held := make([]byte, (len(mapped)+page-1)/page)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mapped[0])), uintptr(len(mapped)), uintptr(unsafe.Pointer(&held[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for _, b := range held {
		n += int64(b&1) * int64(page)
	}
	return n
}

// TestPageCache writes and reads more than is to be kept: what the kernel holds
// stays near the limit, and what was let go can be read.
func TestPageCache(t *testing.T) {
	const limit, total, size = 12 << 20, 60 << 20, 256 << 10
	dir := t.TempDir()
	value := string(bytes.Repeat([]byte("v"), size))
	fill := func(dir string, cache *PageCache) *Log {
		l := mustOpen(t, Config{Dir: dir, SegmentBytes: 25 << 20, Cache: cache})
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		for range total / size {
			mustAppend(t, l, source{}, value)
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		return l
	}
	fill(filepath.Join(dir, "all"), nil)
	if held := resident(t, filepath.Join(dir, "all")); held < total {
		t.Skipf("this file system keeps %d of %d bytes in memory without a bound: nothing to see", held, total)
	}
	dir = filepath.Join(dir, "bounded")
	l := fill(dir, NewPageCache(limit))
	// The newest extent of the log comes on top, and one that a read has begun.
	const most = limit + 3*extent
	if held := resident(t, dir); held > most || held < limit/2 {
		t.Errorf("after writing the kernel holds %d bytes, want about %d", held, limit)
	}
	for range 2 {
		if got := readValues(t, l, 0, l.End(), 1<<20); len(got) != total/size || got[7].value != value {
			t.Fatalf("read %d records", len(got))
		}
		if held := resident(t, dir); held > most {
			t.Errorf("after reading the kernel holds %d bytes, want about %d", held, limit)
		}
	}
	if err := l.DeleteTo(l.End()); err != nil { // spans of deleted segments are let go, too
		t.Fatal(err)
	}
	fill(filepath.Join(dir, "next"), l.cfg.Cache)
}

// TestPageCacheWithoutFiles has a file system that takes no advice.
func TestPageCacheWithoutFiles(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.SegmentBytes = 3 << 20
	cfg.Cache = NewPageCache(0)
	l := mustOpen(t, cfg)
	value := string(bytes.Repeat([]byte("v"), 1<<20))
	for range 10 {
		mustAppend(t, l, source{}, value)
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(readValues(t, l, 0, l.End(), 1)); n != 10 {
		t.Errorf("read %d of 10 records", n)
	}
	if len(cfg.Cache.spans) != 0 || cfg.Cache.held != 0 {
		t.Errorf("%d spans of %d bytes are held, want none", len(cfg.Cache.spans), cfg.Cache.held)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestPageCacheNotesOnce reads the same few records of an old log again and
// again, as a consumer that polls does: what the cache knows must not grow.
func TestPageCacheNotesOnce(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.Cache = NewPageCache(1 << 30)
	l := mustOpen(t, cfg)
	mustAppend(t, l, source{}, "a")
	mustAppend(t, l, source{}, "b")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, cfg)
	for range 100 {
		if n := len(readValues(t, l, 0, l.End(), 1)); n != 2 {
			t.Fatalf("read %d of 2 records", n)
		}
	}
	if n := len(cfg.Cache.spans); n != 1 {
		t.Errorf("%d spans for one small segment, want 1", n)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// BenchmarkPageCache appends 4 GiB, synced ten times a second, and reports the
// CPU of a byte. docs/decisions/0005-page-cache.md has figures.
func BenchmarkPageCache(b *testing.B) {
	for _, limit := range []int64{64 << 20, 1 << 30, -1} {
		b.Run(fmt.Sprintf("limit=%dMiB", limit>>20), func(b *testing.B) {
			var cache *PageCache
			if limit >= 0 {
				cache = NewPageCache(limit)
			}
			l := mustOpen(b, Config{Dir: b.TempDir(), Cache: cache})
			batch := makeBatch(source{}, 1, string(bytes.Repeat([]byte("v"), 256<<10)))
			last, n := time.Now(), int64(0)
			begin := cpuTime()
			for b.Loop() {
				for range 4 << 30 / len(batch) {
					if _, err := l.Append(recordbatch.Batch(batch), nil); err != nil {
						b.Fatal(err)
					}
					n += int64(len(batch))
					if time.Since(last) < 100*time.Millisecond {
						continue
					}
					if err := l.Sync(); err != nil {
						b.Fatal(err)
					}
					last = time.Now()
				}
			}
			b.ReportMetric(float64(cpuTime()-begin)/float64(n), "cpu-ns/B")
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
