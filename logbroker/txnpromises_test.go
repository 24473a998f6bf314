package logbroker

import (
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

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
	batch := w.meta.NewBatch()
	w.txns.keep(batch, func(txn.State) bool { return true })()
	w.restart()
	w.want(w.describeTxn("a").ErrorCode, kerr.TransactionalIDNotFound)
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
