package logbroker

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// segments is how many segments topic "t" has.
func (w *workbench) segments() int {
	w.t.Helper()
	names, err := w.fs.List(w.topics.dir("t", 0))
	if err != nil {
		w.t.Fatal(err)
	}
	n := 0
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			n++
		}
	}
	return n
}

// TestConfigsAreInForceAtOnce: each config that a topic is ruled by, set while the
// broker runs, holds for what comes next, and goes back when it is deleted.
func TestConfigsAreInForceAtOnce(t *testing.T) {
	start := func(t *testing.T, configs ...string) *workbench {
		w := newWorkbench(t)
		w.topicWith(configs...)
		return w
	}
	put := func(w *workbench, want *kerr.Error, records ...string) {
		w.t.Helper()
		w.want(w.put(records...).ErrorCode, want)
	}
	is := func(w *workbench, want ...string) {
		w.t.Helper()
		w.Clean()
		if got := w.records(); !slices.Equal(got, want) {
			w.t.Errorf("records %q, want %q", got, want)
		}
	}
	compacted := []string{"cleanup.policy=compact", "internal.segment.bytes=14", "min.cleanable.dirty.ratio=0"}
	for name, test := range map[string]func(t *testing.T){
		"max.message.bytes": func(t *testing.T) {
			w := start(t)
			put(w, nil, "k="+strings.Repeat("x", 1000))
			w.setConfig("max.message.bytes", "500")
			put(w, kerr.MessageTooLarge, "k="+strings.Repeat("x", 1000))
			put(w, nil, "k=small")
			w.unsetConfig("max.message.bytes")
			put(w, nil, "k="+strings.Repeat("x", 1000))
		},
		"internal.segment.bytes": func(t *testing.T) {
			w := start(t)
			put(w, nil, "k=1")
			put(w, nil, "k=2")
			if n := w.segments(); n != 1 {
				t.Fatalf("%d segments", n)
			}
			w.setConfig("internal.segment.bytes", "14")
			put(w, nil, "k=3")
			put(w, nil, "k=4")
			if n := w.segments(); n != 3 {
				t.Errorf("%d segments, want 3", n)
			}
			w.unsetConfig("internal.segment.bytes")
			put(w, nil, "k=5")
			if n := w.segments(); n != 3 {
				t.Errorf("%d segments, want 3 still", n)
			}
		},
		"segment.ms": func(t *testing.T) {
			w := start(t)
			put(w, nil, "k=1")
			w.pass(2 * time.Second)
			put(w, nil, "k=2")
			if n := w.segments(); n != 1 {
				t.Fatalf("%d segments", n)
			}
			w.setConfig("segment.ms", "1000")
			put(w, nil, "k=3")
			if n := w.segments(); n != 2 {
				t.Errorf("%d segments, want 2", n)
			}
		},
		"message.timestamp.after.max.ms": func(t *testing.T) {
			w := start(t)
			late := func() int16 { return w.produce(13, nil, 0, w.keyed(w.now.Add(time.Minute), "k=v")).ErrorCode }
			w.want(late(), nil)
			w.setConfig("message.timestamp.after.max.ms", "1000")
			w.want(late(), kerr.InvalidTimestamp)
			w.unsetConfig("message.timestamp.after.max.ms")
			w.want(late(), nil)
		},
		"message.timestamp.before.max.ms": func(t *testing.T) {
			w := start(t)
			early := func() int16 { return w.produce(13, nil, 0, w.keyed(w.now.Add(-time.Minute), "k=v")).ErrorCode }
			w.want(early(), nil)
			w.setConfig("message.timestamp.before.max.ms", "1000")
			w.want(early(), kerr.InvalidTimestamp)
			w.setConfig("message.timestamp.before.max.ms", "60000")
			w.want(early(), nil)
		},
		"message.timestamp.type": func(t *testing.T) {
			w := start(t)
			if at := w.put("k=v").LogAppendTime; at != -1 {
				t.Errorf("append time %d", at)
			}
			w.setConfig("message.timestamp.type", "LogAppendTime")
			w.pass(time.Second)
			if at := w.put("k=v").LogAppendTime; at != w.now.UnixMilli() {
				t.Errorf("append time %d", at)
			}
		},
		"compression.type": func(t *testing.T) {
			w := start(t)
			put(w, nil, "k="+strings.Repeat("x", 1000))
			w.setConfig("compression.type", "zstd")
			put(w, nil, "k="+strings.Repeat("x", 1000))
			res, err := w.Fetch("t", 0, 1, false, 1, nil)
			if err != nil || recordbatch.Batch(res.Batches).Codec() != recordbatch.CodecZstd {
				t.Errorf("stored as %d, %v", recordbatch.Batch(res.Batches).Codec(), err)
			}
		},
		"retention.ms": func(t *testing.T) {
			w := start(t)
			put(w, nil, "k=1")
			w.pass(time.Minute)
			is(w, "k=1@0")
			w.setConfig("retention.ms", "1000")
			is(w)
		},
		"retention.bytes": func(t *testing.T) {
			w := start(t, "internal.segment.bytes=14")
			put(w, nil, "k=1")
			put(w, nil, "k=2")
			is(w, "k=1@0", "k=2@1")
			w.setConfig("retention.bytes", "1")
			is(w, "k=2@1")
		},
		"cleanup.policy": func(t *testing.T) {
			w := start(t, "internal.segment.bytes=14", "min.cleanable.dirty.ratio=0")
			for _, r := range []string{"k=1", "k=2", "l=1"} {
				put(w, nil, r)
			}
			put(w, nil, "=a record without a key")
			is(w, "k=1@0", "k=2@1", "l=1@2", "=a record without a key@3")
			w.setConfig("cleanup.policy", "compact")
			put(w, kerr.InvalidRecord, "=another")
			put(w, nil, "m=1")
			is(w, "k=2@1", "l=1@2", "m=1@4") // what has no key has no newest
			w.setConfig("cleanup.policy", " ")
			put(w, nil, "m=2")
			put(w, nil, "m=3")
			is(w, "k=2@1", "l=1@2", "m=1@4", "m=2@5", "m=3@6")
			w.setConfig("cleanup.policy", "compact, delete")
			put(w, nil, "n=1")
			is(w, "k=2@1", "l=1@2", "m=3@6", "n=1@7")
			w.setConfig("retention.ms", "0")
			w.pass(time.Second)
			is(w)
		},
		"delete.retention.ms": func(t *testing.T) {
			w := start(t, compacted...)
			put(w, nil, "k")
			put(w, nil, "l=1")
			w.setConfig("delete.retention.ms", "1000")
			is(w, "k@0", "l=1@1") // its time begins when it is first seen
			w.pass(2 * time.Second)
			put(w, nil, "m=1")
			is(w, "l=1@1", "m=1@2")
		},
		"min.compaction.lag.ms": func(t *testing.T) {
			w := start(t, append(compacted, "min.compaction.lag.ms=60000")...)
			for _, r := range []string{"k=1", "k=2", "l=1"} {
				put(w, nil, r)
			}
			is(w, "k=1@0", "k=2@1", "l=1@2")
			w.pass(59 * time.Second)
			is(w, "k=1@0", "k=2@1", "l=1@2")
			w.setConfig("min.compaction.lag.ms", "1000")
			is(w, "k=2@1", "l=1@2")
		},
		"max.compaction.lag.ms": func(t *testing.T) {
			w := start(t, "cleanup.policy=compact", "internal.segment.bytes=14", "min.cleanable.dirty.ratio=1")
			for _, r := range []string{"k=1", "k=2", "l=1"} {
				put(w, nil, r)
			}
			w.Clean()
			for _, r := range []string{"k=3", "l=2", "m=1"} { // less than all is dirty now
				put(w, nil, r)
			}
			w.pass(time.Minute)
			is(w, "k=2@1", "l=1@2", "k=3@3", "l=2@4", "m=1@5")
			w.setConfig("max.compaction.lag.ms", "30000")
			is(w, "k=3@3", "l=2@4", "m=1@5")
		},
		"min.cleanable.dirty.ratio": func(t *testing.T) {
			w := start(t, "cleanup.policy=compact", "internal.segment.bytes=14", "min.cleanable.dirty.ratio=1")
			for _, r := range []string{"k=1", "k=2", "l=1"} {
				put(w, nil, r)
			}
			w.Clean()
			for _, r := range []string{"k=3", "l=2", "m=1"} {
				put(w, nil, r)
			}
			is(w, "k=2@1", "l=1@2", "k=3@3", "l=2@4", "m=1@5")
			w.setConfig("min.cleanable.dirty.ratio", "0.1")
			is(w, "k=3@3", "l=2@4", "m=1@5")
		},
	} {
		t.Run(name, test)
	}
}

