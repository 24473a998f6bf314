package commitlog

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Appends, syncs, deletions and reads at once: readers see whole batches below
// the end they asked for, and the ends never go back.
func TestConcurrent(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	l := mustOpen(t, cfg)
	const appends, writers, readers = 150, 3, 3
	var work, reading sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		work.Go(func() {
			for i := range appends {
				from := source{id: int64(w), sequence: int32(i), transactional: w == 0}
				if _, err := l.Append(makeBatch(from, 1, fmt.Sprint(w, " ", i)), nil); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				if i%7 == 0 {
					if err := l.Sync(); err != nil {
						t.Error(err)
					}
				}
				if w == 1 && i%20 == 0 {
					if err := l.DeleteTo(l.SyncedEnd() / 2); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for range readers {
		reading.Go(func() {
			lastStable := int64(0)
			for {
				select {
				case <-done:
					return
				default:
				}
				stable, synced := l.LastStable(), l.SyncedEnd()
				if stable < lastStable || stable > synced {
					t.Errorf("last stable %d after %d, synced %d", stable, lastStable, synced)
				}
				lastStable = stable
				l.OpenTransactions()
				l.Aborted(0, synced)
				chunk, err := l.Read(l.Start(), synced, 700, true, nil)
				if errors.Is(err, ErrOffsetOutOfRange) {
					continue // deleted meanwhile
				}
				if err != nil {
					t.Errorf("read: %v", err)
					return
				}
				for _, v := range splitValues(t, chunk) {
					if v.offset >= synced {
						t.Errorf("offset %d shown, asked below %d", v.offset, synced)
					}
				}
				if _, _, _, err := l.MaxTimestamp(); err != nil && !errors.Is(err, ErrClosed) {
					t.Errorf("time: %v", err)
				}
			}
		})
	}
	work.Wait()
	close(done)
	reading.Wait()
	if err := l.Sync(); err != nil || l.SyncedEnd() != appends*writers {
		t.Fatalf("synced end %d, %v; want %d", l.SyncedEnd(), err, appends*writers)
	}
	readValues(t, l, l.Start(), l.End(), 500)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Read(l.Start(), l.End(), 1, true, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
	if _, err := l.Append(makeBatch(source{}, 1, "x"), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
}

// Readers are served while a sync hangs.
func TestReadersDoNotWaitForSync(t *testing.T) {
	fs := &slowSync{FS: vfs.NewMem(), began: make(chan struct{}), goOn: make(chan struct{})}
	l := mustOpen(t, testConfig(fs))
	mustAppend(t, l, source{id: 1, transactional: true}, "a")
	fs.armed = true
	synced := make(chan error, 1) // the test may end before the sync
	go func() { synced <- l.Sync() }()
	select {
	case <-fs.began:
	case err := <-synced:
		t.Fatalf("Sync returned %v and synced no file", err)
	}
	mustAppend(t, l, source{id: 1, sequence: 1, transactional: true}, "b")
	l.Decide(1, 0, true)
	if got := readValues(t, l, 0, 2, 1000); len(got) != 2 {
		t.Fatalf("read %v", got)
	}
	if open := l.OpenTransactions(); len(open) != 1 || !open[0].Decided {
		t.Fatalf("open %v", open)
	}
	if l.SyncedEnd() != 0 || l.LastStable() != 0 {
		t.Fatalf("synced end %d before the sync ended", l.SyncedEnd())
	}
	close(fs.goOn)
	if err := <-synced; err != nil {
		t.Fatal(err)
	}
	if l.SyncedEnd() != 1 {
		t.Fatalf("synced end %d, want 1: the second batch came after the sync began", l.SyncedEnd())
	}
}

type slowSync struct {
	vfs.FS
	armed       bool
	began, goOn chan struct{}
}

func (s *slowSync) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := s.FS.OpenReadWrite(name, c, opts...)
	if err != nil {
		return nil, err
	}
	return &slowFile{f, s}, nil
}

type slowFile struct {
	vfs.File
	s *slowSync
}

func (f *slowFile) SyncData() error {
	if f.s.armed {
		close(f.s.began)
		<-f.s.goOn
	}
	return f.File.SyncData()
}
