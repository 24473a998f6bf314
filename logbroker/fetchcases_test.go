package logbroker

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// TestFetchWakesWithTheEnd: a reader of committed records that waits is answered when
// a transaction ends, and is not disturbed by what it writes; one of all records is
// answered by that.
func TestFetchWakesWithTheEnd(t *testing.T) {
	for _, commit := range []bool{true, false} {
		w := newWorkbench(t)
		w.topic("t", 1)
		fetch := func(isolation int8) *[]*kmsg.FetchResponse {
			req := kmsg.NewPtrFetchRequest()
			req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel, req.SessionEpoch = 12, 60_000, 1, 1<<20, isolation, -1
			p := kmsg.NewFetchRequestTopicPartition()
			p.PartitionMaxBytes = 1 << 20
			req.Topics = []kmsg.FetchRequestTopic{{Topic: "t", Partitions: []kmsg.FetchRequestTopicPartition{p}}}
			var answers []*kmsg.FetchResponse
			w.Handle(NewConn("test", "/test"), req, func(r kmsg.Response) { answers = append(answers, r.(*kmsg.FetchResponse)) })
			return &answers
		}
		committed, all := fetch(1), fetch(0)
		id := "a"
		pid, epoch := w.initID(id)
		w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
		w.pass(waitedSyncDelay)
		if len(*all) != 1 || len((*all)[0].Topics[0].Partitions[0].RecordBatches) == 0 {
			t.Fatalf("a reader of all records has %d answers", len(*all))
		}
		w.pass(10 * time.Second)
		if len(*committed) != 0 {
			t.Fatal("a reader of committed records was disturbed by an open transaction")
		}
		w.want(w.endTxn(5, id, pid, epoch, commit).ErrorCode, nil)
		if len(*committed) != 1 { // at once: no time passes
			t.Fatalf("commit %v: %d answers after the end", commit, len(*committed))
		}
		got := (*committed)[0].Topics[0].Partitions[0]
		if len(got.RecordBatches) == 0 || len(got.AbortedTransactions) != map[bool]int{false: 1}[commit] || got.LastStableOffset < 1 {
			t.Errorf("commit %v: answer %+v", commit, got)
		}
	}
}

// TestFetchFromAnywhere: a reader that begins at any offset, between the records of
// transactions that overlap and before, behind or at their markers, and reads in
// pieces of any size, sees of the committed records all that follow, and no other.
func TestFetchFromAnywhere(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	type held struct {
		pid   int64
		epoch int16
		seq   int32
	}
	producers := map[string]*held{}
	for _, id := range []string{"a", "b", "c"} {
		pid, epoch := w.initID(id)
		producers[id] = &held{pid: pid, epoch: epoch}
	}
	open := map[string][]string{}
	want := map[int64]string{} // committed values by offset
	at := map[string]int64{}
	log := func() int64 { return w.topics.byName("t").parts()[0].log.End() }
	for i, step := range []string{"a", "b", "a", "c", "-a", "b", "a", "-", "+c", "a", "+b", "b", "c", "-c", "-", "+a", "b", "-b", "c", "+c"} {
		switch p := producers[step[len(step)-1:]]; {
		case step == "-": // of no transaction
			want[log()] = fmt.Sprint(i)
			w.want(w.produce(13, nil, 0, oneRecord(-1, -1, -1, false, fmt.Sprint(i))).ErrorCode, nil)
		case len(step) == 2:
			id := step[1:]
			end := w.endTxn(5, id, p.pid, p.epoch, step[0] == '+')
			w.want(end.ErrorCode, nil)
			p.pid, p.epoch, p.seq = end.ProducerID, end.ProducerEpoch, 0
			for _, value := range open[id] {
				if step[0] == '+' {
					want[at[value]] = value
				}
			}
			open[id] = nil
		default:
			value := fmt.Sprint(i)
			at[value] = log()
			open[step] = append(open[step], value)
			w.want(w.produce(13, &step, 0, oneRecord(p.pid, p.epoch, p.seq, true, value)).ErrorCode, nil)
			p.seq++
		}
	}
	check := func(what string) {
		t.Helper()
		end := log()
		for from := range end {
			var expected []string
			for offset := from; offset < end; offset++ {
				if v, ok := want[offset]; ok {
					expected = append(expected, v)
				}
			}
			for _, size := range []int{1, 100, 200, 1 << 20} {
				if got := w.committedFrom(from, end, size); !slices.Equal(got, expected) {
					t.Fatalf("%s: from %d in pieces of %d: %q, want %q", what, from, size, got, expected)
				}
			}
		}
	}
	w.pass(2 * time.Second)
	check("running")
	w.restart()
	check("after a SIGKILL")
	w.losePower("boot-2")
	check("after a power loss")
}

