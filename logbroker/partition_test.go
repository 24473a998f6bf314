package logbroker

import (
	"testing"
	"time"
)

// A log syncs by itself when it rolls a segment; who waits lazily for what was
// synced so must be served, though no sync is left to do.
func TestLazyWaitersAreServedAfterARoll(t *testing.T) {
	w := newWorkbench(t)
	w.cfg.SegmentBytes = 200
	w.restart()
	w.topic("t", 1)
	p, err := w.topics.partition(w.topics.byName("t"), 0)
	if err != nil {
		t.Fatal(err)
	}
	append1 := func() {
		if _, err := w.Append("t", 0, oneRecord(-1, -1, -1, false, "some value")); err != nil {
			t.Fatal(err)
		}
	}
	append1()
	served, told := false, 0
	p.whenSynced(p.log.End(), func(error) { served = true })
	defer p.watch(true, func() { told++ })()
	waited := p.log.End()
	for p.log.SyncedEnd() < waited {
		append1()
		if p.log.End() > 100 {
			t.Fatal("the log never rolled")
		}
	}
	if err := p.log.Sync(); err != nil { // so that the late sync finds nothing to do
		t.Fatal(err)
	}
	w.pass(2 * time.Second)
	if !served || told == 0 {
		t.Errorf("waiter served: %v, watcher told %d times; want both", served, told)
	}
}
