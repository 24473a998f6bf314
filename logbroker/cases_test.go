package logbroker

import (
	"encoding/binary"
	"log/slog"
	"math"
	"os"
	"path/filepath"
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

// Cases in which young brokers lost data or let somebody in; docs/reliability.md
// lists them with their tests.

func (w *workbench) deleteTopic(name string) {
	w.t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = 6
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.Topic = &name
	req.Topics = append(req.Topics, t)
	w.want(ask[*kmsg.DeleteTopicsResponse](w, req).Topics[0].ErrorCode, nil)
}

// TestRecreatedTopicIsNew: nothing of a deleted topic is seen under its name again,
// and its id is nobody's.
func TestRecreatedTopicIsNew(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	w.want(w.produce(13, nil, 0, oneRecord(7, 0, 0, false, "old")).ErrorCode, nil)
	w.want(w.commitAs("", -1), nil)
	old := w.topics.byName("t").id
	w.deleteTopic("t")
	w.want(w.produce(9, nil, 0, oneRecord(7, 0, 1, false, "between")).ErrorCode, kerr.UnknownTopicOrPartition)
	w.restart()
	w.topic("t", 1)
	check := func() {
		t.Helper()
		if id := w.topics.byName("t").id; id == old {
			t.Fatal("the new topic has the old id")
		}
		if got := w.values(0, false); len(got) > 0 {
			t.Fatalf("the new topic has %q", got)
		}
		w.wantOffset(-1)
		fetch := kmsg.NewPtrFetchRequest()
		fetch.Version, fetch.SessionEpoch = 13, -1
		ft := kmsg.NewFetchRequestTopic()
		ft.TopicID = old
		ft.Partitions = append(ft.Partitions, kmsg.NewFetchRequestTopicPartition())
		fetch.Topics = append(fetch.Topics, ft)
		w.want(ask[*kmsg.FetchResponse](w, fetch).Topics[0].Partitions[0].ErrorCode, kerr.UnknownTopicID)
	}
	check()
	w.losePower("boot-2")
	check()
	// The producer of old is as new here.
	w.want(w.produce(13, nil, 0, oneRecord(7, 0, 1, false, "new")).ErrorCode, nil)
}

// TestNamesStayInTheDirectory: no name makes a file outside of its place.
func TestNamesStayInTheDirectory(t *testing.T) {
	w := newWorkbench(t)
	for _, name := range []string{"", ".", "..", "../x", "a/b", `a\b`, "a\x00b", "ä", "a b", strings.Repeat("x", 250), "/etc", "a\n"} {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version = 7
		ct := kmsg.NewCreateTopicsRequestTopic()
		ct.Topic, ct.NumPartitions, ct.ReplicationFactor = name, 1, 1
		req.Topics = append(req.Topics, ct)
		w.want(ask[*kmsg.CreateTopicsResponse](w, req).Topics[0].ErrorCode, kerr.InvalidTopicException)
	}
	for _, name := range []string{"...", "a.b", "a-b", "__consumer_offsets", strings.Repeat("x", 249), "-1", "Orders", "orders"} {
		w.topic(name, 1)
	}
	w.restart()
	if n := len(w.topics.sorted()); n != 8 {
		t.Errorf("%d topics after a restart, want 8", n)
	}
}

// TestFirstBatchComesWhole: a reader that asks for little gets the first batch
// whole, however large, and no more (KIP-74).
func TestFirstBatchComesWhole(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	large := strings.Repeat("x", 100_000)
	w.want(w.produce(13, nil, 0, oneRecord(-1, -1, -1, false, large)).ErrorCode, nil)
	w.want(w.produce(13, nil, 0, oneRecord(-1, -1, -1, false, "small")).ErrorCode, nil)
	for _, limits := range [][2]int32{{1, 1}, {1 << 20, 1}, {1, 1 << 20}, {0, 0}, {-5, 1}, {1, -5}} {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.SessionEpoch, req.MaxBytes = 12, -1, limits[0]
		ft := kmsg.NewFetchRequestTopic()
		ft.Topic = "t"
		p := kmsg.NewFetchRequestTopicPartition()
		p.PartitionMaxBytes = limits[1]
		ft.Partitions = append(ft.Partitions, p)
		req.Topics = append(req.Topics, ft)
		got := ask[*kmsg.FetchResponse](w, req).Topics[0].Partitions[0]
		w.want(got.ErrorCode, nil)
		if n := w.countBatches(got.RecordBatches); n != 1 && limits != [2]int32{1, 1 << 20} || len(got.RecordBatches) < 100_000 {
			t.Errorf("limits %v: %d batches in %d bytes", limits, n, len(got.RecordBatches))
		}
	}
	w.want(w.produce(13, nil, 0, oneRecord(-1, -1, -1, false, strings.Repeat("x", 2<<20))).ErrorCode, kerr.MessageTooLarge)
}

// TestStrangeFetches: no offset, partition or epoch that a client sends is too
// strange.
func TestStrangeFetches(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.want(w.produce(13, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
	for _, offset := range []int64{math.MinInt64, -2, -1, 2, 1 << 40, math.MaxInt64} {
		if _, err := w.Fetch("t", 0, offset, false, 1<<20, nil); errorCode(err) != kerr.OffsetOutOfRange.Code {
			t.Errorf("offset %d: %v", offset, err)
		}
	}
	for _, n := range []int32{math.MinInt32, -1, 1, math.MaxInt32} {
		if _, err := w.Fetch("t", n, 0, false, math.MaxInt, nil); errorCode(err) != kerr.UnknownTopicOrPartition.Code {
			t.Errorf("partition %d: %v", n, err)
		}
	}
}

// TestOldMessageSets: what was written before record batches is refused, never
// stored unread.
func TestOldMessageSets(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	for _, magic := range []byte{0, 1, 3, 255} {
		batch := oneRecord(-1, -1, -1, false, "v")
		batch[16] = magic
		want := kerr.InvalidRecord
		if magic > 2 {
			want = kerr.CorruptMessage
		}
		w.want(w.produce(13, nil, 0, batch).ErrorCode, want)
	}
	// A set of messages as it was then: offset, size, CRC, magic 0, attributes, no key, a value.
	message := append(make([]byte, 4), 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 'v')
	set := binary.BigEndian.AppendUint32(make([]byte, 8), uint32(len(message)))
	set = append(append(set, message...), make([]byte, 60)...)
	w.want(w.produce(3, nil, 0, recordbatch.Batch(set)).ErrorCode, kerr.InvalidRecord)
	if end := w.topics.byName("t").parts()[0].log.End(); end != 0 {
		t.Errorf("%d offsets were used", end)
	}
}

// TestDelayedEnd: the end of one transaction that comes late does not end the next
// one (KAFKA-17754), and what belongs to none does not begin one.
func TestDelayedEnd(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	pid, epoch := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "first")).ErrorCode, nil)
	ended := w.endTxn(5, id, pid, epoch, true)
	w.want(ended.ErrorCode, nil)
	if ended.ProducerEpoch != epoch+1 {
		t.Fatalf("epoch %d after %d", ended.ProducerEpoch, epoch)
	}
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch+1, 0, true, "second")).ErrorCode, nil)
	late := w.endTxn(5, id, pid, epoch, true) // a copy of the first, held up on its way
	if late.ErrorCode == 0 && late.ProducerEpoch != epoch+1 {
		t.Errorf("the late end gave epoch %d", late.ProducerEpoch)
	}
	if got := w.values(0, true); !slices.Equal(got, []string{"first"}) {
		t.Errorf("committed %q", got)
	}
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 1, true, "late")).ErrorCode, kerr.InvalidProducerEpoch)
	w.want(w.endTxn(5, id, pid, epoch+1, false).ErrorCode, nil)
	if got := w.values(0, true); !slices.Equal(got, []string{"first"}) {
		t.Errorf("committed %q after the second was aborted", got)
	}
}