// committedFrom are the values that a client reads.
func (w *workbench) committedFrom(from, end int64, size int) (out []string) {
	w.t.Helper()
	w.eachCommitted(from, end, size, func(r *recordbatch.Record) { out = append(out, string(r.Value)) })
	return out
}

// eachCommitted reads as a client does: what it is told to be aborted it leaves out,
// from the first offset of a transaction to its marker.
func (w *workbench) eachCommitted(from, end int64, size int, fn func(*recordbatch.Record)) {
	w.t.Helper()
	for next := from; next < end; {
		res, err := w.Fetch("t", 0, next, true, size, nil)
		if err != nil || len(res.Batches) == 0 {
			w.t.Fatalf("fetch at %d: %d bytes, %v", next, len(res.Batches), err)
		}
		if !slices.IsSortedFunc(res.Aborted, func(a, b AbortedTxn) int { return int(a.FirstOffset - b.FirstOffset) }) {
			w.t.Fatalf("fetch at %d: aborted transactions %v are not in order", next, res.Aborted)
		}
		aborted, skip := res.Aborted, map[int64]bool{}
		for rest := res.Batches; len(rest) > 0; {
			var b recordbatch.Batch
			if b, rest, err = recordbatch.Split(rest); err != nil {
				w.t.Fatal(err)
			}
			for len(aborted) > 0 && aborted[0].FirstOffset <= b.LastOffset() {
				skip[aborted[0].ProducerID] = true
				aborted = aborted[1:]
			}
			next = b.NextOffset()
			switch {
			case b.IsControl():
				delete(skip, b.ProducerID())
			case !b.IsTransactional() || !skip[b.ProducerID()]:
				w.eachRecord(b, from, fn)
			}
		}
		if len(aborted) > 0 {
			w.t.Fatalf("aborted transactions %v lie behind what was read, which ends at %d", aborted, next)
		}
	}
}

