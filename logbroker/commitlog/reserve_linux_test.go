package commitlog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// behind is how many bytes a file has on the disk that are not in it, but for its last
// block.
func behind(t *testing.T, name string) int64 {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(name, &stat); err != nil {
		t.Fatal(err)
	}
	block := int64(stat.Blksize)
	return max(0, stat.Blocks*statBlock-(stat.Size+block-1)/block*block)
}

// reserves tells whether files here can have space behind their end at all.
func reserves(t *testing.T, dir string) bool {
	t.Helper()
	f, err := vfs.Default.Create(filepath.Join(dir, "try"), writeCategory)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.Preallocate(0, 1<<20) == nil && behind(t, filepath.Join(dir, "try")) > 0
}

// TestReserve: a log that grows has some space set aside behind its end, which is given
// back where no more is to come: by a segment that is sealed, by a log that rests, at
// the end, and by the start after one that did not give it back.
func TestReserve(t *testing.T) {
	if !reserves(t, t.TempDir()) {
		t.Skip("this file system sets no space aside: nothing is to be given back")
	}
	value := strings.Repeat("v", 100<<10)
	dir := t.TempDir()
	cfg := Config{Dir: dir, SegmentBytes: 8 << 20}
	l := mustOpen(t, cfg)
	first, last := filepath.Join(dir, logName(0)), func() string { return l.active().path() }
	write := func(n int) {
		for range n {
			mustAppend(t, l, source{}, value)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if write(1); behind(t, first) >= leastReserved {
		t.Errorf("a log of one small batch has %d bytes reserved", behind(t, first))
	}
	write(19)
	if got := behind(t, first); got < leastReserved || got > 2<<20 {
		t.Errorf("%d bytes are reserved behind 2 MB, want some, and no more than those", got)
	}
	l.Rest()
	if got := behind(t, first); got < leastReserved {
		t.Errorf("%d bytes are reserved behind a log that was written to a moment ago", got)
	}
	if l.Rest(); behind(t, first) > wasted {
		t.Errorf("%d bytes are reserved behind a log that nobody writes to", behind(t, first))
	}
	write(80)
	if got := behind(t, first); last() == first || got > wasted {
		t.Errorf("%d bytes are reserved behind a segment that is sealed", got)
	}
	if err := l.Discard(); err != nil { // as if it had been killed
		t.Fatal(err)
	}
	if got := behind(t, last()); got < leastReserved {
		t.Fatalf("%d bytes are reserved after the kill, want some", got)
	}
	end, written := l.End(), time.Date(2020, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
	if err := os.Chtimes(last(), written, written); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, cfg)
	if info, err := os.Stat(last()); err != nil || !info.ModTime().Equal(written) {
		t.Errorf("the start says that the last write was at %v, %v", info.ModTime(), err)
	}
	if got := behind(t, last()); got > wasted {
		t.Errorf("%d bytes are reserved after the start", got)
	}
	write(10)
	if got := behind(t, last()); got < leastReserved {
		t.Errorf("%d bytes are reserved, want some", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := behind(t, last()); got > wasted {
		t.Errorf("%d bytes are reserved after the end", got)
	}
	l = mustOpen(t, cfg)
	if got := readValues(t, l, 0, l.End(), 1<<30); l.End() != end+10 || len(got) != int(l.End()) {
		t.Errorf("%d values up to offset %d, want %d", len(got), l.End(), end+10)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReserveAsks: no space is set aside where none may be, nor for a marker.
func TestReserveAsks(t *testing.T) {
	may, asked := false, 0
	cfg := Config{Dir: t.TempDir(), MayReserve: func(bytes int64) bool {
		if asked++; bytes <= 0 || bytes > 2*mostReserved {
			t.Errorf("asked for %d bytes", bytes)
		}
		return may
	}}
	l := mustOpen(t, cfg)
	from := source{id: 7, transactional: true}
	mustAppend(t, l, from, strings.Repeat("v", 700<<10))
	if got := behind(t, l.active().path()); asked != 1 || got > wasted {
		t.Errorf("asked %d times, %d bytes are reserved", asked, got)
	}
	may = true
	l.active().reserved = 0
	if _, appended, err := l.AppendMarker(Marker{ProducerID: 7, Commit: true}); err != nil || !appended || asked != 1 {
		t.Errorf("a marker: %v, %v, asked %d times", appended, err, asked)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
