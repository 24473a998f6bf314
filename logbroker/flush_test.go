package logbroker

import (
	"testing"
	"time"
)

// newUnsynced is a broker that acknowledges from the page cache, and the partition of its
// topic t.
func newUnsynced(t *testing.T) (*workbench, *partition) {
	t.Helper()
	w := newWorkbench(t)
	w.Kill()
	w.cfg.Fsync = FsyncOS
	w.open()
	w.topicWith()
	p := w.topics.byName("t").parts()[0]
	return w, p
}

// TestFlushOfATopic: where the broker acknowledges from the page cache, a topic can be made
// to wait for the disk, and what is unsynced does not stay so for longer than it says.
func TestFlushOfATopic(t *testing.T) {
	w, p := newUnsynced(t)
	unsynced := func() int64 { return p.log.End() - p.log.SyncedEnd() }
	produce := func() {
		t.Helper()
		w.want(w.produce(13, nil, 0, w.keyed(w.now, "k=v")).ErrorCode, nil)
	}
	if produce(); unsynced() != 1 {
		t.Fatalf("%d records are not on disk, want 1", unsynced())
	}
	w.setConfig("flush.messages", "1")
	if produce(); unsynced() != 0 {
		t.Errorf("%d acknowledged records are not on disk", unsynced())
	}
	w.setConfig("flush.messages", "2")
	if produce(); unsynced() != 1 {
		t.Errorf("%d records are not on disk, want 1", unsynced())
	}
	w.pass(idleSyncDelay)
	w.setConfig("flush.ms", "20")
	if produce(); unsynced() != 1 {
		t.Errorf("%d records are not on disk, want 1", unsynced())
	}
	w.pass(19 * time.Millisecond)
	if unsynced() != 1 {
		t.Error("what was written is synced before its time")
	}
	if w.pass(time.Millisecond); unsynced() != 0 {
		t.Errorf("%d records are not on disk when their time is over", unsynced())
	}
}

// TestEndsHoldWhatIsAcknowledged: who asks for the end of a partition is told of all that was
// acknowledged, also where it is not durable yet; and what it is told of is durable.
func TestEndsHoldWhatIsAcknowledged(t *testing.T) {
	w, p := newUnsynced(t)
	for i, c := range []struct{ at, want int64 }{{latestOffset, 1}, {maxTimestamp, 1}, {0, 0}, {latestOffset, 4}} {
		w.want(w.produce(13, nil, 0, w.keyed(w.now.Add(time.Duration(i)*time.Second), "k=v")).ErrorCode, nil)
		if w.offsetAt(earliestOffset); p.log.End() != p.log.SyncedEnd()+1 {
			t.Fatalf("end %d, durable %d: want one that is not durable", p.log.End(), p.log.SyncedEnd())
		}
		if offset := w.offsetAt(c.at); offset != c.want {
			t.Errorf("time %d: offset %d, want %d", c.at, offset, c.want)
		}
		if end, synced := p.log.End(), p.log.SyncedEnd(); end != synced {
			t.Errorf("time %d: end %d, durable %d", c.at, end, synced)
		}
	}
	w.want(w.produce(13, nil, 0, w.keyed(w.now, "k=v")).ErrorCode, nil)
	if start, err := w.deleteRecords("t", 0, p.log.End()); err != nil || start != p.log.End() {
		t.Errorf("deleted up to %d, %v: want %d", start, err, p.log.End())
	}
}