// TestDelayedProduce: a batch of an aborted transaction that comes after its end
// begins none, in the older protocol either, and nobody waits for it.
func TestDelayedProduce(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	pid, epoch := w.initID(id)
	add := func() int16 {
		req := kmsg.NewPtrAddPartitionsToTxnRequest()
		req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = 3, id, pid, epoch
		req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "t", Partitions: []int32{0}}}
		return ask[*kmsg.AddPartitionsToTxnResponse](w, req).Topics[0].Partitions[0].ErrorCode
	}
	w.want(add(), nil)
	w.want(w.produce(11, &id, 0, oneRecord(pid, epoch, 0, true, "aborted")).ErrorCode, nil)
	w.want(w.endTxn(3, id, pid, epoch, false).ErrorCode, nil)
	if code := w.produce(11, &id, 0, oneRecord(pid, epoch, 1, true, "late")).ErrorCode; code == 0 {
		t.Error("a late batch of the older protocol is taken")
	}
	w.want(w.produce(11, nil, 0, oneRecord(-1, -1, -1, false, "after")).ErrorCode, nil)
	w.pass(2 * time.Second)
	if got := w.values(0, true); !slices.Equal(got, []string{"after"}) {
		t.Errorf("committed %q", got)
	}

	// In the newer protocol the partition is added by the batch, and the end has raised the epoch.
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 1, true, "aborted")).ErrorCode, nil)
	end := w.endTxn(5, id, pid, epoch, false)
	w.want(end.ErrorCode, nil)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 2, true, "late")).ErrorCode, kerr.InvalidProducerEpoch)
	w.want(w.produce(13, &id, 0, oneRecord(end.ProducerID, end.ProducerEpoch, 0, true, "next")).ErrorCode, nil)
	w.want(w.endTxn(5, id, end.ProducerID, end.ProducerEpoch, true).ErrorCode, nil)
	w.pass(2 * time.Second)
	if got := w.values(0, true); !slices.Equal(got, []string{"after", "next"}) {
		t.Errorf("committed %q", got)
	}
}

