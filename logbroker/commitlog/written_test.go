package commitlog

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestWritten: what the disk was given in another way counts as that, up to where the log was
// before, and as no more; what it was given meanwhile is not forgotten.
func TestWritten(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.SegmentBytes = 1 << 20
	l := mustOpen(t, cfg)
	first := l.active()
	out := func(what string, seg *segment, want int64) {
		t.Helper()
		if seg.out != want {
			t.Errorf("%s: %d bytes count as given, want %d", what, seg.out, want)
		}
	}
	mustAppend(t, l, source{}, "a")
	w, one := l.Written(), first.size.Load()
	mustAppend(t, l, source{}, "b")
	w.Given()
	out("one of two", first, one)
	if l.SyncedEnd() != 0 {
		t.Errorf("offset %d counts as durable", l.SyncedEnd())
	}

	w = l.Written()
	l.syncing.Lock()
	w.Given()
	l.syncing.Unlock()
	out("beside a sync", first, one)
	mustAppend(t, l, source{}, "c")
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	w.Given()
	out("after a sync of more", first, first.size.Load())

	w = l.Written()
	mustAppend(t, l, source{}, string(make([]byte, 1<<20)))
	second := l.active()
	if second == first {
		t.Fatal("no segment was begun")
	}
	w.Given()
	out("of a segment that was full", second, 0)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
