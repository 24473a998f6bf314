package logbroker

import (
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestEarlyWriting: where acknowledgements do not wait for the disk it gets what was
// written in pieces, without a sync; but for who waits to read it, and where a sync is
// promised soon, it is synced.
func TestEarlyWriting(t *testing.T) {
	for _, c := range []struct {
		name    string
		policy  FsyncPolicy
		watched bool
		fs      vfs.FS
		syncs   bool
	}{
		{"page cache", FsyncOS, false, vfs.Default, false},
		{"page cache, in memory", FsyncOS, false, vfs.NewMem(), true},
		{"page cache, watched", FsyncOS, true, vfs.Default, true},
		{"interval", FsyncInterval, false, vfs.Default, true},
	} {
		b, err := Open(Config{Dir: t.TempDir(), FS: c.fs, Synchronous: true, Fsync: c.policy})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.topics.create("t", 1, nil, false); err != nil {
			t.Fatal(err)
		}
		p := b.topics.byName("t").parts()[0]
		if c.watched {
			p.watch(false, func() {})
		}
		const batches = 2*earlySyncBytes/(1<<19) - 1 // the second piece is not whole
		for range batches {
			if _, err := p.append(oneRecord(-1, -1, -1, false, strings.Repeat("v", 1<<19))); err != nil {
				t.Fatal(err)
			}
		}
		if synced := p.log.SyncedEnd(); synced != 0 != c.syncs {
			t.Errorf("%s: synced up to %d of %d", c.name, synced, batches)
		}
		if left := p.unsynced.Load(); left <= 0 || left >= earlySyncBytes {
			t.Errorf("%s: %d bytes count as not given to the disk", c.name, left)
		}
		b.Kill()
	}
}

// TestTurns: the partitions of a topic, and topics, do not give the disk their pieces at
// once.
func TestTurns(t *testing.T) {
	b := &Broker{cfg: Config{Fsync: FsyncOS}}
	var turns []int64
	for _, id := range [][16]byte{{}, {0xff, 0xff, 0xff, 0xff}} {
		turns = turns[:0]
		for n := range int32(16) {
			p := &partition{broker: b, topic: &topic{id: id}, index: n}
			turns = append(turns, p.turn())
		}
		slices.Sort(turns)
		for n, at := range turns {
			if next := turns[(n+1)%len(turns)]; at < 0 || at >= earlySyncBytes || n > 0 && at-turns[n-1] < earlySyncBytes/64 || n == 15 && next+earlySyncBytes-at < earlySyncBytes/64 {
				t.Errorf("turns %v", turns)
			}
		}
	}
	of := func(id byte) int64 { return (&partition{broker: b, topic: &topic{id: [16]byte{3: id}}}).turn() }
	if of(1) == of(2) {
		t.Error("two topics have the same turn")
	}
	b.cfg.Fsync = FsyncAlways
	if n := of(1); n != 0 {
		t.Errorf("where each write is synced, a turn of %d", n)
	}
}