// TestEndTwice: the same end again is fine, the opposite is not.
func TestEndTwice(t *testing.T) {
	for _, version := range []int16{3, 5} {
		for _, commit := range []bool{true, false} {
			w := newWorkbench(t)
			w.topic("t", 1)
			id := "a"
			pid, epoch := w.initID(id)
			if version == 3 {
				req := kmsg.NewPtrAddPartitionsToTxnRequest()
				req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = 3, id, pid, epoch
				req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "t", Partitions: []int32{0}}}
				w.want(ask[*kmsg.AddPartitionsToTxnResponse](w, req).Topics[0].Partitions[0].ErrorCode, nil)
			}
			w.want(w.produce(map[int16]int16{3: 11, 5: 13}[version], &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
			first := w.endTxn(version, id, pid, epoch, commit)
			w.want(first.ErrorCode, nil)
			again := w.endTxn(version, id, pid, epoch, commit)
			w.want(again.ErrorCode, nil)
			if version == 5 && again.ProducerEpoch != first.ProducerEpoch {
				t.Errorf("epoch %d, then %d", first.ProducerEpoch, again.ProducerEpoch)
			}
			w.want(w.endTxn(version, id, pid, epoch, !commit).ErrorCode, kerr.InvalidTxnState)
			w.restart()
			w.want(w.endTxn(version, id, pid, epoch, commit).ErrorCode, nil)
			if got := len(w.values(0, true)); got != map[bool]int{true: 1}[commit] {
				t.Errorf("version %d, commit %v: %d records", version, commit, got)
			}
		}
	}
}

