package commitlog

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// heldFiles counts the files that are open, by their names.
type heldFiles struct {
	vfs.FS
	mu   sync.Mutex
	held map[string]int
}

func (h *heldFiles) hold(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return f, err
	}
	h.count(name, 1)
	return &heldFile{f, func() { h.count(name, -1) }}, nil
}

func (h *heldFiles) count(name string, by int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held[name] += by; h.held[name] == 0 {
		delete(h.held, name)
	}
}

func (h *heldFiles) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := h.FS.Create(name, c)
	return h.hold(name, f, err)
}

func (h *heldFiles) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := h.FS.Open(name, opts...)
	return h.hold(name, f, err)
}

func (h *heldFiles) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := h.FS.OpenReadWrite(name, c, opts...)
	return h.hold(name, f, err)
}

func (h *heldFiles) OpenDir(name string) (vfs.File, error) {
	f, err := h.FS.OpenDir(name)
	return h.hold(name, f, err)
}

type heldFile struct {
	vfs.File
	closed func()
}

func (f *heldFile) Close() error { f.closed(); return f.File.Close() }

// readEach opens what reading opens.
func readEach(t *testing.T, l *Log) {
	t.Helper()
	for offset := l.Start(); offset < l.End(); offset++ {
		if _, err := l.Read(offset, l.End(), 500, true, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAClosedLogHoldsNoFile: neither one that was closed in order, nor one whose topic was
// deleted, after whatever was done with it.
func TestAClosedLogHoldsNoFile(t *testing.T) {
	held := &heldFiles{FS: vfs.NewMem(), held: map[string]int{}}
	cfg := testConfig(held)
	for round, end := range []func(*Log) error{(*Log).Close, (*Log).Discard, (*Log).Close} {
		cfg.Cleanly = round == 1
		l := mustOpen(t, cfg)
		for i := range 100 {
			if _, err := l.Append(makeKeyed(fmt.Sprint(i%7)), nil); err != nil {
				t.Fatal(err)
			}
		}
		readEach(t, l)
		for more := true; more; {
			var err error
			if more, err = l.Seal(); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		if stats, err := l.Compact(NewCompactor(1<<16), Compaction{}); err != nil || stats.Records == 0 {
			t.Fatalf("%+v, %v", stats, err)
		}
		readEach(t, l)
		if err := l.DeleteTo((*l.segments.Load())[2].base); err != nil {
			t.Fatal(err)
		}
		if len(held.held) == 0 {
			t.Fatal("no file is counted")
		}
		cfg.LogStart = l.Start()
		if err := end(l); err != nil {
			t.Fatal(err)
		}
		if len(held.held) > 0 {
			t.Fatalf("round %d: still open: %v", round, maps.Clone(held.held))
		}
	}
}

// TestAStartThatCannotSyncFails: what a start found may be in the page cache alone. It is
// served by none that could not make it durable.
func TestAStartThatCannotSyncFails(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testConfig(fs))
	for i := range 60 {
		mustAppend(t, l, source{}, fmt.Sprint("value ", i))
	}
	segments := len(*l.segments.Load())
	files := readImage(t, fs).with(checkpointFile, nil)
	for n := 0; ; n++ {
		left := n
		disk := errorfs.Wrap(files.write(t), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, logSuffix) {
				if left--; left == -1 {
					return syscall.EIO
				}
			}
			return nil
		}))
		l, err := Open(testConfig(disk))
		if left >= 0 {
			if err != nil || n < segments {
				t.Fatalf("%d segments are synced, want %d: %v", n, segments, err)
			}
			return
		}
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("sync %d fails, and %d records are served: %v", n, l.End(), err)
		}
	}
}

// TestDamageAtTheCheckpointIsSeen: the batches behind the last index entry are read by
// each start, also after an orderly end: a record that was changed there is damage.
func TestDamageAtTheCheckpointIsSeen(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testConfig(fs))
	mustAppend(t, l, source{}, "first")
	mustAppend(t, l, source{}, "the last one")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files := readImage(t, fs)
	data := []byte(strings.Replace(string(files[firstLog]), "the last one", "the lost one", 1))
	for _, cleanly := range []bool{true, false} {
		cfg := testConfig(files.with(firstLog, data).write(t))
		cfg.Cleanly = cleanly
		damage := (*DamageError)(nil)
		if _, err := Open(cfg); !errors.As(err, &damage) || damage.Offset != 1 {
			t.Errorf("cleanly %t: %v, want damage at offset 1", cleanly, err)
		}
	}
}