// TestAbortedListIsOfWhatWasRead: a reader in small pieces is not told all that was
// ever aborted behind them, whether records come from memory or from a file.
func TestAbortedListIsOfWhatWasRead(t *testing.T) {
	for name, size := range map[string]int{"copied": 10, "from a file": 2 * minSent} {
		b, connect := dial(t, Config{IndexIntervalBytes: 1})
		if _, err := b.topics.create("t", 1, map[string]string{}, false); err != nil {
			t.Fatal(err)
		}
		id, value := "a", strings.Repeat("x", size)
		init := kmsg.NewPtrInitProducerIDRequest()
		init.Version, init.TransactionalID, init.TransactionTimeoutMillis, init.ProducerID, init.ProducerEpoch = 5, &id, 60_000, -1, -1
		begun := wait[*kmsg.InitProducerIDResponse](b, init)
		pid, epoch := begun.ProducerID, begun.ProducerEpoch
		const txns = 20
		batch := len(oneRecord(pid, epoch, 0, true, value))
		for range txns {
			if _, err := b.Append("t", 0, oneRecord(pid, epoch, 0, true, value)); err != nil {
				t.Fatal(err)
			}
			req := kmsg.NewPtrEndTxnRequest()
			req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = 5, id, pid, epoch
			end := wait[*kmsg.EndTxnResponse](b, req)
			if end.ErrorCode != 0 {
				t.Fatal(kerr.ErrorForCode(end.ErrorCode))
			}
			pid, epoch = end.ProducerID, end.ProducerEpoch
		}
		p := b.topics.byName("t").parts()[0]
		if !eventually(20*time.Second, func() bool { return b.lastStable(p) == 2*txns }) {
			t.Fatalf("last stable offset %d", b.lastStable(p))
		}
		conn := &wire{t, connect()}
		for n := range int64(txns) {
			req := kmsg.NewPtrFetchRequest()
			req.Version, req.SessionEpoch, req.MaxBytes, req.IsolationLevel = 12, -1, 1<<20, 1
			ft := kmsg.NewFetchRequestTopic()
			ft.Topic = "t"
			fp := kmsg.NewFetchRequestTopicPartition()
			fp.FetchOffset, fp.PartitionMaxBytes = 2*n, int32(batch)
			ft.Partitions = append(ft.Partitions, fp)
			req.Topics = append(req.Topics, ft)
			resp, err := conn.call(req)
			if err != nil {
				t.Fatal(err)
			}
			got := resp.(*kmsg.FetchResponse).Topics[0].Partitions[0]
			if len(got.RecordBatches) != batch || len(got.AbortedTransactions) != 1 || got.AbortedTransactions[0].FirstOffset != 2*n {
				t.Fatalf("%s: at %d: %d bytes with the aborted transactions %v", name, 2*n, len(got.RecordBatches), got.AbortedTransactions)
			}
		}
	}
}

func (w *workbench) eachRecord(b recordbatch.Batch, from int64, fn func(*recordbatch.Record)) {
	w.t.Helper()
	var rd recordbatch.Reader
	if err := rd.Reset(b); err != nil {
		w.t.Fatal(err)
	}
	for {
		var rec recordbatch.Record
		ok, err := rd.Next(&rec)
		if err != nil {
			w.t.Fatal(err)
		}
		if !ok {
			return
		}
		if rec.Offset >= from {
			fn(&rec)
		}
	}
}

// TestCompactedChangelogIsTheStore: what a reader makes of a changelog is the store
// that wrote it, in transactions that commit and abort, however often it is compacted
// and wherever the broker is killed.
func TestCompactedChangelogIsTheStore(t *testing.T) {
	for seed := range seeds(t, 8) {
		rng := rand.New(rand.NewPCG(uint64(seed), 8))
		w := newWorkbench(t)
		w.topicWith("internal.segment.bytes=400", "cleanup.policy=compact", "min.cleanable.dirty.ratio=0", "delete.retention.ms=1000")
		id := "store"
		pid, epoch := w.initID(id)
		store, removed := map[string]string{}, false
		for round := range 40 {
			changes, seq := map[string]*string{}, int32(0)
			for range 1 + rng.IntN(6) {
				record := fmt.Sprintf("k%d=%d", rng.IntN(12), round)
				key, value, _ := strings.Cut(record, "=")
				changes[key] = &value
				if rng.IntN(4) == 0 {
					record, changes[key] = key, nil
				}
				batch := w.keyed(w.now, record)
				batch.SetProducer(pid, epoch, seq, true)
				batch.SetCRC()
				w.want(w.produce(13, &id, 0, batch).ErrorCode, nil)
				seq++
			}
			commit := rng.IntN(3) > 0
			end := w.endTxn(5, id, pid, epoch, commit)
			w.want(end.ErrorCode, nil)
			pid, epoch = end.ProducerID, end.ProducerEpoch
			for key, value := range changes {
				switch {
				case !commit:
				case value == nil:
					delete(store, key)
				default:
					store[key] = *value
				}
			}
			w.pass(time.Duration(rng.IntN(1500)) * time.Millisecond)
			if rng.IntN(8) == 0 {
				w.restart()
			}
			if rng.IntN(2) == 0 {
				w.Clean()
			}
			w.pass(idleSyncDelay)
			restored, read := map[string]string{}, 0
			log := w.topics.byName("t").parts()[0].log
			w.eachCommitted(log.Start(), log.End(), 1+rng.IntN(2000), func(r *recordbatch.Record) {
				if read++; r.Value == nil {
					delete(restored, string(r.Key))
				} else {
					restored[string(r.Key)] = string(r.Value)
				}
			})
			if !maps.Equal(store, restored) {
				t.Fatalf("seed %d, round %d: restored %v, the store has %v", seed, round, restored, store)
			}
			removed = removed || int64(read) < log.End()/2
		}
		if !removed {
			t.Errorf("seed %d: nothing was compacted", seed)
		}
		w.Kill()
	}
}