// unsetConfig takes a config of topic "t" back to its default.
func (w *workbench) unsetConfig(name string) {
	w.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
	r.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: name, Op: kmsg.IncrementalAlterConfigOpDelete}}
	req.Resources = append(req.Resources, r)
	w.want(ask[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources[0].ErrorCode, nil)
}

// TestDeletedRecordsOfACompactedTopic: what is below the new start does not come
// back, whether it is compacted before, after, or both, and whatever crashes.
func TestDeletedRecordsOfACompactedTopic(t *testing.T) {
	for _, before := range []bool{false, true} {
		w := newWorkbench(t)
		w.topicWith("internal.segment.bytes=14", "cleanup.policy=compact,delete", "min.cleanable.dirty.ratio=0", "retention.ms=-1")
		for _, r := range []string{"a=1", "b=1", "a=2", "c=1", "b=2", "d=1"} {
			w.want(w.put(r).ErrorCode, nil)
		}
		if before {
			w.Clean()
		}
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.Version = 2
		req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 3}}}}
		got := ask[*kmsg.DeleteRecordsResponse](w, req).Topics[0].Partitions[0]
		w.want(got.ErrorCode, nil)
		if got.LowWatermark != 3 {
			t.Errorf("low watermark %d", got.LowWatermark)
		}
		check := func(what string) {
			t.Helper()
			if got := w.records(); !slices.Equal(got, []string{"c=1@3", "b=2@4", "d=1@5"}) {
				t.Errorf("compacted before %v, %s: %q", before, what, got)
			}
			if _, err := w.Fetch("t", 0, 2, false, 1, nil); !errors.Is(err, kerr.OffsetOutOfRange) {
				t.Errorf("compacted before %v, %s: offset 2 is read: %v", before, what, err)
			}
		}
		check("deleted")
		w.restart()
		check("killed")
		w.Clean()
		check("compacted")
		w.losePower("boot-2")
		w.Clean()
		check("without power")
		w.setConfig("cleanup.policy", "compact")
		got = ask[*kmsg.DeleteRecordsResponse](w, req).Topics[0].Partitions[0]
		w.want(got.ErrorCode, kerr.PolicyViolation) // as in Kafka
	}
}

