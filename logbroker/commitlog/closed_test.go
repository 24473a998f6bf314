package commitlog

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/levada/levada/internal/recordbatch"
)

// TestCompactionOfAClosedLog: a log that is closed while it is compacted, at any of
// the compaction's calls of the file system, leaves the directory alone from then on:
// it may be moved away, and another log have its place.
func TestCompactionOfAClosedLog(t *testing.T) {
	for call, reached := 1, true; reached; call++ {
		mem := crashableDir(t)
		var l *Log
		calls := 0
		reached = false
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			// Inside of its locks a log cannot be closed.
			if l == nil || !strings.HasSuffix(op.Path, compactSuffix) || !l.appends.TryLock() {
				return nil
			}
			l.appends.Unlock()
			if calls++; calls != call {
				return nil
			}
			reached = true
			err := errors.Join(l.Close(), mem.Rename(testDir, "/gone"), mem.MkdirAll(testDir, 0o755))
			if err != nil {
				t.Error(err)
			}
			return nil
		}))
		cfg := testConfig(fs)
		opened := mustOpen(t, cfg)
		for i := range 30 {
			if _, err := opened.Append(makeKeyed(fmt.Sprint("key", i)), nil); err != nil {
				t.Fatal(err)
			}
		}
		for more := true; more; {
			var err error
			if more, err = opened.Seal(); err != nil {
				t.Fatal(err)
			}
		}
		if err := opened.Sync(); err != nil {
			t.Fatal(err)
		}
		l = opened
		_, err := l.Compact(NewCompactor(1<<16), Compaction{})
		if !reached {
			if err != nil || call < 3 {
				t.Fatalf("after %d calls: %v", call-1, err)
			}
			return
		}
		if names, err := mem.List(testDir); err != nil || len(names) > 0 {
			t.Errorf("call %d: the closed log wrote %q, %v", call, names, err)
		}
	}
}

// TestSealsOfAClosedLog: a log that is closed while a segment is read for its seal, as
// that of a deleted topic is, has no more of them.
func TestSealsOfAClosedLog(t *testing.T) {
	var l *Log // once it is open
	cfg := testConfig(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if l != nil && op.Kind == errorfs.OpFileReadAt {
			if err := l.Discard(); err != nil {
				t.Error(err)
			}
		}
		return nil
	})))
	cfg.SegmentBytes = 1
	opened := mustOpen(t, cfg)
	for range 3 {
		mustAppend(t, opened, source{}, "v")
	}
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, cfg)
	for calls := 0; ; calls++ {
		if calls > 2 {
			t.Fatal("there is always one more")
		}
		more, err := l.Seal()
		if err != nil && !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
		if !more {
			return
		}
	}
}

// TestSealOfASegmentThatIsCompacted: where a compaction replaces a segment while it is
// read for its seal, the seal stays that of the new one.
func TestSealOfASegmentThatIsCompacted(t *testing.T) {
	var l *Log
	compacted := false
	fs := vfs.NewMem()
	cfg := testConfig(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if l == nil || compacted || op.Kind != errorfs.OpFileReadAt || !strings.HasSuffix(op.Path, firstLog) {
			return nil
		}
		compacted = true
		if stats, err := l.Compact(NewCompactor(1<<16), Compaction{}); err != nil || stats.Records == 0 {
			t.Errorf("%+v, %v", stats, err)
		}
		return nil
	})))
	cfg.SegmentBytes = 500
	opened := mustOpen(t, cfg)
	for i := range 20 {
		putKeyed(t, opened, "a", fmt.Sprint(i))
	}
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, cfg)
	for more := true; more; {
		var err error
		if more, err = l.Seal(); err != nil {
			t.Fatal(err)
		}
	}
	if !compacted {
		t.Fatal("nothing was read")
	}
	if _, faults := inspect(t, fs); len(faults) > 0 {
		t.Error(faults)
	}
}

func makeKeyed(key string) recordbatch.Batch {
	var b recordbatch.Builder
	b.Append(1000, []byte(key), []byte(strings.Repeat("v", 300)), nil)
	batch := b.Batch()
	batch.SetCRC()
	return batch
}
