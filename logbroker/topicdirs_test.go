package logbroker

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// resist opens the broker on a disk that refuses calls on the directories of topic
// "t", live or deleted, as long as on.
func (w *workbench) resist(kind errorfs.OpKind, on *atomic.Bool) {
	w.Kill()
	w.cfg.FS = errorfs.Wrap(w.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if on.Load() && op.Kind == kind && (strings.Contains(op.Path, "/t-") || strings.Contains(op.Path, deletedDir+"/")) {
			return syscall.EIO
		}
		return nil
	}))
	w.open()
}

// tryTopic creates topic "t" and returns the error code.
func (w *workbench) tryTopic(partitions int32) int16 {
	w.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = "t", partitions, 1
	req.Topics = append(req.Topics, t)
	return ask[*kmsg.CreateTopicsResponse](w, req).Topics[0].ErrorCode
}

// TestDeletionThatResists: a topic is deleted though its directories cannot be moved
// or removed. Its name is free when they are; whatever is acknowledged under it then
// stays, and nothing of the old topic is seen.
func TestDeletionThatResists(t *testing.T) {
	for name, kind := range map[string]errorfs.OpKind{"rename": errorfs.OpRename, "remove": errorfs.OpRemoveAll} {
		t.Run(name, func(t *testing.T) {
			w := newWorkbench(t)
			resists := new(atomic.Bool)
			w.resist(kind, resists)
			w.topic("t", 2)
			w.want(w.produce(9, nil, 0, oneRecord(-1, -1, -1, false, "old")).ErrorCode, nil)
			resists.Store(true)
			w.deleteTopic("t")
			w.want(w.tryTopic(2), kerr.KafkaStorageError)
			w.restart()
			w.want(w.tryTopic(2), kerr.KafkaStorageError)
			resists.Store(false)
			w.topic("t", 2)
			for p := range int32(2) {
				w.want(w.produce(9, nil, p, oneRecord(-1, -1, -1, false, "new")).ErrorCode, nil)
			}
			for _, boot := range []string{"boot-1", "boot-2", "boot-3"} {
				w.losePower(boot)
				for p := range int32(2) {
					if got := w.values(p, false); !slices.Equal(got, []string{"new"}) {
						t.Fatalf("partition %d of the new topic has %q", p, got)
					}
				}
			}
		})
	}
}