// TestHolesOfCompaction: who reads at an offset that is gone gets the next that is
// there, and ListOffsets finds times that fell into a hole behind it.
func TestHolesOfCompaction(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith("internal.segment.bytes=14", "cleanup.policy=compact", "min.cleanable.dirty.ratio=0")
	begin := w.now
	for i, r := range []string{"a=1", "b=1", "a=2", "a=3", "b=2", "a=4", "c=1", "d=1"} {
		w.now = begin.Add(time.Duration(i) * time.Second)
		w.want(w.put(r).ErrorCode, nil)
	}
	w.Clean()
	if got := w.records(); !slices.Equal(got, []string{"b=2@4", "a=4@5", "c=1@6", "d=1@7"}) {
		t.Fatalf("records %q", got)
	}
	check := func() {
		t.Helper()
		list := func(timestamp int64) (int64, int64) {
			req := kmsg.NewPtrListOffsetsRequest()
			req.Version = 7
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Timestamp = timestamp
			req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
			got := ask[*kmsg.ListOffsetsResponse](w, req).Topics[0].Partitions[0]
			w.want(got.ErrorCode, nil)
			return got.Offset, got.Timestamp
		}
		for i := range int64(8) {
			next := max(i, 4)
			if got := w.committedFrom(i, 8, 1); !slices.Equal(got, []string{"2", "4", "1", "1"}[next-4:]) {
				t.Errorf("from %d: %q", i, got)
			}
			at := begin.Add(time.Duration(i) * time.Second).UnixMilli()
			wantAt := begin.Add(time.Duration(next) * time.Second).UnixMilli()
			if offset, ms := list(at); offset != next || ms != wantAt {
				t.Errorf("the time of offset %d is found at %d with %d, want %d with %d", i, offset, ms, next, wantAt)
			}
		}
		if offset, _ := list(earliestOffset); offset != 0 {
			t.Errorf("earliest %d", offset)
		}
		if offset, _ := list(latestOffset); offset != 8 {
			t.Errorf("latest %d", offset)
		}
	}
	check()
	w.restart()
	check()
}

