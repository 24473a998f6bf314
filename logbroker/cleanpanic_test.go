package logbroker

import (
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestCompactionThatPanics: a fault of the program that the records of one log bring out
// is told once, and costs the others nothing: they are compacted, that one is read and
// written as before.
func TestCompactionThatPanics(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	var log syncBuffer
	var faulty atomic.Bool
	w.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	w.cfg.FS = errorfs.Wrap(w.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt && strings.Contains(op.Path, "/t-0/") && faulty.CompareAndSwap(true, false) {
			panic("nobody thought of this")
		}
		return nil
	}))
	w.open()
	configs := map[string]string{"internal.segment.bytes": "14", "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0"}
	if _, err := w.topics.create("t", 2, configs, false); err != nil {
		t.Fatal(err)
	}
	for p := range int32(2) {
		for _, r := range []string{"a=1", "a=2", "a=3", "b=1"} {
			w.want(w.produce(13, nil, p, w.keyed(w.now, r)).ErrorCode, nil)
		}
	}
	for again := range 3 {
		faulty.Store(again == 0)
		w.Clean()
		if faulty.Load() {
			t.Fatal("nothing was read")
		}
		if got := w.values(0, false); !slices.Equal(got[:4], []string{"1", "2", "3", "1"}) {
			t.Errorf("the log with the fault has %q", got)
		}
		if got := w.values(1, false); !slices.Equal(got, []string{"3", "1"}) {
			t.Errorf("the other has %q", got)
		}
		w.want(w.produce(13, nil, 0, w.keyed(w.now, "c=1")).ErrorCode, nil)
	}
	if told := log.String(); strings.Count(told, "a log is not compacted until the next start") != 1 || !strings.Contains(told, "topic=t partition=0") || !strings.Contains(told, "nobody thought of this") {
		t.Errorf("told:\n%s", told)
	}
	w.restart()
	w.Clean()
	if got := w.values(0, false); !slices.Equal(got, []string{"3", "1", "1", "1"}) {
		t.Errorf("after a restart: %q", got)
	}
}