// TestOneProducerWins: of many that take a transactional id over at once, one can
// write.
func TestOneProducerWins(t *testing.T) {
	b, err := Open(Config{Dir: "data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.topics.create("t", 1, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	id := "a"
	for round := range seeds(t, 1000) {
		const rivals = 8
		var wg sync.WaitGroup
		wrote := make([]bool, rivals)
		holders := make([]*kmsg.InitProducerIDResponse, rivals)
		for i := range rivals {
			wg.Go(func() {
				for holders[i] == nil || holders[i].ErrorCode == kerr.ConcurrentTransactions.Code {
					req := kmsg.NewPtrInitProducerIDRequest()
					req.Version, req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 4, &id, 60_000, -1, -1
					holders[i] = wait[*kmsg.InitProducerIDResponse](b, req)
				}
			})
		}
		wg.Wait()
		for i, h := range holders {
			if h.ErrorCode != 0 {
				continue // fenced before it had its answer
			}
			batch := oneRecord(h.ProducerID, h.ProducerEpoch, 0, true, "v")
			_, err := b.Append("t", 0, batch)
			wrote[i] = err == nil
		}
		n := 0
		for _, ok := range wrote {
			if ok {
				n++
			}
		}
		if n != 1 {
			t.Fatalf("round %d: %d of %d could write", round, n, rivals)
		}
	}
}

// wait sends a request as a caller in this process and waits for its answer.
func wait[R kmsg.Response](b *Broker, req kmsg.Request) R {
	answer := make(chan kmsg.Response, 1)
	b.Handle(NewConn("test", "/test"), req, func(r kmsg.Response) { answer <- r })
	return (<-answer).(R)
}

// TestStaleMembersCannotCommit: offsets of a transaction by a member that lost its
// place are refused (KIP-447).
func TestStaleMembersCannotCommit(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	m := w.joinClassic("")
	w.syncClassic(m.MemberID, m.Generation, map[string][]int32{m.MemberID: {0}})
	id := "a"
	pid, epoch := w.initID(id)
	commit := func(member string, generation int32) int16 {
		req := kmsg.NewPtrTxnOffsetCommitRequest()
		req.Version, req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = 5, id, "g", pid, epoch
		req.MemberID, req.Generation = member, generation
		ct := kmsg.NewTxnOffsetCommitRequestTopic()
		ct.Topic = "t"
		ct.Partitions = append(ct.Partitions, kmsg.NewTxnOffsetCommitRequestTopicPartition())
		req.Topics = append(req.Topics, ct)
		return ask[*kmsg.TxnOffsetCommitResponse](w, req).Topics[0].Partitions[0].ErrorCode
	}
	w.want(commit(m.MemberID, m.Generation+1), kerr.IllegalGeneration)
	w.want(commit("somebody", m.Generation), kerr.UnknownMemberID)
	w.want(commit(m.MemberID, m.Generation), nil)
	w.wantOffset(-1) // until the transaction ends
	w.restart()
	w.want(commit(m.MemberID, m.Generation+1), kerr.IllegalGeneration)
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
	if got := w.committed(); got < 0 {
		t.Errorf("offset %d after the commit", got)
	}
}

// TestStaleMembersOfEveryKind: what a producer is told whose member is not, or no more,
// in the group, by the kind of group and member; as by Kafka 4.3.1.
func TestStaleMembersOfEveryKind(t *testing.T) {
	w := newWorkbench(t)
	w.assignsAtOnce("consumer")
	w.topic("t", 1)
	one, two := "one", "two"
	join := joinOf("")
	join.Group, join.InstanceID = "classic", &one
	static := ask[*kmsg.JoinGroupResponse](w, join)
	w.want(static.ErrorCode, nil)
	inGroup := func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "consumer" }
	w.want(w.heart("m", 0, inGroup).ErrorCode, nil)
	n := w.heart("n", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group, r.InstanceID = "consumer", &one })
	w.want(n.ErrorCode, nil)
	m := w.heart("m", 2, func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		r.Group = "consumer"
		r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	})
	w.want(m.ErrorCode, nil)
	w.want(w.heart("x", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "emptied" }).ErrorCode, nil)
	w.want(w.heart("x", -1, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "emptied" }).ErrorCode, nil)
	id := "a"
	pid, epoch := w.initID(id)
	w.want(w.commitOffset(id, pid, epoch, "offsets", 1).Topics[0].Partitions[0].ErrorCode, nil)
	for _, c := range []struct {
		group, member string
		generation    int32
		instance      *string
		want          *kerr.Error
	}{
		{"classic", static.MemberID, static.Generation, &one, nil},
		{"classic", static.MemberID, static.Generation, nil, nil},
		{"classic", "older", static.Generation, &one, kerr.FencedInstanceID},
		{"classic", "older", static.Generation + 1, &one, kerr.FencedInstanceID},
		{"classic", static.MemberID, static.Generation, &two, kerr.UnknownMemberID},
		{"classic", static.MemberID, static.Generation + 1, nil, kerr.IllegalGeneration},
		{"classic", static.MemberID, -1, nil, kerr.IllegalGeneration},
		{"classic", "nobody", -1, nil, kerr.UnknownMemberID},
		{"classic", "", static.Generation, nil, kerr.UnknownMemberID},
		{"classic", "", -1, nil, nil},
		{"consumer", "m", m.MemberEpoch, nil, nil},
		{"consumer", "m", m.MemberEpoch - 1, nil, nil}, // it has had the partition since then
		{"consumer", "m", m.MemberEpoch - 2, nil, kerr.IllegalGeneration},
		{"consumer", "n", n.MemberEpoch - 1, nil, kerr.IllegalGeneration},
		{"consumer", "m", 99, nil, kerr.IllegalGeneration},
		{"consumer", "m", -1, nil, kerr.IllegalGeneration},
		{"consumer", "nobody", m.MemberEpoch, nil, kerr.UnknownMemberID},
		{"consumer", "n", n.MemberEpoch, &two, nil},
		{"consumer", "", -1, nil, nil},
		{"consumer", "", -1, &one, kerr.UnknownMemberID},
		{"emptied", "x", 2, nil, kerr.UnknownMemberID},
		{"emptied", "x", -1, nil, nil},
		{"unknown", "x", 0, nil, kerr.IllegalGeneration},
		{"unknown", "", 5, &one, kerr.IllegalGeneration},
		{"offsets", "x", 5, nil, kerr.UnknownMemberID},
		{"offsets", "x", -1, nil, nil},
		{"new", "x", -1, &one, nil},
	} {
		req := pendingIn("t", id, pid, epoch)
		req.Group, req.MemberID, req.Generation, req.InstanceID = c.group, c.member, c.generation, c.instance
		if c.want == nil {
			c.want = &kerr.Error{}
		}
		if code := ask[*kmsg.TxnOffsetCommitResponse](w, req).Topics[0].Partitions[0].ErrorCode; code != c.want.Code {
			t.Errorf("%s, member %q of generation %d, instance %q: %v, want %v", c.group, c.member, c.generation, deref(c.instance), kerr.ErrorForCode(code), c.want.Message)
		}
	}
}

