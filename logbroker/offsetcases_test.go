package logbroker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestPendingOffsetsGoWithTheirTopic: the end of their transaction, which is open
// still, brings nothing back in a new topic of the name.
func TestPendingOffsetsGoWithTheirTopic(t *testing.T) {
	for name, interrupt := range map[string]func(*workbench){"running": func(*workbench) {}, "killed": (*workbench).restart} {
		for _, other := range []bool{false, true} { // offsets of another topic are in the transaction
			t.Run(fmt.Sprint(name, other), func(t *testing.T) {
				w := newWorkbench(t)
				w.topic("t", 1)
				id := "a"
				pid, epoch := w.initID(id)
				w.want(w.commitOffset(id, pid, epoch, "g", 100).Topics[0].Partitions[0].ErrorCode, nil)
				if other {
					w.topic("u", 1)
					w.want(wait[*kmsg.TxnOffsetCommitResponse](w.Broker, pendingIn("u", id, pid, epoch)).Topics[0].Partitions[0].ErrorCode, nil)
				}
				w.deleteTopic("t")
				interrupt(w)
				w.topic("t", 1)
				if w.meta.Unstable("g", "t", 0) {
					t.Error("an offset is pending in a new topic")
				}
				w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
				w.wantOffset(-1)
				if o, ok, err := w.meta.Offset("g", "u", 0); ok != other || err != nil || other && o.Offset != 100 {
					t.Errorf("offset in the other topic: %+v, %v, %v", o, ok, err)
				}
				w.losePower("boot-2")
				w.wantOffset(-1)
			})
		}
	}
}