// TestDeletionIsTriedAgain: the directories of a deleted topic go with the next
// cleaning that can remove them.
func TestDeletionIsTriedAgain(t *testing.T) {
	w := newWorkbench(t)
	resists := new(atomic.Bool)
	w.resist(errorfs.OpRemoveAll, resists)
	w.topic("t", 1)
	resists.Store(true)
	w.deleteTopic("t")
	w.Clean()
	left := func() []string {
		names, err := w.fs.List(w.dir.Join(deletedDir))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	if len(left()) == 0 {
		t.Fatal("the disk did not resist")
	}
	resists.Store(false)
	w.Clean()
	if names := left(); len(names) > 0 {
		t.Errorf("still there: %q", names)
	}
}

// TestDirectoriesOfNoTopic: files that lie where a new partition would have its own
// are neither taken for its records nor removed, and are told of, to who would have them and
// at each start.
func TestDirectoriesOfNoTopic(t *testing.T) {
	w := newWorkbench(t)
	log := w.hear()
	w.topic("t", 1)
	stray := w.topics.dir("t", 1)
	if err := w.fs.MkdirAll(stray, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := w.fs.Create(w.fs.PathJoin(stray, "00000000000000000000.log"), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.topics.grow("t", 2, false); errorCode(err) != kerr.KafkaStorageError.Code {
		t.Errorf("a partition was added there: %v", err)
	}
	w.deleteTopic("t")
	w.want(w.tryTopic(2), kerr.KafkaStorageError)
	if _, err := w.topics.create("t", 2, nil, false); !strings.Contains(errorMessage(err), "belongs to no topic") || strings.Contains(errorMessage(err), stray) {
		t.Errorf("who makes a topic is told %v", err)
	}
	w.topic("t", 1)
	const warning = "level=WARN msg=\"directory holds files and belongs to no topic"
	if strings.Contains(log.String(), warning) {
		t.Errorf("told too early:\n%s", log)
	}
	w.restart()
	if text := log.String(); strings.Count(text, warning) != 1 || !strings.Contains(text, "dir="+stray) {
		t.Errorf("the start said:\n%s", text)
	}
	if names, err := w.fs.List(stray); err != nil || len(names) != 1 {
		t.Errorf("in %s: %q, %v", stray, names, err)
	}
}

// TestEmptiedDirectory: a partition whose files somebody removed while the broker was
// down does not give its offsets out anew, however it ended.
func TestEmptiedDirectory(t *testing.T) {
	stop := func(w *workbench) {
		if err := w.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		end     func(*workbench)
		records int
		trimmed int64
		want    *kerr.Error
		told    string
	}{
		"orderly end":              {stop, 2, 0, kerr.KafkaStorageError, "no segment is there; restore the file from a copy, or delete the topic"},
		"orderly end, no records":  {stop, 0, 0, kerr.KafkaStorageError, "no segment is there"},
		"killed, with a log start": {func(w *workbench) { w.Kill() }, 2, 1, kerr.KafkaStorageError, "no segment is there"},
		"killed":                   {func(w *workbench) { w.Kill() }, 2, 0, kerr.KafkaStorageError, "no segment is there"},
		"killed, no records":       {func(w *workbench) { w.Kill() }, 0, 0, kerr.KafkaStorageError, "no segment is there"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkbench(t)
			log := w.hear()
			w.topic("t", 2)
			for range test.records {
				w.want(w.produce(9, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
			}
			if test.trimmed > 0 {
				if _, err := w.deleteRecords("t", 0, test.trimmed); err != nil {
					t.Fatal(err)
				}
			}
			dir := w.topics.dir("t", 0)
			test.end(w)
			if strings.Contains(log.String(), "level=WARN") {
				t.Fatalf("told before:\n%s", log.String())
			}
			names, err := w.fs.List(dir)
			for _, file := range names {
				err = errors.Join(err, w.fs.Remove(w.fs.PathJoin(dir, file)))
			}
			if err != nil {
				t.Fatal(err)
			}
			w.open()
			w.want(w.produce(9, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, test.want)
			w.want(w.produce(9, nil, 1, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
			for _, want := range []string{test.told, dir, "topic=t partition=0"} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("no %q in\n%s", want, log.String())
				}
			}
			if strings.Contains(log.String(), "partition=1 ") {
				t.Errorf("told of the other partition:\n%s", log.String())
			}
		})
	}
}

// TestSegmentThatCouldNotBeMade: a partition whose first segment could not be made, of
// a topic that is new or one that grows, begins when it can be, however the broker
// ended meanwhile. From then on it is one that had files.
func TestSegmentThatCouldNotBeMade(t *testing.T) {
	stop := func(w *workbench) {
		if err := w.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	kill := func(w *workbench) { w.Kill() }
	for name, ends := range map[string][]func(*workbench){
		"orderly end": {stop}, "killed": {kill}, "twice": {stop, stop}, "killed, then an orderly end": {kill, stop}, "an orderly end, then killed": {stop, kill},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkbench(t)
			w.Kill()
			var full atomic.Bool
			w.cfg.FS = errorfs.Wrap(w.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if full.Load() && op.Kind == errorfs.OpOpen && strings.HasSuffix(op.Path, ".log") && (strings.Contains(op.Path, "/t-1/") || strings.Contains(op.Path, "/u-0/")) {
					return syscall.ENOSPC
				}
				return nil
			}))
			w.open()
			w.topic("t", 1)
			w.want(w.produce(9, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
			full.Store(true)
			if err := w.topics.grow("t", 2, false); err != nil {
				t.Fatal(err)
			}
			w.createTopic("u")
			for i, end := range ends {
				w.want(w.produce(9, nil, 1, oneRecord(-1, -1, -1, false, "v")).ErrorCode, kerr.KafkaStorageError)
				end(w)
				full.Store(i < len(ends)-1)
				w.open()
			}
			w.want(w.produce(9, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
			w.want(w.produce(9, nil, 1, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
			if n := w.topics.offline(); n != 0 {
				t.Errorf("%d partitions are offline", n)
			}
			stop(w)
			dir := w.topics.dir("t", 1)
			if err := w.fs.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := w.fs.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			w.open()
			w.want(w.produce(9, nil, 1, oneRecord(-1, -1, -1, false, "v")).ErrorCode, kerr.KafkaStorageError)
		})
	}
}

// TestPartitionsWithoutDescriptors: partitions of a new topic for which there were no
// more file descriptors, not even to look into their directories, begin when there are.
func TestPartitionsWithoutDescriptors(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	var few, made atomic.Bool
	w.cfg.FS = errorfs.Wrap(w.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !few.Load() || !strings.Contains(op.Path, "/t-1") {
			return nil
		}
		switch op.Kind {
		case errorfs.OpMkdirAll:
			made.Store(true)
		case errorfs.OpCreate, errorfs.OpOpen, errorfs.OpOpenDir, errorfs.OpReuseForWrite, errorfs.OpList:
			if made.Load() {
				return syscall.EMFILE
			}
		}
		return nil
	}))
	w.open()
	few.Store(true)
	w.topic("t", 2)
	for range 2 { // one more end does not change it
		w.want(w.produce(9, nil, 1, oneRecord(-1, -1, -1, false, "v")).ErrorCode, kerr.KafkaStorageError)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		w.open()
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	few.Store(false)
	w.open()
	w.want(w.produce(9, nil, 1, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
}

// TestDeletionWritesNoLog: what is deleted needs no checkpoint.
func TestDeletionWritesNoLog(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	var deleting atomic.Bool
	var writes atomic.Int32
	w.cfg.FS = errorfs.Wrap(w.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if deleting.Load() && strings.Contains(op.Path, "/logs/") && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileSync) {
			writes.Add(1)
		}
		return nil
	}))
	w.open()
	if _, err := w.topics.create("t", 3, nil, false); err != nil {
		t.Fatal(err)
	}
	w.want(w.produce(13, nil, 0, w.keyed(w.now, "a=1")).ErrorCode, nil)
	deleting.Store(true)
	if err := w.topics.delete(w.topics.byName("t")); err != nil || writes.Load() != 0 {
		t.Errorf("%v; the logs were written to %d times", err, writes.Load())
	}
}
