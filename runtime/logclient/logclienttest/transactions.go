package logclienttest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

var transactionTests = []subtest{
	{name: "CommitShowsAllAtOnce", run: testCommitAtomic},
	{name: "AbortShowsNothing", run: testAbort},
	{name: "EmptyTransactionDoesNothing", run: testEmptyTransaction},
	{name: "CommitResultTellsEnds", run: testEnds},
	{name: "BatchesStayInOrder", run: testOrder},
	{name: "FenceStopsTheHolder", run: testFence},
	{name: "NewerWriterFencesTheOlder", run: testNewerWriter},
	{name: "UnknownTopicAborts", run: testUnknownTopic},
	{name: "TooLargeIsTold", run: testTooLarge},
	{name: "RefusedIsTold", run: testRefused},
	{name: "SilentTransactionIsAborted", run: testTransactionTimeout},
	{name: "CloseDropsTheOpenTransaction", run: testCloseOpen},
}

func testCommitAtomic(f *fixture) {
	topic := f.topic("t", 2)
	a, b := tp(topic, 0), tp(topic, 1)
	w := f.writer(f.name("w"))
	r := f.reader(false, at(a, 0), at(b, 0))
	dirty := f.reader(true, at(a, 0), at(b, 0))
	f.append(w, a, "a1", "a2")
	f.append(w, b, "b1")
	f.append(w, a, "a3")
	until(f, func() bool { return len(dirty.records[a]) == 3 && len(dirty.records[b]) == 1 }, dirty)
	quiet(f, 200*time.Millisecond, func() bool { return len(r.records[a])+len(r.records[b]) > 0 }, r)
	f.commit(w)
	r.want(a, 3, "a1", "a2", "a3")
	r.want(b, 1, "b1")
	rec := r.records[a][1]
	if rec.offset != 1 || rec.key != "k" || rec.timestamp != firstTimestamp+1 {
		f.Errorf("read %+v", rec)
	}
}

func testAbort(f *fixture) {
	one := tp(f.topic("t", 1), 0)
	w := f.writer(f.name("w"))
	for i := range 3 {
		f.append(w, one, fmt.Sprint("dropped", i))
		dirty := f.reader(true, at(one, 0))
		until(f, func() bool { return slices.Contains(dirty.values(one), fmt.Sprint("dropped", i)) }, dirty)
		wait(f, w.Abort())
		f.append(w, one, fmt.Sprint("kept", i))
		f.commit(w)
	}
	f.append(w, one, "dropped at the end")
	wait(f, w.Abort())
	f.commit(w)
	r := f.reader(false, at(one, 0))
	r.want(one, f.end(one), "kept0", "kept1", "kept2") // the position passes aborted records and markers
	wait(f, w.Abort())                                 // with nothing open
}

func testEmptyTransaction(f *fixture) {
	one := tp(f.topic("t", 1), 0)
	w := f.writer(f.name("w"))
	for range 3 {
		if got := f.commit(w); len(got.Ends) != 0 {
			f.Errorf("an empty transaction ended at %v", got.Ends)
		}
		wait(f, w.Abort())
	}
	if got := f.offset(one, logclient.LatestHigh); got != 0 {
		f.Errorf("the partition ends at %d", got)
	}
}

func testEnds(f *fixture) {
	topic := f.topic("t", 3)
	w := f.writer(f.name("w"))
	f.append(w, tp(topic, 0), "a", "b")
	f.append(w, tp(topic, 2), "c")
	f.append(w, tp(topic, 0), "d")
	check := func(got logclient.CommitResult, want map[logclient.TopicPartition]int64) {
		f.Helper()
		if len(got.Ends) != len(want) {
			f.Fatalf("ends %+v, want %v", got.Ends, want)
		}
		for _, e := range got.Ends {
			if e.Offset != want[e.TopicPartition] || e.Metadata != "" {
				f.Errorf("end %+v, want %d", e, want[e.TopicPartition])
			}
		}
	}
	check(f.commit(w), map[logclient.TopicPartition]int64{tp(topic, 0): 3, tp(topic, 2): 1})
	f.append(w, tp(topic, 2), "e") // after c and its marker
	check(f.commit(w), map[logclient.TopicPartition]int64{tp(topic, 2): 3})
}

func testOrder(f *fixture) {
	topic := f.topic("t", 3)
	w := f.writer(f.name("w"))
	want := map[logclient.TopicPartition][]string{}
	for transaction := range 4 {
		for i := range 60 {
			one := tp(topic, int32(i%3))
			values := numbered(fmt.Sprintf("%d/%d/", transaction, i), 5)
			want[one] = append(want[one], values...)
			f.append(w, one, values...)
		}
		f.commit(w)
	}
	for p := range int32(3) {
		one := tp(topic, p)
		f.reader(false, at(one, 0)).want(one, f.end(one), want[one]...)
	}
}

func testFence(f *fixture) {
	one := tp(f.topic("t", 1), 0)
	w := f.writer(f.name("w"))
	f.append(w, one, "kept")
	f.commit(w)
	f.append(w, one, "dropped")
	f.eventually(func() bool { return f.offset(one, logclient.LatestHigh) == 3 })
	wait(f, f.admin.Fence(f.name("w")))
	if stable, high := f.offset(one, logclient.LatestStable), f.offset(one, logclient.LatestHigh); stable != high {
		f.Errorf("after Fence the last stable offset is %d of %d: the transaction is still open", stable, high)
	}
	if _, err := result(f, w.Commit(nil)); !errors.Is(err, logclient.ErrFenced) {
		f.Errorf("commit of a fenced writer: %v, want ErrFenced", err)
	}
	f.reader(false, at(one, 0)).want(one, f.end(one), "kept")
	wait(f, f.admin.Fence(f.name("never used")))
}

