package logbroker

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/commitlog"
	"github.com/levada/levada/logbroker/meta"
)

func (w *workbench) commitOffset(id string, pid int64, epoch int16, group string, offset int64) *kmsg.TxnOffsetCommitResponse {
	w.t.Helper()
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.Version, req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = 5, id, group, pid, epoch, -1
	t := kmsg.NewTxnOffsetCommitRequestTopic()
	t.Topic = "t"
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Offset = offset
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return ask[*kmsg.TxnOffsetCommitResponse](w, req)
}

func (w *workbench) offset(group string) int64 {
	w.t.Helper()
	o, ok, err := w.meta.Offset(group, "t", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if !ok {
		return -1
	}
	return o.Offset
}

func (w *workbench) wantValues(partition int32, want ...string) {
	w.t.Helper()
	if got := w.values(partition, true); !slices.Equal(got, want) {
		w.t.Fatalf("committed values of partition %d: %q, want %q", partition, got, want)
	}
}

// After a SIGKILL an open transaction goes on, with its pending offsets.
func TestOpenTransactionSurvivesKill(t *testing.T) {
	for _, version := range []int16{11, 12} {
		w := newWorkbench(t)
		w.topic("t", 2)
		id := "id"
		pid, epoch := w.initID(id)
		end := int16(5)
		if version < implicitVersion {
			end = 4
			w.addPartition(id, pid, epoch, 0, nil)
			w.addPartition(id, pid, epoch, 1, nil) // nothing is written to it before the kill
		}
		w.want(w.produce(version, &id, 0, oneRecord(pid, epoch, 0, true, "a")).ErrorCode, nil)
		w.want(w.commitOffset(id, pid, epoch, "g", 7).Topics[0].Partitions[0].ErrorCode, nil)
		w.restart()
		w.wantValues(0)
		if !w.meta.Unstable("g", "t", 0) || w.offset("g") != -1 {
			t.Fatal("the pending offset did not survive the kill")
		}
		w.want(w.produce(version, &id, 1, oneRecord(pid, epoch, 0, true, "b")).ErrorCode, nil)
		w.want(w.endTxn(end, id, pid, epoch, true).ErrorCode, nil)
		w.wantValues(0, "a")
		w.wantValues(1, "b")
		if w.offset("g") != 7 || w.meta.Unstable("g", "t", 0) {
			t.Fatalf("offset %d, want 7", w.offset("g"))
		}
	}
}

func (w *workbench) addPartition(id string, pid int64, epoch int16, partition int32, want *kerr.Error) {
	w.t.Helper()
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = 3, id, pid, epoch
	topic := kmsg.NewAddPartitionsToTxnRequestTopic()
	topic.Topic, topic.Partitions = "t", []int32{partition}
	req.Topics = append(req.Topics, topic)
	w.want(ask[*kmsg.AddPartitionsToTxnResponse](w, req).Topics[0].Partitions[0].ErrorCode, want)
}

// After a power loss nobody may commit a transaction whose head may be gone,
// whether the logs show a trace of it or not; its producer aborts and goes on.
func TestPowerLossFencesEveryID(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id, idle := "id", "idle"
	pid, epoch := w.initID(id)
	idlePID, idleEpoch := w.initID(idle)
	w.want(w.produce(12, &id, 0, oneRecord(pid, epoch, 0, true, "lost")).ErrorCode, nil)
	w.want(w.commitOffset(id, pid, epoch, "g", 7).Topics[0].Partitions[0].ErrorCode, nil)
	w.losePower("boot-2")
	w.want(w.produce(12, &id, 0, oneRecord(pid, epoch, 1, true, "tail")).ErrorCode, kerr.InvalidProducerEpoch)
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, kerr.InvalidTxnState)
	w.want(w.produce(12, &idle, 0, oneRecord(idlePID, idleEpoch, 0, true, "x")).ErrorCode, kerr.InvalidProducerEpoch)
	resp := w.endTxn(5, id, pid, epoch, false)
	w.want(resp.ErrorCode, nil)
	if resp.ProducerEpoch <= epoch {
		t.Fatalf("epoch %d after %d", resp.ProducerEpoch, epoch)
	}
	if w.offset("g") != -1 || w.meta.Unstable("g", "t", 0) {
		t.Error("a pending offset outlived the power loss")
	}
	w.want(w.produce(12, &id, 0, oneRecord(pid, resp.ProducerEpoch, 0, true, "next")).ErrorCode, nil)
	w.want(w.endTxn(5, id, pid, resp.ProducerEpoch, true).ErrorCode, nil)
	w.wantValues(0, "next")
}

// A clean end keeps everything, so a new boot id after it is no power loss.
func TestCleanEndIsNoPowerLoss(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "id"
	pid, epoch := w.initID(id)
	w.want(w.produce(12, &id, 0, oneRecord(pid, epoch, 0, true, "a")).ErrorCode, nil)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.cfg.BootID = func() string { return "boot-2" }
	w.open()
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
	w.wantValues(0, "a")
}