// TestABadBatchStopsNoOtherCleaning: a batch whose records nobody can read stops the
// compaction of its log, which is said, and nothing else.
func TestABadBatchStopsNoOtherCleaning(t *testing.T) {
	w := newWorkbench(t)
	log := &syncBuffer{}
	w.Kill()
	w.cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	w.open()
	w.topicWith("internal.segment.bytes=14", "min.cleanable.dirty.ratio=0", "retention.ms=-1") // looks into no record yet
	bad := w.keyed(w.now, "k=v")
	bad[recordbatch.HeaderSize] = 0xff // the length of a record
	bad.SetCRC()
	if _, err := w.append(w.topics.byName("t").parts()[0], bad, nil, false); err != nil { // past the checks of what clients send
		t.Fatal(err)
	}
	w.want(w.put("k=1").ErrorCode, nil)
	w.want(w.put("k=2").ErrorCode, nil)
	if _, err := w.topics.create("zebra", 1, map[string]string{"cleanup.policy": "compact", "internal.segment.bytes": "14", "min.cleanable.dirty.ratio": "0"}, false); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		p := w.topics.byName("zebra").parts()[0]
		if _, err := w.append(p, w.keyed(w.now, fmt.Sprint("k=", i)), nil, false); err != nil {
			t.Fatal(err)
		}
		p.sync()
	}
	w.setConfig("cleanup.policy", "compact")
	for range 3 {
		w.Clean()
	}
	if n := strings.Count(log.String(), "is not compacted"); n != 1 {
		t.Errorf("it is said %d times, want once:\n%s", n, log.String())
	}
	if res, err := w.Fetch("zebra", 0, 0, false, 1, nil); err != nil || recordbatch.Batch(res.Batches).BaseOffset() != 1 {
		t.Errorf("the other log was not compacted: %v", err)
	}
	w.want(w.put("k=3").ErrorCode, nil)
	if res, err := w.Fetch("t", 0, 0, false, 1, nil); err != nil || len(res.Batches) != len(bad) {
		t.Errorf("what was stored is not read: %v", err)
	}
}