// TestOldLeaderEpochsAreFenced: who believes in the epoch of a run that is over is
// told so (KIP-320), and finds the one that holds in the metadata; one that has not
// come is unknown.
func TestOldLeaderEpochsAreFenced(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.want(w.produce(13, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
	known := func() int32 {
		t.Helper()
		req := kmsg.NewPtrMetadataRequest()
		req.Version = 12
		return ask[*kmsg.MetadataResponse](w, req).Topics[0].Partitions[0].LeaderEpoch
	}
	old := known()
	w.restart()
	epoch := known()
	for believed, want := range map[int32]*kerr.Error{
		-1: nil, epoch: nil, old: kerr.FencedLeaderEpoch, -2: kerr.FencedLeaderEpoch, epoch + 1: kerr.UnknownLeaderEpoch,
	} {
		fetch := kmsg.NewPtrFetchRequest()
		fetch.Version, fetch.SessionEpoch, fetch.MaxBytes = 12, -1, 1<<20
		fp := kmsg.NewFetchRequestTopicPartition()
		fp.CurrentLeaderEpoch, fp.PartitionMaxBytes = believed, 1<<20
		fetch.Topics = []kmsg.FetchRequestTopic{{Topic: "t", Partitions: []kmsg.FetchRequestTopicPartition{fp}}}
		fetched := ask[*kmsg.FetchResponse](w, fetch).Topics[0].Partitions[0]
		wantFetch := want
		if believed < -1 {
			wantFetch = nil // it is none to a fetch
		}
		w.want(fetched.ErrorCode, wantFetch)
		if len(fetched.RecordBatches) > 0 != (wantFetch == nil) {
			t.Errorf("epoch %d: %d bytes", believed, len(fetched.RecordBatches))
		}
		list := kmsg.NewPtrListOffsetsRequest()
		list.Version = 11
		lp := kmsg.NewListOffsetsRequestTopicPartition()
		lp.CurrentLeaderEpoch, lp.Timestamp = believed, latestOffset
		list.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{lp}}}
		w.want(ask[*kmsg.ListOffsetsResponse](w, list).Topics[0].Partitions[0].ErrorCode, want)
		ends := kmsg.NewPtrOffsetForLeaderEpochRequest()
		ends.Version = 4
		ep := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		ep.CurrentLeaderEpoch, ep.LeaderEpoch = believed, old
		ends.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{ep}}}
		w.want(ask[*kmsg.OffsetForLeaderEpochResponse](w, ends).Topics[0].Partitions[0].ErrorCode, want)
	}
}

// TestListOffsetsAsKafka: what a version does not know, a partition that is named
// twice, and the leader epochs of what is found.
func TestListOffsetsAsKafka(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	list := func(version int16, topic string, timestamp int64, times int) []kmsg.ListOffsetsResponseTopicPartition {
		t.Helper()
		req := kmsg.NewPtrListOffsetsRequest()
		req.Version = version
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = topic
		for range times {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Timestamp = timestamp
			rt.Partitions = append(rt.Partitions, p)
		}
		req.Topics = append(req.Topics, rt)
		return ask[*kmsg.ListOffsetsResponse](w, req).Topics[0].Partitions
	}
	for _, c := range []struct {
		timestamp int64
		since     int16 // the first version that knows it
	}{{-1, 1}, {-2, 1}, {0, 1}, {-3, 7}, {-4, 8}, {-5, 9}, {-6, 11}, {-7, 12}, {math.MinInt64, 12}} {
		for version := int16(1); version <= 11; version++ {
			want, unknown := kerr.UnsupportedVersion, kerr.UnsupportedVersion
			if version >= c.since {
				want, unknown = nil, kerr.UnknownTopicOrPartition
			}
			w.want(list(version, "t", c.timestamp, 1)[0].ErrorCode, want)
			w.want(list(version, "nowhere", c.timestamp, 1)[0].ErrorCode, unknown)
			twice := list(version, "t", c.timestamp, 2)
			if w.want(twice[0].ErrorCode, kerr.InvalidRequest); len(twice) != 1 {
				t.Errorf("a partition that is named twice has %d answers", len(twice))
			}
		}
	}
	has := func(timestamp, offset int64, epoch int32) {
		t.Helper()
		got := list(11, "t", timestamp, 1)[0]
		w.want(got.ErrorCode, nil)
		if got.Offset != offset || got.LeaderEpoch != epoch {
			t.Errorf("at %d: offset %d of epoch %d, want %d of %d", timestamp, got.Offset, got.LeaderEpoch, offset, epoch)
		}
	}
	first := w.epoch
	has(earliestOffset, 0, first)
	w.want(w.put("a=1").ErrorCode, nil)
	w.now = w.now.Add(time.Second)
	w.restart()
	w.want(w.put("a=2").ErrorCode, nil)
	second := w.epoch
	for range 2 {
		has(earliestOffset, 0, first)
		has(earliestLocal, 0, first)
		has(1, 0, first)
		has(w.now.UnixMilli(), 1, second)
		has(maxTimestamp, 1, second)
		has(latestOffset, 2, w.epoch)
		has(latestTiered, -1, -1)
		has(1<<60, -1, -1)
		w.restart()
	}
	if _, err := w.deleteRecords("t", 0, 2); err != nil {
		t.Fatal(err)
	}
	has(earliestOffset, 2, w.epoch)
}