// TestCommitsOfOldVersions: a member of the consumer protocol cannot commit with versions
// that know no member epochs. It is told that, whatever its epoch, but not who is no member;
// as by Kafka 4.3.1.
func TestCommitsOfOldVersions(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	epoch := w.heart("m", 0, nil).MemberEpoch
	for _, c := range []struct {
		version int16
		member  string
		epoch   int32
		want    *kerr.Error
	}{
		{8, "m", epoch, kerr.UnsupportedVersion},
		{8, "m", epoch - 1, kerr.UnsupportedVersion},
		{8, "m", epoch + 5, kerr.UnsupportedVersion},
		{8, "m", -1, kerr.UnsupportedVersion},
		{2, "m", 0, kerr.UnsupportedVersion},
		{8, "n", epoch, kerr.UnknownMemberID},
		{8, "", -1, kerr.UnknownMemberID},
		{9, "m", epoch, nil},
		{9, "m", epoch + 5, kerr.StaleMemberEpoch},
		{9, "m", -1, kerr.StaleMemberEpoch},
	} {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group, req.MemberID, req.Generation = c.version, "g", c.member, c.epoch
		req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{LeaderEpoch: -1}}}}
		w.want(ask[*kmsg.OffsetCommitResponse](w, req).Topics[0].Partitions[0].ErrorCode, c.want)
	}
}