// TestDeletionIsInterrupted: a topic that is deleted and made again while the disk
// dies, at every write, is after the restart the old one with all it had, or gone, or
// the new one with nothing.
func TestDeletionIsInterrupted(t *testing.T) {
	for _, power := range []bool{false, true} {
		for n, done := 0, false; !done; n++ {
			w := newWorkbench(t)
			w.Kill()
			var left atomic.Int64 // writes that succeed; the database has goroutines
			left.Store(1 << 30)
			w.cfg.FS = errorfs.Wrap(w.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && left.Add(-1) < 0 {
					return errors.New("the disk died")
				}
				return nil
			}))
			w.open()
			w.topic("t", 2)
			w.want(w.produce(13, nil, 0, oneRecord(-1, -1, -1, false, "old")).ErrorCode, nil)
			w.want(w.commitAs("", -1), nil)
			id := "a"
			pid, epoch := w.initID(id)
			w.want(w.commitOffset(id, pid, epoch, "g", 100).Topics[0].Partitions[0].ErrorCode, nil)
			old := w.topics.byName("t").id
			left.Store(int64(n))
			deleted := w.topics.delete(w.topics.byName("t"))
			_, created := w.topics.create("t", 1, map[string]string{}, false)
			done = left.Load() > 0
			w.Kill()
			if w.cfg.FS = w.fs; power {
				w.fs = w.fs.CrashClone(vfs.CrashCloneCfg{})
				w.cfg.FS, w.cfg.BootID = w.fs, func() string { return "boot-2" }
			}
			w.open()
			switch found := w.topics.byName("t"); {
			case found == nil && created == nil:
				t.Errorf("write %d: the new topic is lost", n)
			case found == nil:
				w.topic("t", 1)
			case found.id == old && deleted == nil:
				t.Errorf("write %d: the topic that was deleted is there", n)
			case found.id == old:
				if got := w.values(0, false); len(found.parts()) != 2 || !slices.Equal(got, []string{"old"}) {
					t.Errorf("write %d: the old topic has %q", n, got)
				}
				w.wantOffset(1)
			}
			if !power {
				w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil) // whatever is left of it
			}
			if found := w.topics.byName("t"); found.id != old {
				if got := w.values(0, false); len(got) > 0 {
					t.Errorf("write %d: the new topic has %q", n, got)
				}
				w.wantOffset(-1)
			}
			if names, err := w.fs.List(w.dir.Join(deletedDir)); err != nil || len(names) > 0 {
				t.Errorf("write %d: left over: %q, %v", n, names, err)
			}
			w.Kill()
		}
	}
}
