package logclienttest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/levada/levada/runtime/logclient"
)

var readingTests = []subtest{
	{name: "ReaderStartsAtItsPositions", run: testReaderPositions},
	{name: "SeekReadsAgain", run: testSeek},
	{name: "SeekIsExact", run: testSeekExact},
	{name: "PauseKeepsWhatResumeDelivers", run: testPause},
	{name: "PollIsBounded", run: testPollBounded},
	{name: "OnePollDoesNotStarveOthers", run: testFair},
	{name: "WakeTellsOfNewRecords", run: testWake},
	{name: "EmptyPartitionTellsNothing", run: testEmptyPartition},
}

func testReaderPositions(f *fixture) {
	topic := f.topic("t", 3)
	for p := range int32(3) {
		f.put(tp(topic, p), numbered(fmt.Sprint(p, "-"), 4)...)
	}
	r := f.reader(false, at(tp(topic, 0), 0), at(tp(topic, 1), 2))
	r.want(tp(topic, 1), 4, "1-2", "1-3") // from the middle of a batch
	r.want(tp(topic, 0), 4, "0-0", "0-1", "0-2", "0-3")
	if len(r.records[tp(topic, 2)]) > 0 {
		f.Error("a partition is read that was not asked for")
	}
	r.seek(at(tp(topic, 2), 3)) // Seek adds it
	r.want(tp(topic, 2), 4, "2-3")
	end := f.end(tp(topic, 0))
	until(f, func() bool { return r.next[tp(topic, 0)] == end }, r)
	if got := r.end[tp(topic, 0)]; got != end {
		f.Errorf("the last batch tells end %d, the last stable offset is %d", got, end)
	}
}

func testSeek(f *fixture) {
	one := tp(f.topic("t", 1), 0)
	f.put(one, numbered("v", 6)...)
	r := f.reader(false, at(one, 0))
	r.want(one, 6, numbered("v", 6)...)
	for _, offset := range []int64{3, 0, 5} {
		r.records[one] = nil
		r.seek(at(one, offset))
		r.want(one, 6, numbered("v", 6)[offset:]...)
	}
	f.put(one, "after")
	r.want(one, 8, "v5", "after")
}

// testSeekExact seeks while batches are on their way: what was asked for before
// must not come after.
func testSeekExact(f *fixture) {
	one := tp(f.topic("t", 1), 0)
	all := f.big(one, 30)
	r := f.readerOf(logclient.ReaderConfig{Positions: []logclient.Position{at(one, 0)}, MaxPollBytes: 40_000})
	for i := range 200 {
		offset := int64(i * 7919 % len(all))
		r.records[one] = nil
		r.seek(at(one, offset))
		r.poll()
		if i%3 == 0 { // sometimes the next Seek comes before anything arrives
			continue
		}
		until(f, func() bool { return len(r.records[one]) > 0 }, r)
		for k, rec := range r.records[one] {
			if want := offset + int64(k); rec.offset != want || rec.value != all[want] {
				f.Fatalf("after a Seek to %d: record %d is that at %d", offset, k, rec.offset)
			}
		}
	}
}

func testPause(f *fixture) {
	topic := f.topic("t", 2)
	a, b := tp(topic, 0), tp(topic, 1)
	f.put(a, "a0")
	f.put(b, "b0")
	r := f.reader(false, at(a, 0), at(b, 0))
	r.want(a, 1, "a0")
	r.want(b, 1, "b0")
	r.fetcher.Pause(a)
	r.fetcher.Pause(a) // twice is once
	f.put(a, "a1")
	f.put(b, "b1")
	r.want(b, 3, "b0", "b1")
	quiet(f, 100*time.Millisecond, func() bool { return len(r.records[a]) > 1 }, r)
	r.fetcher.Resume(a)
	r.want(a, 3, "a0", "a1")
	r.fetcher.Resume(a) // without a Pause
	r.fetcher.Pause(a)
	r.records[a] = nil
	r.seek(at(a, 0)) // lets it flow
	r.want(a, 3, "a0", "a1")
	r.fetcher.Pause(tp(f.name("unknown"), 0))
	r.fetcher.Resume(tp(f.name("unknown"), 0))
}

// big fills a partition with batches of 10 kB.
func (f *fixture) big(one logclient.TopicPartition, batches int) []string {
	f.Helper()
	w := f.writer(f.name(fmt.Sprint("big", fixtures.Add(1))))
	var all []string
	for i := range batches {
		values := numbered(fmt.Sprintf("%03d-%s-", i, strings.Repeat("x", 1000)), 10)
		all = append(all, values...)
		f.append(w, one, values...)
	}
	f.commit(w)
	return all
}

func testPollBounded(f *fixture) {
	const limit, batchBytes = 50_000, 12_000
	one := tp(f.topic("t", 1), 0)
	all := f.big(one, 40)
	r := f.readerOf(logclient.ReaderConfig{Positions: []logclient.Position{at(one, 0)}, MaxPollBytes: limit})
	most := 0
	until(f, func() bool {
		most = max(most, r.bytes)
		return len(r.records[one]) == len(all)
	}, r)
	if most > limit+batchBytes {
		f.Errorf("one Poll returned %d bytes, the limit is %d", most, limit)
	}
	if !slices.Equal(r.values(one), all) {
		f.Error("records are lost or out of order")
	}
	small := f.readerOf(logclient.ReaderConfig{Positions: []logclient.Position{at(one, 0)}, MaxPollBytes: 1})
	until(f, func() bool { return len(small.records[one]) == len(all) }, small) // one batch at a time
}

func testFair(f *fixture) {
	topic := f.topic("t", 3)
	var positions []logclient.Position
	records := 0 // of each; many, for the leader of one may be found before that of another
	for p := range int32(3) {
		records = len(f.big(tp(topic, p), 100))
		positions = append(positions, at(tp(topic, p), 0))
	}
	r := f.readerOf(logclient.ReaderConfig{Positions: positions, MaxPollBytes: 30_000})
	until(f, func() bool {
		least, most := 1<<30, 0
		for p := range int32(3) {
			n := len(r.records[tp(topic, p)])
			least, most = min(least, n), max(most, n)
		}
		if most == records && least == 0 {
			f.Fatal("a partition was read to its end before another had begun")
		}
		return least == records
	}, r)
}

func testWake(f *fixture) {
	one := tp(f.topic("t", 1), 0)
	r := f.reader(false, at(one, 0))
	if cap(r.fetcher.Wake()) != 1 {
		f.Errorf("Wake has capacity %d, want 1", cap(r.fetcher.Wake()))
	}
	f.put(one, "first")
	r.want(one, 2, "first")
	w := f.writer(f.name("w"))
	for i := range 3 {
		quiet(f, 20*time.Millisecond, func() bool { return false }, r)
		f.append(w, one, fmt.Sprint(i))
		f.commit(w)
		deadline := time.NewTimer(patience)
		for n := len(r.records[one]); len(r.records[one]) == n; r.poll() {
			if !await(deadline.C, []stepped{r}) {
				f.Fatal("no Wake for new records")
			}
		}
		deadline.Stop()
	}
}

func testEmptyPartition(f *fixture) {
	one := tp(f.topic("t", 1), 0)
	r := f.reader(false, at(one, 0))
	quiet(f, 200*time.Millisecond, func() bool { return len(r.events) > 0 || r.next[one] != 0 }, r)
	f.put(one, "v")
	r.want(one, 2, "v")
}
