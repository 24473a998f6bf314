package logbroker

import (
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// writePiece appends as much as the disk is given at once.
func writePiece(t *testing.T, p *partition) {
	t.Helper()
	if _, err := p.append(oneRecord(-1, -1, -1, false, strings.Repeat("v", earlySyncBytes))); err != nil {
		t.Fatal(err)
	}
}

// TestGivenTogether: the pieces of many partitions that are written alike are given to the
// disk by syncs of the file system, those of few, and where one is written more than all
// others, each by itself. Without such syncs each log is synced.
func TestGivenTogether(t *testing.T) {
	for _, c := range []struct {
		name       string
		memory     bool
		partitions int32
		hot        bool // the first partition is written as often as all others
		together   bool
	}{
		{"few", false, manyLogs - 1, false, false},
		{"many", false, manyLogs, false, true},
		{"many in memory", true, manyLogs, false, false},
		{"one beside many", false, 2 * manyLogs, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			real, err := os.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer real.Close()
			asked := 0
			cfg := Config{Dir: "/data", FS: vfs.NewMem(), Synchronous: true, Fsync: FsyncOS}
			if !c.memory {
				cfg.Dir, cfg.FS = t.TempDir(), &toldFS{FS: vfs.Default, fd: real.Fd(), told: func(*toldDir) bool { asked++; return false }}
			}
			b, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Kill()
			if _, err := b.topics.create("t", c.partitions, nil, false); err != nil {
				t.Fatal(err)
			}
			parts := b.topics.byName("t").parts()
			asked = 0
			for range 3 {
				for n, p := range parts {
					writePiece(t, p)
					if n > 0 && c.hot {
						writePiece(t, parts[0])
					}
				}
			}
			if c.together != (asked > 0) {
				t.Errorf("the file system was synced %d times", asked)
			}
			for n, p := range parts {
				if end := p.log.SyncedEnd(); end < 2 == c.memory {
					t.Errorf("log %d of %d is durable up to %d", n, len(parts), end)
				}
			}
			if n := len(b.outflow.wait); n >= togetherLogs || b.outflow.giving {
				t.Errorf("%d pieces wait", n)
			}
		})
	}
}

// TestGivenTogetherHasABound: while the disk is given pieces others wait, but not all; and
// none while that takes long.
func TestGivenTogetherHasABound(t *testing.T) {
	const logs = 5 * togetherLogs
	var o outflow
	parts := make([]partition, logs)
	now := time.UnixMilli(1_700_000_000_000)
	write := func() (kept, begun int) {
		for n := range parts {
			k, begin := o.gather(&parts[n], now)
			if k {
				kept++
			}
			if begin {
				begun++
			}
		}
		return kept, begun
	}
	for n := range logs {
		o.recent[n%recentPieces] = &parts[n]
	}
	if kept, begun := write(); kept != 2*togetherLogs || begun != 1 {
		t.Errorf("%d of %d pieces are kept, begun %d times", kept, logs, begun)
	}
	if kept, begun := write(); kept != 2*togetherLogs || begun != 0 {
		t.Errorf("%d of %d pieces of logs that wait are kept, begun %d times", kept, logs, begun)
	}
	if got := len(o.gathered()); got != 2*togetherLogs {
		t.Errorf("%d logs are given", got)
	}
	if o.gathered() != nil {
		t.Error("nothing is given without end")
	}
	if kept, begun := write(); kept != 2*togetherLogs || begun != 1 {
		t.Errorf("after that %d of %d pieces are kept, begun %d times", kept, logs, begun)
	}
	for range 2 {
		o.pacing.took(2*slowGiving, slowGiving, now)
	}
	if kept, _ := write(); kept != 0 {
		t.Errorf("%d of %d pieces are kept for a disk that others write to", kept, logs)
	}
}

// TestGivingHoldsNobodyUp: while the disk is given pieces, and does not take them, all goes
// on: partitions are written, made durable and deleted, and the broker ends once it has them.
func TestGivingHoldsNobodyUp(t *testing.T) {
	real, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	var rest atomic.Pointer[toldDir]
	var armed atomic.Bool
	gives, goes := make(chan struct{}), make(chan struct{})
	fs := &toldFS{FS: vfs.Default, fd: real.Fd(), told: func(d *toldDir) bool {
		if !armed.Load() {
			rest.Store(d)
		} else if d == rest.Load() {
			gives <- struct{}{}
			<-goes
		}
		return false
	}}
	b, err := Open(Config{Dir: t.TempDir(), FS: fs, Fsync: FsyncOS, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.topics.create("t", recentPieces, nil, false); err != nil {
		t.Fatal(err)
	}
	parts := b.topics.byName("t").parts()
	b.syncer.rest.Fd()
	armed.Store(true)
	for range 2 {
		for _, p := range parts {
			writePiece(t, p)
		}
	}
	<-gives
	for _, p := range parts {
		writePiece(t, p)
		done := make(chan error, 1)
		p.syncTo(p.log.End(), func(err error) { done <- err })
		if err := <-done; err != nil || p.log.SyncedEnd() != 3 {
			t.Fatalf("durable up to %d: %v", p.log.SyncedEnd(), err)
		}
	}
	if err := b.topics.delete(b.topics.byName("t")); err != nil {
		t.Fatal(err)
	}
	armed.Store(false)
	close(goes)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