// TestOneProducerOnTwoConnections: its sequence is one, whichever socket it comes from, and
// each record of it is written once.
func TestOneProducerOnTwoConnections(t *testing.T) {
	b, connect := dial(t, Config{})
	if _, err := b.topics.create("t", 1, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	const n = 200
	var wg sync.WaitGroup
	for range 2 {
		c := &wire{t, connect()}
		wg.Go(func() {
			for seq := range int32(n) {
				resp, err := c.call(produceOf(oneRecord(7, 0, seq, false, "v")))
				if err != nil {
					t.Errorf("sequence %d: %v", seq, err)
					return
				}
				switch p := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]; {
				case p.ErrorCode == 0 && p.BaseOffset != int64(seq):
					t.Errorf("sequence %d is at offset %d", seq, p.BaseOffset)
				case p.ErrorCode != 0 && p.ErrorCode != kerr.DuplicateSequenceNumber.Code && p.ErrorCode != kerr.OutOfOrderSequenceNumber.Code:
					t.Errorf("sequence %d: code %d", seq, p.ErrorCode) // the others: written, here or there, and the other is far ahead
				}
			}
		})
	}
	wg.Wait()
	if end := b.topics.byName("t").parts()[0].log.End(); end != n {
		t.Errorf("%d records, want %d", end, n)
	}
}

// TestAnswersKeepTheirOrder: requests that are sent at once are answered in their
// order, the slow ones before the quick ones that follow.
func TestAnswersKeepTheirOrder(t *testing.T) {
	_, connect := dial(t, Config{AutoCreateTopics: true})
	c := connect()
	var all []byte
	const n = 60
	for i := range n {
		var frame []byte
		if i%3 == 0 { // waits for records that do not come
			req := kmsg.NewPtrFetchRequest()
			req.Version, req.MaxWaitMillis, req.MinBytes, req.SessionEpoch = 11, 20, 1, -1
			frame = frameOf(req)
		} else {
			req := kmsg.NewPtrMetadataRequest()
			req.Version = 9
			frame = frameOf(req)
		}
		binary.BigEndian.PutUint32(frame[4:], uint32(i))
		all = append(binary.BigEndian.AppendUint32(all, uint32(len(frame))), frame...)
	}
	go func() { _, _ = c.Write(all) }()
	w := &wire{t, c}
	for i := range n {
		frame, err := w.receive()
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint32(frame); got != uint32(i) {
			t.Fatalf("answer %d comes as number %d", got, i)
		}
	}
}

// TestNamesInTheLog: what clients call themselves cannot write lines of the log.
func TestNamesInTheLog(t *testing.T) {
	log := &syncBuffer{}
	_, connect := dial(t, Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	c := connect()
	frame := []byte{0, 3, 0x7f, 0, 0, 0, 0, 1, 0, 26} // a version that is not served
	frame = append(frame, "x\nlevel=ERROR msg=\x1b[31mfake"...)
	w := &wire{t, c}
	w.send(frame)
	if _, err := w.receive(); err == nil {
		t.Fatal("answered")
	}
	if !strings.Contains(log.String(), "client_id=") {
		t.Errorf("the log does not name the client:\n%s", log.String())
	}
	for line := range strings.Lines(log.String()) {
		if strings.HasPrefix(line, "level=ERROR") || strings.Contains(line, "\x1b") {
			t.Errorf("the log has the line %q", line)
		}
	}
}

// TestFilesAreForTheOwner: others cannot read what is stored, not even in a directory
// that was made for all to read.
func TestFilesAreForTheOwner(t *testing.T) {
	made, fresh := t.TempDir(), filepath.Join(t.TempDir(), "data")
	if err := os.Chmod(made, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{made, fresh} {
		b, err := Open(Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.topics.create("t", 1, map[string]string{}, false); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		seen := 0
		err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.IsDir() || path == made { // made is as its owner made it; what is in it is not
				return err
			}
			seen++
			info, err := d.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("directory %s has mode %v", path, info.Mode())
			}
			return err
		})
		if err != nil || seen < 4 { // meta, logs, t-0 and deleted
			t.Errorf("%s has %d directories, %v", dir, seen, err)
		}
	}
}