// TestTimeIsOverWhileAFetchReads: a fetch whose time is over while it looks at what
// came is answered, once; the race detector watches who tells whom.
func TestTimeIsOverWhileAFetchReads(t *testing.T) {
	b, err := Open(Config{Dir: "data", FS: vfs.NewMem(), CompactionInterval: unhurried})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.topics.create("t", 1, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	p := b.topics.byName("t").parts()[0]
	if _, err := b.Append("t", 0, oneRecord(-1, -1, -1, false, "v")); err != nil {
		t.Fatal(err)
	}
	durable := make(chan error, 1)
	p.syncTo(1, func(err error) { durable <- err })
	if err := <-durable; err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				p.notify()
			}
		}
	}()
	answers := make(chan kmsg.Response, 1)
	for range seeds(t, 300) {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.SessionEpoch, req.MaxBytes, req.MinBytes, req.MaxWaitMillis = 12, -1, 1<<20, 1<<10, 1
		fp := kmsg.NewFetchRequestTopicPartition()
		fp.PartitionMaxBytes = 1 << 20
		req.Topics = []kmsg.FetchRequestTopic{{Topic: "t", Partitions: []kmsg.FetchRequestTopicPartition{fp}}}
		b.Handle(NewConn("test", "/test"), req, func(r kmsg.Response) { answers <- r })
		select {
		case <-answers:
		case <-time.After(20 * time.Second):
			t.Fatal("no answer when the time was over")
		}
	}
	close(stop)
	<-stopped
	if len(answers) > 0 {
		t.Error("a fetch was answered twice")
	}
}

// TestFetchEndsWithItsConnection: a client that asks for a wait of weeks, goes, and does
// so again, leaves nothing behind.
func TestFetchEndsWithItsConnection(t *testing.T) {
	b, addr, _ := serveSecured(t, Config{}, Listener{})
	if _, err := b.topics.create("t", 1, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	part, err := b.topics.partition(b.topics.byName("t"), 0)
	if err != nil {
		t.Fatal(err)
	}
	watchers := func() int { return len(*part.watchers.Load()) }
	alarms := func() int {
		b.timers.mu.Lock()
		defer b.timers.mu.Unlock()
		return len(b.timers.heap)
	}
	quiet := alarms()
	for range 3 {
		c := dialWire(t, addr)
		for range 2 { // the second waits for the first
			req := kmsg.NewPtrFetchRequest()
			req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 11, math.MaxInt32, 1<<20, 1<<20
			topic := kmsg.NewFetchRequestTopic()
			topic.Topic = "t"
			topic.Partitions = append(topic.Partitions, kmsg.NewFetchRequestTopicPartition())
			req.Topics = append(req.Topics, topic)
			c.send(frameOf(req))
		}
		if !eventually(10*time.Second, func() bool { return part.watchers.Load() != nil && watchers() == 1 }) {
			t.Fatal("the fetches do not wait")
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if !eventually(10*time.Second, func() bool { return watchers() == 0 }) {
			t.Fatalf("%d fetches wait for a client that is gone", watchers())
		}
	}
	if n := alarms(); n > quiet {
		t.Errorf("%d alarms are set, before %d", n, quiet)
	}
}