// pendingIn adds an offset of group "g" to a transaction.
func pendingIn(topic, id string, pid int64, epoch int16) *kmsg.TxnOffsetCommitRequest {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.Version, req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = 5, id, "g", pid, epoch, -1
	t := kmsg.NewTxnOffsetCommitRequestTopic()
	t.Topic = topic
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Offset = 100
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// committedIn commits an offset of group "g" outside of a transaction.
func committedIn(topic string) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = 9, "g", -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = topic
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset = 100
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// TestCommitsMeetADeletion: offsets that are committed while their topic is deleted,
// in transactions and without, are not found in a new one of the name.
func TestCommitsMeetADeletion(t *testing.T) {
	b, _ := dial(t, Config{})
	create := func(name string) {
		t.Helper()
		if _, err := b.topics.create(name, 1, map[string]string{}, false); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 40 {
		name := fmt.Sprint("t", round)
		create(name)
		var gone atomic.Bool
		var busy, all sync.WaitGroup
		for c := range 6 {
			busy.Add(1)
			all.Go(func() {
				commit := func() { wait[*kmsg.OffsetCommitResponse](b, committedIn(name)) }
				if c < 2 {
					commit = transactionsIn(b, name, fmt.Sprint("id", c))
				}
				commit()
				busy.Done()
				for !gone.Load() {
					commit()
				}
			})
		}
		busy.Wait()
		drop := kmsg.NewPtrDeleteTopicsRequest()
		drop.Version, drop.TopicNames = 5, []string{name}
		if code := wait[*kmsg.DeleteTopicsResponse](b, drop).Topics[0].ErrorCode; code != 0 {
			t.Fatalf("error %d", code)
		}
		gone.Store(true)
		all.Wait()
		create(name)
		if o, ok, err := b.meta.Offset("g", name, 0); ok || err != nil {
			t.Fatalf("round %d: a new topic has offset %d, %v", round, o.Offset, err)
		}
		if b.meta.Unstable("g", name, 0) {
			t.Fatalf("round %d: an offset is pending in a new topic", round)
		}
	}
}

// transactionsIn returns what commits an offset in a transaction of its own.
func transactionsIn(b *Broker, topic, id string) (commit func()) {
	begin := kmsg.NewPtrInitProducerIDRequest()
	begin.Version, begin.TransactionalID, begin.TransactionTimeoutMillis, begin.ProducerID, begin.ProducerEpoch = 4, &id, 60_000, -1, -1
	p := wait[*kmsg.InitProducerIDResponse](b, begin)
	return func() {
		wait[*kmsg.TxnOffsetCommitResponse](b, pendingIn(topic, id, p.ProducerID, p.ProducerEpoch))
		end := kmsg.NewPtrEndTxnRequest()
		end.Version, end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = 4, id, p.ProducerID, p.ProducerEpoch, true
		wait[*kmsg.EndTxnResponse](b, end)
	}
}

// TestMembershipIsCheckedBehindTheGate: offsets of a transaction that wait for its gate
// while the member is taken out and another has its partitions are refused.
func TestMembershipIsCheckedBehindTheGate(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	var clock atomic.Int64 // which the request reads that waits
	clock.Store(w.now.UnixMilli())
	w.cfg.Now = func() time.Time { return time.UnixMilli(clock.Load()) }
	w.open()
	w.topic("t", 1)
	old := w.joinClassic("")
	w.syncClassic(old.MemberID, old.Generation, map[string][]int32{old.MemberID: {0}})
	id := "a"
	pid, epoch := w.initID(id)
	w.want(w.commitOffset(id, pid, epoch, "other", 1).Topics[0].Partitions[0].ErrorCode, nil) // the transaction is open
	e := w.txns.find(id)
	e.gate.Lock() // a change of its state that waits for the disk
	req := pendingIn("t", id, pid, epoch)
	req.MemberID, req.Generation = old.MemberID, old.Generation
	late := make(chan int16)
	go func() { late <- wait[*kmsg.TxnOffsetCommitResponse](w.Broker, req).Topics[0].Partitions[0].ErrorCode }()
	if !eventually(10*time.Second, func() bool {
		if w.topics.offsets.TryLock() { // it has come as far as the gate when this is held
			w.topics.offsets.Unlock()
			return false
		}
		return true
	}) {
		t.Fatal("the request does not come to the gate")
	}
	w.Tick(time.UnixMilli(clock.Add(50_000)))
	next := w.joinClassic("")
	w.syncClassic(next.MemberID, next.Generation, map[string][]int32{next.MemberID: {0}})
	if next.Generation <= old.Generation {
		t.Fatalf("generation %d after %d", next.Generation, old.Generation)
	}
	fetch := kmsg.NewPtrOffsetFetchRequest()
	fetch.Version, fetch.Group, fetch.RequireStable = 7, "g", true
	ft := kmsg.NewOffsetFetchRequestTopic()
	ft.Topic, ft.Partitions = "t", []int32{0}
	fetch.Topics = append(fetch.Topics, ft)
	stable := ask[*kmsg.OffsetFetchResponse](w, fetch).Topics[0].Partitions[0]
	w.want(stable.ErrorCode, nil)
	e.gate.Unlock()
	w.want(<-late, kerr.UnknownMemberID)
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
	w.wantOffset(stable.Offset)
}

// TestFetchComesAfterCommits: what a later member fetches or commits comes after what
// was taken from an earlier one, also while that waits for the disk.
func TestFetchComesAfterCommits(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	w.cfg.Synchronous = false
	w.open()
	if _, err := w.topics.create("t", 1, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	w.topics.offsets.Lock() // nothing is written
	commit := func(offset int64) chan kmsg.Response {
		req := committedIn("t")
		req.Topics[0].Partitions[0].Offset = offset
		answer := make(chan kmsg.Response, 1)
		w.Handle(NewConn("test", "/test"), req, func(r kmsg.Response) { answer <- r })
		return answer
	}
	first := commit(1)
	fetch := kmsg.NewPtrOffsetFetchRequest()
	fetch.Version, fetch.Group = 5, "g"
	ft := kmsg.NewOffsetFetchRequestTopic()
	ft.Topic, ft.Partitions = "t", []int32{0}
	fetch.Topics = append(fetch.Topics, ft)
	fetched := make(chan int64, 1)
	w.Handle(NewConn("test", "/test"), fetch, func(r kmsg.Response) {
		fetched <- r.(*kmsg.OffsetFetchResponse).Topics[0].Partitions[0].Offset
	})
	second := commit(2)
	if len(first)+len(second)+len(fetched) > 0 {
		t.Error("something is answered before it is on disk")
	}
	w.topics.offsets.Unlock()
	if got := <-fetched; got < 1 {
		t.Errorf("offset %d is fetched after a commit of 1", got)
	}
	<-first
	<-second
	if got := wait[*kmsg.OffsetFetchResponse](w.Broker, fetch).Topics[0].Partitions[0].Offset; got != 2 {
		t.Errorf("offset %d after the last commit, of 2", got)
	}
}

// TestFetchesHoldNoCommitUp: a fetch of offsets that waited for commits, and takes its
// time then, keeps no other commit from its answer.
func TestFetchesHoldNoCommitUp(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	w.cfg.Synchronous = false
	w.open()
	if _, err := w.topics.create("t", 1, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	commit := func() chan kmsg.Response {
		answer := make(chan kmsg.Response, 1)
		w.Handle(NewConn("test", "/test"), committedIn("t"), func(r kmsg.Response) { answer <- r })
		return answer
	}
	w.topics.offsets.Lock() // nothing is written
	first := commit()
	fetch := kmsg.NewPtrOffsetFetchRequest()
	fetch.Version, fetch.Group = 5, "g"
	goOn, fetched := make(chan struct{}), make(chan struct{})
	w.Handle(NewConn("test", "/test"), fetch, func(kmsg.Response) {
		<-goOn
		close(fetched)
	})
	w.topics.offsets.Unlock()
	<-first
	select {
	case <-commit():
	case <-time.After(10 * time.Second):
		t.Error("a commit waits for a fetch")
	}
	close(goOn)
	<-fetched
}

// TestPendingOffsetsByTopicID: from version 6 on TxnOffsetCommit names topics by their
// ids alone, and is answered so; the id of a topic that was deleted is not that of the
// next of its name.
func TestPendingOffsetsByTopicID(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	gone := w.topics.byName("t").id
	w.deleteTopic("t")
	w.topic("t", 1)
	known, id := w.topics.byName("t").id, "a"
	pid, epoch := w.initID(id)
	commit := func(topic [16]byte, name string, partition int32) int16 {
		req := pendingIn(name, id, pid, epoch)
		req.Version = 6
		req.Topics[0].TopicID, req.Topics[0].Partitions[0].Partition = topic, partition
		resp := onTheWire(t, ask[*kmsg.TxnOffsetCommitResponse](w, req))
		if got := resp.Topics[0]; got.TopicID != topic || got.Topic != "" || got.Partitions[0].Partition != partition {
			t.Errorf("%x-%d is answered as %+v", topic, partition, got)
		}
		return resp.Topics[0].Partitions[0].ErrorCode
	}
	w.want(commit(gone, "t", 0), kerr.UnknownTopicID)
	w.want(commit([16]byte{}, "t", 0), kerr.UnknownTopicID)
	w.want(commit(known, "", 1), kerr.UnknownTopicOrPartition)
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, kerr.InvalidTxnState) // none has begun
	w.want(commit(known, "", 0), nil)
	w.wantOffset(-1)
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
	w.wantOffset(100)
	w.restart()
	w.wantOffset(100)
}

// onTheWire is a response as a client reads it.
func onTheWire[R kmsg.Response](t *testing.T, resp R) R {
	t.Helper()
	read := kmsg.ResponseForKey(resp.Key())
	read.SetVersion(resp.GetVersion())
	if err := read.ReadFrom(resp.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	return read.(R)
}
