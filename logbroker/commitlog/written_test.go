package commitlog

import (
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestWritten: what was made durable from outside counts up to where the log was before, and
// nothing that came in between is undone by that.
func TestWritten(t *testing.T) {
	fs := vfs.NewMem()
	open := func() *Log {
		cfg := testConfig(fs)
		cfg.SegmentBytes = 1 << 20
		return mustOpen(t, cfg)
	}
	l := open()
	durable := func(w Written, news bool, end int64) {
		t.Helper()
		if got := w.Durable(); got != news || l.SyncedEnd() != end {
			t.Errorf("durable: news %v, up to %d; want %v, %d", got, l.SyncedEnd(), news, end)
		}
	}
	mustAppend(t, l, source{}, "a")
	w := l.Written()
	mustAppend(t, l, source{}, "b")
	durable(w, true, 1)
	durable(w, false, 1)

	w = l.Written()
	l.syncing.Lock()
	durable(w, false, 1) // whoever syncs will say so
	l.syncing.Unlock()
	mustAppend(t, l, source{}, "c")
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	durable(w, false, 3)

	// The segment was sealed, and so synced, in between.
	mustAppend(t, l, source{}, "d")
	w = l.Written()
	mustAppend(t, l, source{}, string(make([]byte, 1<<20)))
	durable(w, false, 4)
	if got := len(*l.segments.Load()); got != 2 {
		t.Fatalf("%d segments, want 2", got)
	}

	w = l.Written()
	end := l.End()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Durable() {
		t.Error("a closed log took note of a sync")
	}
	if l = open(); l.End() != end {
		t.Errorf("%s ends at %d, want %d", filepath.Base(l.cfg.Dir), l.End(), end)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