// TestAReaderMeetsADeletion: who looked where the log starts before a deletion finds the
// segment gone, and gets nothing.
func TestAReaderMeetsADeletion(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMem()))
	for len(*l.segments.Load()) < 4 {
		mustAppend(t, l, source{}, "value")
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := l.DeleteTo((*l.segments.Load())[2].base); err != nil {
		t.Fatal(err)
	}
	l.start.Store(0) // as the reader saw it
	if out, err := l.Read(0, l.End(), 1000, true, nil); err != nil || len(out) > 0 {
		t.Errorf("read %d bytes, %v", len(out), err)
	}
	if r, ok := l.Locate(0, l.End(), 1000, 1); ok {
		t.Errorf("located %+v", r)
	}
}

// TestRetentionWritesNothingForNothing: as long as nothing is to go, no start is recorded.
func TestRetentionWritesNothingForNothing(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMem()))
	for len(*l.segments.Load()) < 4 {
		mustAppend(t, l, source{}, "value")
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	inside := int64(3)
	for _, start := range []int64{inside, (*l.segments.Load())[1].base} {
		if err := l.DeleteTo(start); err != nil {
			t.Fatal(err)
		}
		for _, keep := range []Retention{{Age: -1, Bytes: -1}, {Age: -1, Bytes: l.SizeBytes()}, {Age: 100 * 365 * 24 * time.Hour, Bytes: -1}} {
			removed, err := l.Retain(keep, func(start int64) error { return fmt.Errorf("start %d is recorded", start) })
			if removed != 0 || err != nil || l.Start() != start {
				t.Errorf("%+v: %d bytes went, start %d, want %d; %v", keep, removed, l.Start(), start, err)
			}
		}
	}
}

// TestAStartThatFailsSaysWhy: a start that meets an error of the disk, at any operation,
// returns that error, and not that records were damaged; it leaves no file open.
func TestAStartThatFailsSaysWhy(t *testing.T) {
	for what, files := range map[string]image{
		"with a checkpoint": readImage(t, sealedLog(t)), "without": readImage(t, sealedLog(t)).with(checkpointFile, nil),
	} {
		for n, done := 0, false; !done; n++ {
			left, failed := n, ""
			disk := errorfs.Wrap(files.write(t), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == errorfs.OpFileClose {
					return nil
				}
				if left--; left == -1 {
					failed = fmt.Sprint(op)
					return syscall.EIO
				}
				return nil
			}))
			held := &heldFiles{FS: disk, held: map[string]int{}}
			cfg := testConfig(held)
			cfg.Cleanly, cfg.LeaderEpoch = what == "with a checkpoint", 3
			l, err := Open(cfg)
			if err == nil {
				err = l.Discard() // what failed could be done without
			}
			if done = left >= 0; err != nil && (done || !errors.Is(err, syscall.EIO)) {
				t.Errorf("%s, operation %d, %s: %v", what, n, failed, err)
			}
			if len(held.held) > 0 {
				t.Errorf("%s, operation %d, %s: still open: %v; %v", what, n, failed, held.held, err)
			}
			if done && n < 20 {
				t.Fatalf("a start has %d operations", n)
			}
		}
	}
}

// TestCompactionThatCannotReadLosesNothing: an error of the disk, at any read, ends the
// compaction, and the newest value of each key is there as it was.
func TestCompactionThatCannotReadLosesNothing(t *testing.T) {
	const keys = 10
	for n, done := 0, false; !done; n++ {
		left := -1
		fs := vfs.NewMem()
		cfg := testConfig(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind != errorfs.OpFileReadAt {
				return nil
			}
			if left--; left == -1 {
				return syscall.EIO
			}
			return nil
		})))
		l := mustOpen(t, cfg)
		for i := range 60 {
			putKeyed(t, l, fmt.Sprint("key", i%keys), fmt.Sprintf("%0100d", i))
		}
		for more := true; more; {
			var err error
			if more, err = l.Seal(); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(l.Sync(), l.Close()); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, cfg) // with no segment open
		left = n
		_, err := l.Compact(NewCompactor(1<<16), Compaction{})
		if done = left >= 0; (err == nil) != done || err != nil && !errors.Is(err, syscall.EIO) {
			t.Errorf("read %d: %v", n, err)
		}
		left = -1
		for _, log := range []*Log{l, mustOpen(t, testConfig(fs))} {
			last := map[string]bool{}
			for offset := log.Start(); offset < log.End(); offset++ {
				chunk, err := log.Read(offset, log.End(), 1, true, nil)
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range splitValues(t, chunk) {
					last[v.value] = true
				}
			}
			for i := 60 - keys; i < 60; i++ {
				if !last[fmt.Sprintf("%0100d", i)] {
					t.Fatalf("read %d: value %d is gone", n, i)
				}
			}
		}
		if done && n < 5 {
			t.Fatalf("a compaction has %d reads", n)
		}
	}
}
