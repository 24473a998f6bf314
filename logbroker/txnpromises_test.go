package logbroker

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker/commitlog"
	"github.com/levada/levada/logbroker/meta"
	"github.com/levada/levada/logbroker/txn"
)

// TestTimeOutIsOfTheOpenTransaction: that of one which has ended does not abort the next
// one of the same id, and one alarm is enough for them all.
func TestTimeOutIsOfTheOpenTransaction(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	pid, epoch := w.initID(id) // with a minute for each transaction
	var want []string
	for i := range 20 {
		value := fmt.Sprint("v", i)
		want = append(want, value)
		w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, value)).ErrorCode, nil)
		w.pass(50 * time.Second)
		end := w.endTxn(5, id, pid, epoch, true)
		w.want(end.ErrorCode, nil)
		pid, epoch = end.ProducerID, end.ProducerEpoch
	}
	w.wantValues(0, want...)
	if n := len(w.timers.heap); n > 3 {
		t.Errorf("%d timers for one id", n)
	}
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "late")).ErrorCode, nil)
	w.pass(30 * time.Second) // the alarm of the one before it
	w.pass(31 * time.Second)
	if got := w.endTxn(5, id, pid, epoch, true).ErrorCode; got == 0 {
		t.Error("a transaction is committed after its time")
	}
	w.wantValues(0, want...)
}

// TestTheDecisionStaysUntilItsMarkers: one that cannot be written in one of the partitions
// is written by the next start: without the decision the transaction would be aborted in
// that partition, which was committed in the other.
func TestTheDecisionStaysUntilItsMarkers(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	var broken atomic.Bool
	w.cfg.FS = errorfs.Wrap(w.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpFileWriteAt && strings.HasSuffix(op.Path, ".log") && strings.Contains(op.Path, "-1/") {
			return syscall.EIO
		}
		return nil
	}))
	w.open()
	w.topic("t", 2)
	id := "a"
	pid, epoch := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "here")).ErrorCode, nil)
	w.want(w.produce(13, &id, 1, oneRecord(pid, epoch, 0, true, "there")).ErrorCode, nil)
	broken.Store(true)
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
	w.pass(time.Hour) // whatever is done late
	broken.Store(false)
	if rows, err := w.meta.Decisions(); err != nil || len(rows) != 1 {
		t.Errorf("%d decisions are kept, %v", len(rows), err)
	}
	if open := w.topics.byName("t").parts()[1].log.OpenTransactions(); len(open) != 1 {
		t.Fatalf("open: %+v; no marker was refused", open)
	}
	w.restart()
	w.wantValues(0, "here")
	w.wantValues(1, "there")
	if open := w.topics.byName("t").parts()[1].log.OpenTransactions(); len(open) != 0 {
		t.Errorf("open after a restart: %+v", open)
	}
}

// TestAnOldDecisionEndsNoOther: one that is found again leaves a transaction alone that is
// of a newer epoch, though it begins below the end that the decision names, or that begins
// behind that end, though it is of the same epoch.
func TestAnOldDecisionEndsNoOther(t *testing.T) {
	for _, old := range []struct {
		epochs int16
		end    int64
	}{{1, 100}, {0, 1}} {
		w := newWorkbench(t)
		w.topic("t", 1)
		id := "a"
		w.initID(id)
		pid, epoch := w.initID(id)
		w.want(w.produce(13, nil, 0, oneRecord(-1, -1, -1, false, "before")).ErrorCode, nil)
		w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
		p := w.topics.byName("t").parts()[0]
		w.txns.finish(meta.Decision{
			ProducerID: pid, Epoch: epoch - old.epochs, MarkerEpoch: epoch, Counter: 1, Partitions: []meta.DecisionPartition{{Partition: p.id(), End: old.end}},
		})
		w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
		w.wantValues(0, "before", "v")
	}
}