func testNewerWriter(f *fixture) {
	one := tp(f.topic("t", 1), 0)
	old := f.writer(f.name("w"))
	f.append(old, one, "dropped")
	f.eventually(func() bool { return f.offset(one, logclient.LatestHigh) == 1 })
	newer := f.writer(f.name("w"))
	f.append(newer, one, "kept")
	f.commit(newer)
	if err := old.Append(one, batch("late")); err != nil && !errors.Is(err, logclient.ErrFenced) {
		f.Errorf("append of the older writer: %v, want ErrFenced", err)
	}
	if _, err := result(f, old.Commit(nil)); !errors.Is(err, logclient.ErrFenced) {
		f.Errorf("commit of the older writer: %v, want ErrFenced", err)
	}
	f.append(newer, one, "more")
	f.commit(newer)
	f.reader(false, at(one, 0)).want(one, f.end(one), "kept", "more")
}

func testUnknownTopic(f *fixture) {
	one := tp(f.topic("t", 1), 0)
	w := f.writer(f.name("w"))
	f.append(w, one, "dropped")
	err := w.Append(tp(f.name("unknown"), 0), batch("lost"))
	if err == nil {
		_, err = result(f, w.Commit(nil))
	}
	if !errors.Is(err, logclient.ErrUnknownTopic) {
		f.Errorf("append to an unknown topic: %v, want ErrUnknownTopic", err)
	}
	wait(f, w.Abort())
	f.append(w, one, "kept")
	f.commit(w)
	f.reader(false, at(one, 0)).want(one, f.end(one), "kept")
}

func testTooLarge(f *fixture) {
	one := tp(f.name("t"), 0)
	wait(f, f.admin.CreateTopics([]logclient.TopicSpec{{Name: one.Topic, Partitions: 1, ReplicationFactor: -1, Configs: map[string]string{"max.message.bytes": "1000"}}}))
	w := f.writer(f.name("w"))
	f.append(w, one, "dropped")
	err := w.Append(one, batch(strings.Repeat("x", 1000)))
	if err == nil {
		_, err = result(f, w.Commit(nil))
	}
	if !errors.Is(err, logclient.ErrTooLarge) {
		f.Errorf("append of a batch above the topic's limit: %v, want ErrTooLarge", err)
	}
	wait(f, w.Abort())
	f.append(w, one, strings.Repeat("y", 900))
	f.commit(w)
	f.reader(false, at(one, 0)).want(one, f.end(one), strings.Repeat("y", 900))
}

// testRefused writes a record without a key to a compacted topic.
func testRefused(f *fixture) {
	one := tp(f.name("t"), 0)
	wait(f, f.admin.CreateTopics([]logclient.TopicSpec{{Name: one.Topic, Partitions: 1, ReplicationFactor: -1, Configs: map[string]string{"cleanup.policy": "compact"}}}))
	w := f.writer(f.name("w"))
	var b recordbatch.Builder
	b.Append(time.Now().UnixMilli(), nil, []byte("unkeyed"), nil)
	err := w.Append(one, b.Batch())
	if err == nil {
		_, err = result(f, w.Commit(nil))
	}
	if !errors.Is(err, logclient.ErrRefused) {
		f.Errorf("append without a key to a compacted topic: %v, want ErrRefused", err)
	}
	wait(f, w.Abort())
	b.Reset(nil)
	b.Append(time.Now().UnixMilli(), []byte("key"), []byte("keyed"), nil)
	if err := w.Append(one, b.Batch()); err != nil {
		f.Fatal(err)
	}
	f.commit(w)
	f.reader(false, at(one, 0)).want(one, f.end(one), "keyed")
}

func testTransactionTimeout(f *fixture) {
	one := tp(f.topic("t", 1), 0)
	w, err := f.log.NewWriter(logclient.WriterConfig{TransactionalID: f.name("w"), TransactionTimeout: time.Second})
	if err != nil {
		f.Fatal(err)
	}
	f.append(w, one, "dropped")
	f.eventually(func() bool { return f.offset(one, logclient.LatestHigh) >= 1 })
	f.eventually(func() bool { // aborted: a marker, and nothing open
		stable := f.offset(one, logclient.LatestStable)
		return stable == 2
	})
	_, err = result(f, w.Commit(nil))
	if !errors.Is(err, logclient.ErrFenced) && !errors.Is(err, logclient.ErrAborted) {
		f.Errorf("commit after the time-out: %v, want ErrFenced or ErrAborted", err)
	}
	if err := w.Close(); err != nil {
		f.Error(err)
	}
	f.reader(false, at(one, 0)).want(one, 2)
}

func testCloseOpen(f *fixture) {
	one := tp(f.topic("t", 1), 0)
	w, err := f.log.NewWriter(logclient.WriterConfig{TransactionalID: f.name("w")})
	if err != nil {
		f.Fatal(err)
	}
	f.append(w, one, "dropped")
	begin := time.Now()
	if err := w.Close(); err != nil {
		f.Error(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		f.Errorf("Close took %v", took)
	}
	again := f.writer(f.name("w"))
	f.append(again, one, "kept")
	f.commit(again)
	f.reader(false, at(one, 0)).want(one, f.end(one), "kept")
}