// The row of a decision may come back after its deletion was lost. It must not
// touch a later transaction, even one that begins below the end it names.
func TestDecisionFoundAgainTouchesNothingElse(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "id"
	pid, epoch := w.initID(id)
	w.want(w.produce(12, &id, 0, oneRecord(pid, epoch, 0, true, "a")).ErrorCode, nil)
	next := w.endTxn(5, id, pid, epoch, false)
	w.want(next.ErrorCode, nil)
	w.want(w.produce(12, &id, 0, oneRecord(pid, next.ProducerEpoch, 0, true, "b")).ErrorCode, nil)
	batch := w.meta.NewBatch()
	batch.PutDecision(meta.Decision{
		ProducerID: pid, Epoch: epoch, Counter: 1, MarkerEpoch: next.ProducerEpoch,
		Partitions: []meta.DecisionPartition{{Partition: meta.Partition{Topic: w.topics.byName("t").id}, End: 1000}},
	})
	if err := w.commit(batch); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.want(w.endTxn(5, id, pid, next.ProducerEpoch, true).ErrorCode, nil)
	w.wantValues(0, "b")
}

// A decision that was durable is finished by the next start, once.
func TestDecidedTransactionIsFinished(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "id"
	pid, epoch := w.initID(id)
	w.want(w.produce(12, &id, 0, oneRecord(pid, epoch, 0, true, "a")).ErrorCode, nil)
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
	w.losePower("boot-2") // takes the marker, which was not synced
	w.wantValues(0, "a")
	w.pass(2 * time.Second)
	if rows, err := w.meta.Decisions(); err != nil || len(rows) != 0 {
		t.Fatalf("decisions left: %v, %v", rows, err)
	}
	end := w.topics.byName("t").parts()[0].log.End()
	w.restart()
	if again := w.topics.byName("t").parts()[0].log.End(); again != end {
		t.Errorf("end %d after a restart, was %d: a marker was written twice", again, end)
	}
}

// The row of a decision stays while one of its partitions is offline.
func TestDecisionWaitsForOfflinePartition(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	id := "id"
	pid, epoch := w.initID(id)
	for i := range int32(2) {
		w.want(w.produce(12, &id, i, oneRecord(pid, epoch, 0, true, "a")).ErrorCode, nil)
	}
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
	w.losePower("boot-2")
	w.Kill()
	dir := w.topics.dir("t", 1)
	if err := w.fs.Rename(dir, "away"); err != nil {
		t.Fatal(err)
	}
	// The run before has appended the marker and deleted the row only in memory.
	w.open()
	w.want(w.produce(12, nil, 1, oneRecord(-1, -1, -1, false, "x")).ErrorCode, kerr.KafkaStorageError)
	w.pass(2 * time.Second)
	if rows, err := w.meta.Decisions(); err != nil || len(rows) != 1 {
		t.Fatalf("decisions: %v, %v; want the one that the offline partition needs", rows, err)
	}
	w.Kill()
	if err := w.fs.Rename("away", dir); err != nil {
		t.Fatal(err)
	}
	w.open()
	w.wantValues(1, "a")
}

// What is open while a partition is offline is aborted: a commit would leave out
// what lies there.
func TestOfflinePartitionEndsTransactions(t *testing.T) {
	for _, old := range []bool{false, true} {
		w := newWorkbench(t)
		w.topic("t", 2)
		id := "id"
		pid, epoch := w.initID(id)
		version := map[bool]int16{false: 12, true: 11}[old]
		for i := range int32(2) {
			if old {
				w.addPartition(id, pid, epoch, i, nil)
			}
			w.want(w.produce(version, &id, i, oneRecord(pid, epoch, 0, true, "a")).ErrorCode, nil)
		}
		w.Kill()
		dir := w.topics.dir("t", 1)
		if err := w.fs.Rename(dir, "away"); err != nil {
			t.Fatal(err)
		}
		w.open()
		if code := w.endTxn(map[bool]int16{false: 5, true: 4}[old], id, pid, epoch, true).ErrorCode; code == 0 {
			t.Error("a transaction is committed in part")
		}
		w.Kill()
		if err := w.fs.Rename("away", dir); err != nil {
			t.Fatal(err)
		}
		w.open()
		w.pass(2 * time.Second)
		w.wantValues(0)
		w.wantValues(1)
		pid, epoch = w.initID(id)
		w.want(w.produce(12, &id, 1, oneRecord(pid, epoch, 0, true, "b")).ErrorCode, nil)
		w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
		w.wantValues(1, "b")
	}
}

// An open transaction that no id answers for is aborted, so that it does not
// hold the last stable offset for ever.
func TestOrphanIsAborted(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	log := w.topics.byName("t").parts()[0].log
	if _, err := log.Append(oneRecord(99, 3, 0, true, "orphan"), commitlog.TxnCheck(nil)); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.pass(2 * time.Second)
	p := w.topics.byName("t").parts()[0]
	if stable, end := w.lastStable(p), p.log.End(); stable != end {
		t.Errorf("last stable offset %d, end %d", stable, end)
	}
	w.wantValues(0)
}

// A transaction whose time is over is aborted, also where a restart came in
// between; its producer may abort and go on.
func TestTransactionTimesOut(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "id"
	pid, epoch := w.initID(id)
	w.want(w.produce(12, &id, 0, oneRecord(pid, epoch, 0, true, "a")).ErrorCode, nil)
	w.restart()
	w.pass(61 * time.Second)
	w.want(w.produce(12, &id, 0, oneRecord(pid, epoch, 1, true, "b")).ErrorCode, kerr.InvalidProducerEpoch)
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, kerr.InvalidTxnState)
	next := w.endTxn(5, id, pid, epoch, false)
	w.want(next.ErrorCode, nil)
	w.want(w.produce(12, &id, 0, oneRecord(pid, next.ProducerEpoch, 0, true, "c")).ErrorCode, nil)
	w.want(w.endTxn(5, id, pid, next.ProducerEpoch, true).ErrorCode, nil)
	w.pass(2 * time.Second)
	w.wantValues(0, "c")
}