// TestATopicGoesWhileItIsSynced: the end of a transaction does not fail for a partition
// whose topic is deleted meanwhile.
func TestATopicGoesWhileItIsSynced(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.want(w.produce(13, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
	p := w.topics.byName("t").parts()[0]
	row := meta.Decision{Partitions: []meta.DecisionPartition{{Partition: p.id(), End: p.log.End() + 1}}}
	w.deleteTopic("t")
	called := 0
	w.txns.syncAll(row, []*partition{p}, func(err error) {
		if called++; err != nil {
			t.Error(err)
		}
	})
	if called != 1 {
		t.Errorf("told %d times", called)
	}
}

// TestAnExpiredIDIsNoLongerUsed: who found a transactional id just before it was forgotten
// is sent to look again, and nothing of it is kept.
func TestAnExpiredIDIsNoLongerUsed(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	pid, epoch := w.initID("a")
	e := w.txns.find("a")
	w.pass(8 * day)
	w.Clean()
	if n := len(w.txns.byID) + len(w.txns.byProducer); n != 0 {
		t.Errorf("%d entries are kept", n)
	}
	producer := txn.Producer{ID: pid, Epoch: epoch}
	called := 0
	w.txns.apply(e, txn.Add{Producer: producer, Groups: []string{"g"}}, func(_ txn.Producer, err error) {
		if called++; err != kerr.NotCoordinator {
			t.Errorf("told %v", err)
		}
	})
	if called != 1 {
		t.Errorf("told %d times", called)
	}
	id := "a"
	w.txns.byProducer[pid] = e // it was found a moment ago
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, kerr.InvalidProducerIDMapping)
	w.want(w.commitOffset(id, pid, epoch, "g", 1).Topics[0].Partitions[0].ErrorCode, kerr.InvalidProducerIDMapping)
	delete(w.txns.byProducer, pid)
	batch := w.meta.NewBatch()
	w.txns.keep(batch, func(txn.State) bool { return true })()
	w.restart()
	w.want(w.describeTxn("a").ErrorCode, kerr.TransactionalIDNotFound)
	// One that has the same id now is not forgotten for it.
	w.initID("a")
	if err := w.txns.forgetIdle(e); err != nil || w.txns.find("a") == nil {
		t.Errorf("a new id went with the old one, %v", err)
	}
	w.restart()
	w.want(w.describeTxn("a").ErrorCode, nil)
}

// TestOldProducersAreNotKept: of an id that was given another producer id, as its epochs
// were used up, the old one is unknown.
func TestOldProducersAreNotKept(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	first, epoch := w.rise(id, 1<<15-2)
	pid, _ := w.initID(id)
	if pid == first || len(w.txns.byProducer) != 1 {
		t.Errorf("producer %d after %d, and %d are known", pid, first, len(w.txns.byProducer))
	}
	w.want(w.produce(13, &id, 0, oneRecord(first, epoch, 0, true, "late")).ErrorCode, kerr.InvalidProducerIDMapping)
}

// TestWhatAnIDRemembers: a restart keeps when the open transaction began and how long it
// may last, and which producer the last one was: who repeats a request whose answer it did
// not get is answered the same.
func TestWhatAnIDRemembers(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	start := func(pid int64, epoch int16) *kmsg.InitProducerIDResponse {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version, req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 4, &id, 100_000, pid, epoch
		resp := ask[*kmsg.InitProducerIDResponse](w, req)
		w.want(resp.ErrorCode, nil)
		return resp
	}
	first := start(-1, -1)
	next := start(first.ProducerID, first.ProducerEpoch)
	w.restart()
	if again := start(first.ProducerID, first.ProducerEpoch); again.ProducerID != next.ProducerID || again.ProducerEpoch != next.ProducerEpoch {
		t.Errorf("producer %d with epoch %d, and again %d with %d", next.ProducerID, next.ProducerEpoch, again.ProducerID, again.ProducerEpoch)
	}
	pid, epoch := next.ProducerID, next.ProducerEpoch
	for _, late := range []time.Duration{39 * time.Second, 41 * time.Second} {
		w.addPartition(id, pid, epoch, 0, nil)
		w.want(w.produce(11, &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
		w.pass(time.Minute)
		w.restart()
		w.pass(late)
		if got := w.endTxn(4, id, pid, epoch, true).ErrorCode; (got == 0) != (late < 40*time.Second) {
			t.Errorf("committed after a minute and %v: %v", late, kerr.ErrorForCode(got))
		}
		epoch = start(-1, -1).ProducerEpoch
	}
	w.wantValues(0, "v")
}

// TestPowerIsLostOnce: a start after a power loss that was dealt with, and a SIGKILL, lets
// open transactions go on.
func TestPowerIsLostOnce(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.losePower("boot-2")
	id := "a"
	pid, epoch := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
	w.restart()
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
	w.wantValues(0, "v")
}

// TestTheDiskIsFullAtTheStart: a transaction whose decision is found, and whose marker
// cannot be written, stays committed.
func TestTheDiskIsFullAtTheStart(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	var full atomic.Bool
	w.cfg.FS = errorfs.Wrap(w.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpFileWriteAt && strings.Contains(op.Path, logsDir+"/") && strings.HasSuffix(op.Path, ".log") {
			return syscall.ENOSPC
		}
		return nil
	}))
	w.open()
	w.topic("t", 1)
	id := "a"
	pid, epoch := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
	full.Store(true)
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
	for range 3 {
		w.restart()
		w.pass(markerRetry)
		w.wantValues(0, "v")
		if rows, err := w.meta.Decisions(); err != nil || len(rows) != 1 || !rows[0].Commit {
			t.Fatalf("decisions %+v, %v", rows, err)
		}
	}
	full.Store(false)
	w.restart()
	w.wantValues(0, "v")
	if open := w.topics.byName("t").parts()[0].log.OpenTransactions(); len(open) != 0 {
		t.Errorf("still open: %+v", open)
	}
}

// TestDecisionsAreToldApart: one that is found keeps its row when the same producer decides
// again under the same epoch.
func TestDecisionsAreToldApart(t *testing.T) {
	w := newWorkbench(t)
	batch := w.meta.NewBatch()
	for producer, counter := range map[int64]int64{1000: 9, 2000: 3} {
		batch.PutDecision(meta.Decision{ProducerID: producer, Counter: counter, Commit: true})
	}
	if err := w.commit(batch); err != nil {
		t.Fatal(err)
	}
	w.restart()
	if row, _ := w.txns.decision(txn.Decision{Producer: txn.Producer{ID: 1000}}); row.Counter <= 9 {
		t.Errorf("the next decision is number %d after one of number 9", row.Counter)
	}
}

// TestAMarkerWhereNothingWasWritten: it is written once, a start does not write another,
// and it does not end what is of another epoch, nor hold a decision up where the producer
// has a later one.
func TestAMarkerWhereNothingWasWritten(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	id := "a"
	pid, epoch := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
	parts := w.topics.byName("t").parts()
	row := meta.Decision{ProducerID: pid, Epoch: epoch + 1, MarkerEpoch: epoch + 2, Counter: 1}
	for _, p := range parts {
		row.Partitions = append(row.Partitions, meta.DecisionPartition{Partition: p.id(), End: p.log.End()})
	}
	w.txns.mark(row, parts, 0, true)
	w.txns.mark(row, parts, 0, false) // as a start does
	if here, there := parts[0].log.End(), parts[1].log.End(); here != 1 || there != 1 {
		t.Errorf("the logs end at %d and %d", here, there)
	}
	if open := parts[0].log.OpenTransactions(); len(open) != 1 || open[0].Decided {
		t.Errorf("open: %+v", open)
	}
	row.MarkerEpoch = epoch // of the past, for the second partition
	batch := w.meta.NewBatch()
	batch.PutDecision(row)
	if err := w.meta.Commit(batch, true); err != nil {
		t.Fatal(err)
	}
	w.txns.mark(row, parts[1:], 0, true)
	w.pass(2 * time.Second)
	if rows, err := w.meta.Decisions(); err != nil || len(rows) != 0 || parts[1].log.End() != 1 {
		t.Errorf("decisions %+v, %v; the log ends at %d", rows, err, parts[1].log.End())
	}
}

// TestADecisionWaitsForAMarkerThatIsThere: one that another has written, but that is not
// durable yet, is waited for as if it were its own.
func TestADecisionWaitsForAMarkerThatIsThere(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	pid, epoch := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
	p := w.topics.byName("t").parts()[0]
	if err := p.log.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, appended, err := p.log.AppendMarker(commitlog.Marker{ProducerID: pid, Epoch: epoch, Commit: true, CoordinatorEpoch: 0}); err != nil || !appended {
		t.Fatal(appended, err)
	}
	called := 0
	w.txns.appendMarker(meta.Decision{ProducerID: pid, Epoch: epoch, MarkerEpoch: epoch, Commit: true}, p, func(err error) {
		if called++; err != nil {
			t.Error(err)
		}
	})
	if called != 0 {
		t.Error("a decision is forgotten before its marker is durable")
	}
	w.pass(2 * time.Second)
	if called != 1 || p.log.SyncedEnd() != p.log.End() {
		t.Errorf("told %d times when the log is durable up to %d of %d", called, p.log.SyncedEnd(), p.log.End())
	}
}

// TestAMarkerOfATopicThatIsGone: a decision is forgotten though one of its topics was
// deleted before the marker was written.
func TestAMarkerOfATopicThatIsGone(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	p := w.topics.byName("t").parts()[0]
	row := meta.Decision{ProducerID: 7, Counter: 1, Partitions: []meta.DecisionPartition{{Partition: p.id(), End: 1}}}
	w.deleteTopic("t")
	var told []error
	w.txns.appendMarker(row, p, func(err error) { told = append(told, err) })
	if len(told) != 1 || told[0] != nil && !errors.Is(told[0], kerr.UnknownTopicOrPartition) {
		t.Errorf("told %v", told)
	}
}

// TestOrphansOfEveryEpoch: what is open in a log under an epoch that its producer no longer
// has is aborted, in each partition, and is not taken for a part of the producer's own
// transaction.
func TestOrphansOfEveryEpoch(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 3)
	id := "a"
	w.initID(id)
	pid, epoch := w.initID(id)
	parts := w.topics.byName("t").parts()
	for i, b := range []recordbatch.Batch{
		oneRecord(pid, epoch-1, 0, true, "old"), oneRecord(99, 3, 0, true, "orphan"), oneRecord(99, 4, 0, true, "orphan"),
	} {
		if _, err := parts[i].log.Append(b, commitlog.TxnCheck(nil)); err != nil {
			t.Fatal(err)
		}
	}
	w.restart()
	w.pass(2 * time.Second)
	for i, p := range w.topics.byName("t").parts() {
		if stable, end := w.lastStable(p), p.log.End(); stable != end {
			t.Errorf("partition %d: last stable offset %d, end %d", i, stable, end)
		}
		w.wantValues(int32(i))
	}
	if got := w.describeTxn(id).State; got != "Empty" {
		t.Errorf("the transaction of the producer is %s", got)
	}
}

// TestGroupsOfATransactionAreKept: what a producer of the older protocol has said of its
// groups it need not say again after a SIGKILL, though no offset came yet.
func TestGroupsOfATransactionAreKept(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	pid, epoch := w.initID(id)
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.Version, add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = 3, id, pid, epoch, "g"
	w.want(ask[*kmsg.AddOffsetsToTxnResponse](w, add).ErrorCode, nil)
	w.restart()
	commit := kmsg.NewPtrTxnOffsetCommitRequest()
	commit.Version, commit.TransactionalID, commit.Group, commit.ProducerID, commit.ProducerEpoch, commit.Generation = 3, id, "g", pid, epoch, -1
	commit.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Offset: 7}}}}
	w.want(ask[*kmsg.TxnOffsetCommitResponse](w, commit).Topics[0].Partitions[0].ErrorCode, nil)
	w.want(w.endTxn(4, id, pid, epoch, true).ErrorCode, nil)
	if got := w.offset("g"); got != 7 {
		t.Errorf("offset %d, want 7", got)
	}
}
