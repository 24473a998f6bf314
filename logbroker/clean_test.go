package logbroker

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// topicWith creates topic "t" of one partition with configs NAME=VALUE.
func (w *workbench) topicWith(configs ...string) {
	w.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = "t", 1, 1
	for _, c := range configs {
		name, value, _ := strings.Cut(c, "=")
		tc := kmsg.NewCreateTopicsRequestTopicConfig()
		tc.Name, tc.Value = name, &value
		t.Configs = append(t.Configs, tc)
	}
	req.Topics = append(req.Topics, t)
	w.want(ask[*kmsg.CreateTopicsResponse](w, req).Topics[0].ErrorCode, nil)
}

// setConfig changes a config of topic "t".
func (w *workbench) setConfig(name, value string) {
	w.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = name, &value
	r.Configs = append(r.Configs, c)
	req.Resources = append(req.Resources, r)
	w.want(ask[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources[0].ErrorCode, nil)
}

// put produces records KEY=VALUE, or KEY for a tombstone, =VALUE without a key,
// at the time of the clock.
func (w *workbench) put(records ...string) kmsg.ProduceResponseTopicPartition {
	w.t.Helper()
	return w.produce(13, nil, 0, w.keyed(w.now, records...))
}

func (w *workbench) keyed(at time.Time, records ...string) recordbatch.Batch {
	var b recordbatch.Builder
	for _, r := range records {
		k, v, ok := strings.Cut(r, "=")
		key, value := []byte(k), []byte(v)
		if k == "" {
			key = nil
		}
		if !ok {
			value = nil
		}
		b.Append(at.UnixMilli(), key, value, nil)
	}
	batch := b.Batch()
	batch.SetCRC()
	return batch
}

// records are those of topic "t" as KEY=VALUE@OFFSET.
func (w *workbench) records() (out []string) {
	w.t.Helper()
	p, err := w.topics.partition(w.topics.byName("t"), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	var rd recordbatch.Reader
	for next := p.log.Start(); next < p.log.End(); {
		res, err := w.Fetch("t", 0, next, true, 1<<20, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(res.Batches) == 0 {
			return out
		}
		for rest := res.Batches; len(rest) > 0; {
			var b recordbatch.Batch
			if b, rest, err = recordbatch.Split(rest); err == nil {
				err = rd.Reset(b)
			}
			if err != nil {
				w.t.Fatal(err)
			}
			next = b.NextOffset()
			var rec recordbatch.Record
			for {
				ok, err := rd.Next(&rec)
				if err != nil {
					w.t.Fatal(err)
				}
				if !ok {
					break
				}
				value := "=" + string(rec.Value)
				if rec.Value == nil {
					value = ""
				}
				out = append(out, fmt.Sprintf("%s%s@%d", rec.Key, value, rec.Offset))
			}
		}
	}
	return out
}

// TestRetentionOfTopics: time and size, changed while the broker runs, kept over
// a restart and a power loss; policies without delete keep all.
func TestRetentionOfTopics(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith("internal.segment.bytes=14", "retention.ms=-1")
	for i := range 6 {
		w.want(w.put(fmt.Sprint("k=", i)).ErrorCode, nil)
		w.pass(time.Second)
	}
	all := w.records()
	check := func(what string, want int) {
		t.Helper()
		w.Clean()
		if got := w.records(); !slices.Equal(got, all[6-want:]) {
			t.Errorf("%s: %q, want the last %d", what, got, want)
		}
	}
	check("without a bound", 6)
	w.setConfig("retention.ms", "4000")
	check("after 4 s", 4)
	w.restart()
	check("after a SIGKILL", 4)
	w.losePower("boot-2")
	check("after a power loss", 4)
	w.setConfig("retention.bytes", "150")
	check("150 bytes", 3)
	w.setConfig("cleanup.policy", "")
	w.setConfig("retention.ms", "1")
	check("no policy", 3)
	w.setConfig("cleanup.policy", "delete")
	check("all are old", 0)
	w.want(w.put("k=new").ErrorCode, nil)
	if got := w.records(); !slices.Equal(got, []string{"k=new@6"}) {
		t.Errorf("after all went: %q", got)
	}
}

// TestCompactedTopics: the newest of each key stays, tombstones go after their
// time, in either policy.
func TestCompactedTopics(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith("internal.segment.bytes=14", "cleanup.policy=compact", "min.cleanable.dirty.ratio=0", "delete.retention.ms=60000")
	for _, r := range []string{"a=1", "b=1", "a=2", "c=1", "c", "b=2"} {
		w.want(w.put(r).ErrorCode, nil)
	}
	check := func(what string, want ...string) {
		t.Helper()
		w.Clean()
		if got := w.records(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	check("first", "b=1@1", "a=2@2", "c@4", "b=2@5") // the active segment is left alone
	w.pass(61 * time.Second)
	w.want(w.put("d=1").ErrorCode, nil)
	w.want(w.put("e=1").ErrorCode, nil)
	check("after delete.retention.ms", "a=2@2", "b=2@5", "d=1@6", "e=1@7")
	w.restart()
	check("after a SIGKILL", "a=2@2", "b=2@5", "d=1@6", "e=1@7")
	w.setConfig("cleanup.policy", "compact,delete")
	w.setConfig("retention.ms", "1000")
	w.pass(2 * time.Second)
	check("compact,delete")
	w.setConfig("cleanup.policy", "delete")
	w.setConfig("retention.ms", "-1")
	w.want(w.put("a=1").ErrorCode, nil)
	w.want(w.put("a=2").ErrorCode, nil)
	w.want(w.put("a=3").ErrorCode, nil)
	check("delete", "a=1@8", "a=2@9", "a=3@10")
}

// TestNullKeys: a compacted topic refuses what it could never remove, and names
// the records.
func TestNullKeys(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith("cleanup.policy=compact")
	answer := w.put("a=1", "=2", "b=3", "=4")
	w.want(answer.ErrorCode, kerr.InvalidRecord)
	var named []int32
	for _, r := range answer.ErrorRecords {
		named = append(named, r.RelativeOffset)
	}
	if !slices.Equal(named, []int32{1, 3}) || answer.ErrorMessage == nil || !strings.Contains(*answer.ErrorMessage, "without a key") {
		t.Errorf("named %v, message %v", named, answer.ErrorMessage)
	}
	if got := w.records(); len(got) != 0 {
		t.Errorf("records %q of a batch that was refused", got)
	}
	w.want(w.put("a=1").ErrorCode, nil)
}

// TestTimestampRules: what is too far from the clock is refused, and with
// LogAppendTime the broker's clock counts.
func TestTimestampRules(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith("message.timestamp.before.max.ms=5000")
	send := func(ahead time.Duration, want *kerr.Error) kmsg.ProduceResponseTopicPartition {
		t.Helper()
		answer := w.produce(13, nil, 0, w.keyed(w.now.Add(ahead), "k=v"))
		w.want(answer.ErrorCode, want)
		return answer
	}
	send(time.Hour, nil)
	send(time.Hour+time.Millisecond, kerr.InvalidTimestamp)
	send(-5*time.Second, nil)
	if old := send(-5001*time.Millisecond, kerr.InvalidTimestamp); len(old.ErrorRecords) != 1 {
		t.Errorf("named records: %v", old.ErrorRecords)
	}
	if answer := send(0, nil); answer.LogAppendTime != -1 {
		t.Errorf("append time %d of a topic with CreateTime", answer.LogAppendTime)
	}
	w.setConfig("message.timestamp.type", "LogAppendTime")
	if answer := send(-time.Hour, nil); answer.LogAppendTime != w.now.UnixMilli() {
		t.Errorf("append time %d, the clock says %d", answer.LogAppendTime, w.now.UnixMilli())
	}
	res, err := w.Fetch("t", 0, 3, false, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b := recordbatch.Batch(res.Batches); b.Validate() != nil || !b.IsLogAppendTime() || b.MaxTimestamp() != w.now.UnixMilli() {
		t.Errorf("stored: append time %v, %d", b.IsLogAppendTime(), b.MaxTimestamp())
	}
	claimed := w.keyed(w.now, "k=v")
	claimed.SetLogAppendTime(1)
	claimed.SetCRC()
	w.setConfig("message.timestamp.type", "CreateTime")
	w.want(w.produce(13, nil, 0, claimed).ErrorCode, kerr.InvalidTimestamp)
}

// TestCompressionType: batches are stored in the codec of their topic, whatever
// the producer's.
func TestCompressionType(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith()
	text := strings.Repeat("levada ", 20_000)
	offset := int64(0)
	var from recordbatch.Codec
	for name, codec := range codecs {
		w.setConfig("compression.type", name)
		batch, err := new(recordbatch.Reader).Recode(nil, w.keyed(w.now, "k="+text, "l"), from, 0)
		if err != nil {
			t.Fatal(err)
		}
		w.want(w.produce(13, nil, 0, batch).ErrorCode, nil)
		res, err := w.Fetch("t", 0, offset, false, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := recordbatch.Batch(res.Batches)
		var r recordbatch.Reader
		var first, second recordbatch.Record
		if err := r.Reset(b); err != nil || b.Validate() != nil || b.Codec() != codec {
			t.Fatalf("%s: stored as codec %d, %v", name, b.Codec(), err)
		}
		_, err = r.Next(&first)
		if _, err2 := r.Next(&second); err != nil || err2 != nil || string(first.Value) != text || string(second.Key) != "l" || second.Value != nil {
			t.Errorf("%s: the records differ: %v %v", name, err, err2)
		}
		if codec != recordbatch.CodecNone && len(b) > len(text)/10 {
			t.Errorf("%s: %d bytes for %d", name, len(b), len(text))
		}
		offset, from = offset+2, codec
	}
	w.setConfig("compression.type", "producer")
	batch, err := new(recordbatch.Reader).Recode(nil, w.keyed(w.now, "k=v"), recordbatch.CodecLZ4, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.want(w.produce(13, nil, 0, slices.Clone(batch)).ErrorCode, nil)
	if res, err := w.Fetch("t", 0, offset, false, 1, nil); err != nil || recordbatch.Batch(res.Batches).Codec() != recordbatch.CodecLZ4 {
		t.Errorf("producer's codec: %v", err)
	}
}

// TestCleaningGoesOnByItself: a broker with goroutines cleans when it is time.
func TestCleaningGoesOnByItself(t *testing.T) {
	b, err := Open(Config{Dir: "data", FS: vfs.NewMem(), RetentionInterval: time.Millisecond, CompactionInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	w := &workbench{Broker: b, t: t, now: time.Now()}
	if _, err := b.topics.create("t", 1, map[string]string{"internal.segment.bytes": "14", "retention.ms": "0"}, false); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	finish := sync.OnceFunc(func() { close(done) })
	cancel := b.Watch("t", 0, false, func() {
		if p := b.topics.byName("t").parts()[0]; p.log.Start() > 0 {
			finish()
		}
	})
	defer cancel()
	batch := w.keyed(w.now.Add(-time.Second), "k=v")
	p := b.topics.byName("t").parts()[0]
	if _, err := b.append(p, batch, nil, false); err != nil {
		t.Fatal(err)
	}
	p.sync()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("nothing was deleted")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// TestCompressionLevels: the level of its codec that a topic has tells how hard the broker
// works on what it compresses anew (KIP-390).
func TestCompressionLevels(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith()
	var text strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&text, "%d levada %d ", i%97, i*i%1009)
	}
	offset := int64(0)
	size := func(codec, level string) int {
		w.setConfig("compression.type", codec)
		w.setConfig("compression."+codec+".level", level)
		w.want(w.produce(13, nil, 0, w.keyed(w.now, "k="+text.String())).ErrorCode, nil)
		res, err := w.Fetch("t", 0, offset, false, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		offset++
		var r recordbatch.Reader
		var rec recordbatch.Record
		if err := r.Reset(res.Batches); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(&rec); err != nil || string(rec.Value) != text.String() {
			t.Fatalf("%s at level %s: the record differs, %v", codec, level, err)
		}
		return len(res.Batches)
	}
	for _, levels := range [][]string{{"gzip", "1", "9"}, {"lz4", "9", "17"}, {"lz4", "9", "1"}, {"zstd", "1", "22"}} {
		if fast, small := size(levels[0], levels[1]), size(levels[0], levels[2]); small >= fast {
			t.Errorf("%s: %d bytes at level %s, %d at %s", levels[0], fast, levels[1], small, levels[2])
		}
	}
}
