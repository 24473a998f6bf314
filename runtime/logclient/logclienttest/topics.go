package logclienttest

import (
	"errors"
	"time"

	"github.com/levada/levada/runtime/logclient"
)

var topicTests = []subtest{
	{name: "TopicsAreMadeAndTold", run: testTopics},
	{name: "TopicMadeAgainHasAnotherID", run: testTopicRecreated},
	{name: "OffsetsOfPartitions", run: testOffsets},
	{name: "DeletedRecordsAreGone", run: testDeleteRecords},
	{name: "EpochEnds", run: testEpochEnd},
}

func testTopics(f *fixture) {
	name := f.name("t")
	spec := logclient.TopicSpec{Name: name, Partitions: 3, ReplicationFactor: -1, Configs: map[string]string{"cleanup.policy": "compact", "segment.bytes": "1048576"}}
	wait(f, f.admin.CreateTopics([]logclient.TopicSpec{spec}))
	wait(f, f.admin.CreateTopics([]logclient.TopicSpec{spec})) // exists already: no error
	infos := wait(f, f.admin.DescribeTopics([]string{name, f.name("other")}, true))
	info, ok := infos[name]
	if !ok || len(infos) != 1 {
		f.Fatalf("described %v, want only %s", infos, name)
	}
	if info.Partitions != 3 || info.Name != name || info.ID == ([16]byte{}) {
		f.Errorf("described %+v", info)
	}
	if got := info.Configs["cleanup.policy"]; got != "compact" {
		f.Errorf("cleanup.policy is %q", got)
	}
	if got := info.Configs["segment.bytes"]; got != "1048576" {
		f.Errorf("segment.bytes is %q", got)
	}
	spec.Partitions = 4
	if _, err := result(f, f.admin.CreateTopics([]logclient.TopicSpec{spec})); !errors.Is(err, logclient.ErrTopicExists) {
		f.Errorf("another number of partitions: %v, want ErrTopicExists", err)
	}
	wait(f, f.admin.DeleteTopics([]string{name, f.name("other")}))
	f.eventually(func() bool { return len(wait(f, f.admin.DescribeTopics([]string{name}, false))) == 0 })
}

func testTopicRecreated(f *fixture) {
	name := f.topic("t", 1)
	id := func() [16]byte { return wait(f, f.admin.DescribeTopics([]string{name}, false))[name].ID }
	first := id()
	if again := id(); again != first {
		f.Errorf("the id changes: %x, then %x", first, again)
	}
	wait(f, f.admin.DeleteTopics([]string{name}))
	f.eventually(func() bool { return len(wait(f, f.admin.DescribeTopics([]string{name}, false))) == 0 })
	if second := func() [16]byte { f.topic("t", 1); return id() }(); second == first {
		f.Errorf("a new topic has the id of the deleted one")
	}
}

func testOffsets(f *fixture) {
	one := tp(f.topic("t", 2), 1)
	for _, kind := range []logclient.OffsetKind{logclient.Earliest, logclient.LatestStable, logclient.LatestHigh} {
		if got := f.offset(one, kind); got != 0 {
			f.Errorf("offset of kind %d of an empty partition is %d", kind, got)
		}
	}
	w := f.writer(f.name("w"))
	f.append(w, one, "a", "b", "c")
	f.commit(w) // 3 records, a marker
	f.eventually(func() bool { return f.offset(one, logclient.LatestStable) == 4 })
	f.append(w, one, "d")
	f.eventually(func() bool { return f.offset(one, logclient.LatestHigh) == 5 })
	if got := f.offset(one, logclient.LatestStable); got != 4 {
		f.Errorf("last stable offset is %d while a transaction is open from 4 on", got)
	}
	f.commit(w)
	if got := f.end(one); got < 5 {
		f.Errorf("last stable offset is %d after the commit", got)
	}
	for _, c := range []struct{ timestamp, want int64 }{
		{firstTimestamp - 1000, 0}, {firstTimestamp + 1, 1}, {firstTimestamp + 2, 2},
	} {
		spec := logclient.OffsetSpec{Kind: logclient.AtTimestamp, TimestampMs: c.timestamp}
		if got := wait(f, f.admin.ListOffsets([]logclient.TopicPartition{one}, spec))[one].Offset; got != c.want {
			f.Errorf("offset at %d is %d, want %d", c.timestamp, got, c.want)
		}
	}
	empty := tp(one.Topic, 0)
	spec := logclient.OffsetSpec{Kind: logclient.AtTimestamp, TimestampMs: firstTimestamp}
	if got := wait(f, f.admin.ListOffsets([]logclient.TopicPartition{empty}, spec))[empty].Offset; got != 0 {
		f.Errorf("offset by time in an empty partition is %d, want its high watermark", got)
	}
	unknown := []logclient.TopicPartition{one, tp(f.name("unknown"), 0)}
	if _, err := result(f, f.admin.ListOffsets(unknown, logclient.OffsetSpec{})); !errors.Is(err, logclient.ErrUnknownTopic) {
		f.Errorf("offset of an unknown topic: %v, want ErrUnknownTopic", err)
	}
}

func testDeleteRecords(f *fixture) {
	one := tp(f.topic("t", 1), 0)
	f.put(one, numbered("v", 10)...)
	f.put(one, "last")
	wait(f, f.admin.DeleteRecords([]logclient.Position{at(one, 5)}))
	if got := f.offset(one, logclient.Earliest); got != 5 {
		f.Fatalf("the log starts at %d, want 5", got)
	}
	r := f.reader(false, at(one, 2))
	until(f, func() bool { return len(r.events) > 0 }, r)
	e := r.events[0]
	if e.Kind != logclient.OffsetGone || len(e.Partitions) != 1 || e.Partitions[0] != one || !errors.Is(e.Err, logclient.ErrOffsetGone) {
		f.Fatalf("got %+v, want OffsetGone of %v", e, one)
	}
	quiet(f, 100*time.Millisecond, func() bool { return len(r.records[one]) > 0 }, r)
	r.seek(at(one, 5))
	r.want(one, 12, "v5", "v6", "v7", "v8", "v9", "last")
	beyond := f.reader(false, at(one, 1000))
	until(f, func() bool { return len(beyond.events) > 0 }, beyond)
	if e := beyond.events[0]; e.Kind != logclient.OffsetGone {
		f.Errorf("a position after the end: got %+v, want OffsetGone", e)
	}
}

func testEpochEnd(f *fixture) {
	one := tp(f.topic("t", 1), 0)
	f.put(one, "a", "b")
	high := f.end(one)
	r := f.reader(false, at(one, 0))
	r.want(one, 2, "a", "b")
	epoch := r.epoch[one]
	got := wait(f, f.admin.EpochEnd(one, epoch))
	if got.Offset != high || got.LeaderEpoch != epoch || got.TopicPartition != one {
		f.Errorf("epoch %d ends at %+v, want %d", epoch, got, high)
	}
	if _, err := result(f, f.admin.EpochEnd(tp(f.name("unknown"), 0), 0)); !errors.Is(err, logclient.ErrUnknownTopic) {
		f.Errorf("epoch of an unknown topic: %v, want ErrUnknownTopic", err)
	}
}
