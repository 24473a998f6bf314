package logbroker

import (
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestTopicsChangeInATransaction: a topic that is deleted, and made anew, under an
// open transaction neither hinders its end nor keeps readers waiting; partitions
// that come meanwhile take part.
func TestTopicsChangeInATransaction(t *testing.T) {
	for _, killed := range []bool{false, true} {
		for _, commit := range []bool{true, false} {
			w := newWorkbench(t)
			w.topic("t", 1)
			w.topic("u", 1)
			id := "a"
			pid, epoch := w.initID(id)
			if _, err := w.Append("u", 0, oneRecord(pid, epoch, 0, true, "gone")); err != nil {
				t.Fatal(err)
			}
			w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "old partition")).ErrorCode, nil)
			w.deleteTopic("u")
			w.topic("u", 1)
			w.want(w.createPartitions("t", 3, nil).ErrorCode, nil)
			w.want(w.produce(13, &id, 2, oneRecord(pid, epoch, 0, true, "new partition")).ErrorCode, nil)
			if killed {
				w.restart()
			}
			w.wantValues(0)
			w.wantValues(2)
			w.want(w.endTxn(5, id, pid, epoch, commit).ErrorCode, nil)
			check := func() {
				t.Helper()
				var first, third []string
				if commit {
					first, third = []string{"old partition"}, []string{"new partition"}
				}
				w.wantValues(0, first...)
				w.wantValues(2, third...)
				w.pass(2 * time.Second)
				w.topics.each(func(p *partition) {
					if stable, end := w.lastStable(p), p.log.End(); stable != end {
						t.Errorf("%s-%d: last stable offset %d, end %d", p.topic.name, p.index, stable, end)
					}
				})
				if end := w.topics.byName("u").parts()[0].log.End(); end != 0 {
					t.Errorf("the new topic has %d offsets", end)
				}
				if rows, err := w.meta.Decisions(); err != nil || len(rows) != 0 {
					t.Errorf("decisions left: %v, %v", rows, err)
				}
			}
			check()
			w.losePower("boot-2")
			check()
			w.want(w.describeTxn(id).ErrorCode, nil)
		}
	}
}

// TestProducerIsThatOfTheID: a batch with the producer id of another transactional id
// than the request's is refused, whether a transaction of that one is open or not.
func TestProducerIsThatOfTheID(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	mine, theirs, nobody, none := "mine", "theirs", "nobody", ""
	w.initID(mine)
	pid, epoch := w.initID(theirs)
	refused := func() {
		t.Helper()
		for _, version := range []int16{11, 12, 13} {
			for id, want := range map[*string]*kerr.Error{
				&mine: kerr.InvalidProducerIDMapping, &nobody: kerr.InvalidProducerIDMapping, &none: kerr.InvalidRequest,
			} {
				w.want(w.produce(version, id, 0, oneRecord(pid, epoch, 1, true, "slipped in")).ErrorCode, want)
			}
		}
	}
	refused()
	w.want(w.produce(13, &theirs, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
	refused()
	w.want(w.endTxn(5, theirs, pid, epoch, true).ErrorCode, nil)
	w.wantValues(0, "v")
}

// TestTopicOfATransactionIsDeleted: with the only topic of a transaction everything
// goes that tells of it, and still its producer may end it, also after a SIGKILL.
func TestTopicOfATransactionIsDeleted(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	pid, epoch := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "gone")).ErrorCode, nil)
	w.deleteTopic("t")
	w.restart()
	end := w.endTxn(5, id, pid, epoch, true)
	w.want(end.ErrorCode, nil)
	w.topic("t", 1)
	w.want(w.produce(13, &id, 0, oneRecord(pid, end.ProducerEpoch, 0, true, "next")).ErrorCode, nil)
	w.want(w.endTxn(5, id, pid, end.ProducerEpoch, true).ErrorCode, nil)
	w.wantValues(0, "next")
}

// TestGroupDeletedWithPendingOffsets: they go with it, and the end of their
// transaction brings nothing back.
func TestGroupDeletedWithPendingOffsets(t *testing.T) {
	for _, commit := range []bool{true, false} {
		w := newWorkbench(t)
		w.topic("t", 1)
		id := "a"
		pid, epoch := w.initID(id)
		w.want(w.commitOffset(id, pid, epoch, "g", 7).Topics[0].Partitions[0].ErrorCode, nil)
		if !w.meta.Unstable("g", "t", 0) {
			t.Fatal("the offset is not pending")
		}
		drop := kmsg.NewPtrDeleteGroupsRequest()
		drop.Version, drop.Groups = 2, []string{"g"}
		w.want(ask[*kmsg.DeleteGroupsResponse](w, drop).Groups[0].ErrorCode, nil)
		w.restart()
		if w.meta.Unstable("g", "t", 0) {
			t.Error("an offset of a group that is gone is pending")
		}
		w.want(w.endTxn(5, id, pid, epoch, commit).ErrorCode, nil)
		w.wantOffset(-1)
		w.losePower("boot-2")
		w.wantOffset(-1)
		w.want(ask[*kmsg.DeleteGroupsResponse](w, drop).Groups[0].ErrorCode, kerr.GroupIDNotFound)
	}
}

// TestProducerIDsAreNeverReused: whatever ends the broker.
func TestProducerIDsAreNeverReused(t *testing.T) {
	w := newWorkbench(t)
	seen := map[int64]bool{}
	take := func(n int) {
		t.Helper()
		for range n {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.Version = 4
			resp := ask[*kmsg.InitProducerIDResponse](w, req)
			w.want(resp.ErrorCode, nil)
			if seen[resp.ProducerID] || resp.ProducerID < 0 {
				t.Fatalf("producer id %d is given out twice", resp.ProducerID)
			}
			seen[resp.ProducerID] = true
		}
	}
	take(1)
	for range 3 {
		w.restart()
		take(producerIDBlock + 2)
		w.losePower("boot")
		take(3)
	}
}

// rise takes a transactional id over until its producer has an epoch.
func (w *workbench) rise(id string, to int16) (pid int64, epoch int16) {
	w.t.Helper()
	pid, epoch = w.initID(id)
	for epoch < to {
		again, next := w.initID(id)
		if again != pid || next != epoch+1 {
			w.t.Fatalf("producer %d with epoch %d after %d with %d", again, next, pid, epoch)
		}
		epoch = next
	}
	return pid, epoch
}

// TestEpochsRunOutByTakeover: the abort of an open transaction, or the new instance
// after it, takes the last epoch of a producer.
func TestEpochsRunOutByTakeover(t *testing.T) {
	for held, want := range map[int16]int16{1<<15 - 3: 0, 1<<15 - 2: 1} {
		w := newWorkbench(t)
		w.topic("t", 1)
		id := "a"
		first, epoch := w.rise(id, held)
		w.want(w.produce(13, &id, 0, oneRecord(first, epoch, 0, true, "gone")).ErrorCode, nil)
		pid, next := w.initID(id)
		if pid <= first || next != want {
			t.Errorf("producer %d with epoch %d after %d with %d", pid, next, first, epoch)
		}
		w.restart()
		w.want(w.endTxn(5, id, first, epoch, true).ErrorCode, kerr.InvalidProducerIDMapping)
		w.want(w.produce(13, &id, 0, oneRecord(pid, next, 0, true, "v")).ErrorCode, nil)
		w.want(w.endTxn(5, id, pid, next, true).ErrorCode, nil)
		w.wantValues(0, "v")
	}
}

// TestEpochsRunOut: after the last epoch of a producer comes another producer id,
// with either protocol, and who has the old one is fenced.
func TestEpochsRunOut(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	first, _ := w.rise(id, 1<<15-3)
	w.restart()
	pid, epoch := w.initID(id) // the last that a producer is given
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "last")).ErrorCode, nil)
	end := w.endTxn(5, id, pid, epoch, true)
	w.want(end.ErrorCode, nil)
	if end.ProducerID == first || end.ProducerEpoch != 0 {
		t.Fatalf("producer %d with epoch %d after %d with %d", end.ProducerID, end.ProducerEpoch, pid, epoch)
	}
	w.wantValues(0, "last")
	for _, old := range []int16{epoch, epoch + 1, 0} {
		if code := w.produce(13, &id, 0, oneRecord(first, old, 1, true, "zombie")).ErrorCode; code == 0 {
			t.Errorf("a batch of the old producer with epoch %d is taken", old)
		}
	}
	again := w.endTxn(5, id, pid, epoch, true) // the answer was lost
	w.want(again.ErrorCode, nil)
	if again.ProducerID != end.ProducerID || again.ProducerEpoch != 0 {
		t.Errorf("asked again: %d with %d", again.ProducerID, again.ProducerEpoch)
	}
	w.restart()
	w.want(w.produce(13, &id, 0, oneRecord(end.ProducerID, 0, 0, true, "next")).ErrorCode, nil)
	w.want(w.endTxn(5, id, end.ProducerID, 0, true).ErrorCode, nil)
	w.wantValues(0, "last", "next")
}

// TestTakeoverOfAnOpenTransaction: who asks for the id is to ask again, and what was open
// is aborted then. The abort takes one epoch, and who asks again without a producer is
// given the next; the producer whose transaction it was is given that of the abort.
func TestTakeoverOfAnOpenTransaction(t *testing.T) {
	for name, interrupt := range map[string]func(w *workbench){"running": func(*workbench) {}, "killed": (*workbench).restart} {
		for _, holds := range []bool{false, true} {
			w := newWorkbench(t)
			w.topic("t", 1)
			id := "a"
			pid, epoch := w.initID(id)
			asPID, asEpoch := int64(-1), int16(-1)
			if holds {
				asPID, asEpoch = pid, epoch
			}
			w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "gone")).ErrorCode, nil)
			first := w.initAs(id, asPID, asEpoch)
			w.want(first.ErrorCode, kerr.ConcurrentTransactions)
			interrupt(w)
			if s := w.describeTxn(id); first.ProducerID != -1 || first.ProducerEpoch != -1 || s.State != "CompleteAbort" || s.ProducerID != pid || s.ProducerEpoch != epoch+1 {
				t.Errorf("%s: answered %+v, and there is %+v", name, first, s)
			}
			p := w.topics.byName("t").parts()[0]
			w.pass(2 * time.Second) // all is on disk
			if stable := w.lastStable(p); stable != 2 || stable != p.log.End() {
				t.Errorf("%s: stable up to %d of %d", name, stable, p.log.End())
			}
			w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, kerr.InvalidTxnState)
			w.want(w.endTxn(4, id, pid, epoch, true).ErrorCode, kerr.ProducerFenced)
			w.addPartition(id, pid, epoch, 0, kerr.ProducerFenced)
			w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 1, true, "zombie")).ErrorCode, kerr.InvalidProducerEpoch)
			next, fenced := w.initAs(id, asPID, asEpoch), []int16{epoch, epoch + 1}
			if holds {
				fenced = fenced[:1]
			}
			if want := epoch + int16(len(fenced)); next.ErrorCode != 0 || next.ProducerID != pid || next.ProducerEpoch != want {
				t.Fatalf("%s: %+v after %d with %d", name, next, pid, epoch)
			}
			for range 2 {
				for _, old := range fenced {
					w.want(w.produce(13, &id, 0, oneRecord(pid, old, 1, true, "zombie")).ErrorCode, kerr.InvalidProducerEpoch)
					w.want(w.endTxn(4, id, pid, old, false).ErrorCode, kerr.ProducerFenced)
				}
				interrupt(w)
			}
			w.want(w.produce(13, &id, 0, oneRecord(pid, next.ProducerEpoch, 0, true, "v")).ErrorCode, nil)
			w.want(w.endTxn(5, id, pid, next.ProducerEpoch, true).ErrorCode, nil)
			w.wantValues(0, "v")
		}
	}
}

// TestTakeoverThroughACrash: wherever in an abort the broker ends, who asks again is given
// the epoch after that of the abort; a power loss takes one more if the abort was decided.
func TestTakeoverThroughACrash(t *testing.T) {
	for _, power := range []bool{false, true} {
		decided := map[bool]int{}
		for calls := 1; ; calls++ {
			w := newWorkbench(t)
			w.Kill()
			disk := newCrashDisk(1)
			disk.fs = w.fs
			w.cfg.FS = errorfs.Wrap(w.fs, disk.hook())
			w.open()
			w.topic("t", 1)
			id := "a"
			pid, epoch := w.initID(id)
			w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "gone")).ErrorCode, nil)
			keep := 100
			if power {
				keep = 0
			}
			disk.arm(calls, keep)
			w.want(w.initAs(id, -1, -1).ErrorCode, kerr.ConcurrentTransactions)
			if !disk.crashed() {
				break
			}
			w.Kill()
			disk.goOn()
			w.fs, w.cfg.FS = disk.fs, disk.fs
			if power {
				w.cfg.BootID = func() string { return "boot-2" }
			}
			w.open()
			s := w.describeTxn(id)
			aborted := s.State == "CompleteAbort" && s.ProducerEpoch > epoch
			want := epoch + 2
			if power {
				aborted = s.ProducerEpoch == epoch+2
				want = s.ProducerEpoch + 1
			}
			decided[aborted]++
			if again, next := w.initID(id); again != pid || next != want {
				t.Errorf("power loss %v, call %d: %+v, then %d with %d", power, calls, s, again, next)
			}
			w.want(w.produce(13, &id, 0, oneRecord(pid, want, 0, true, "v")).ErrorCode, nil)
			w.want(w.endTxn(5, id, pid, want, true).ErrorCode, nil)
			w.wantValues(0, "v")
		}
		if decided[false] == 0 || decided[true] == 0 {
			t.Errorf("power loss %v: of the crashes %d were before the decision and %d after it", power, decided[false], decided[true])
		}
	}
}

// TestOrderAfterAFailure: of five batches in flight the first fails with an error
// that is tried again: the others are refused until it is there.
func TestOrderAfterAFailure(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	values := []string{"0", "1", "2", "3", "4", "5"}
	send := func(seq int32) int16 {
		return w.produce(13, nil, 0, oneRecord(7, 0, seq, false, values[seq])).ErrorCode
	}
	w.want(send(0), nil)
	torn := oneRecord(7, 0, 1, false, "1")
	torn[len(torn)-1] ^= 1
	w.want(w.produce(13, nil, 0, torn).ErrorCode, kerr.CorruptMessage)
	for seq := int32(2); seq <= 5; seq++ {
		w.want(send(seq), kerr.OutOfOrderSequenceNumber)
	}
	for seq := int32(1); seq <= 5; seq++ {
		w.want(send(seq), nil)
	}
	if got := w.values(0, false); !slices.Equal(got, values) {
		t.Errorf("read %q", got)
	}
}

// TestProducerOfDeletedRecords: one whose records are all gone goes on where it was:
// what it repeats is not written again, what it leaves out is noticed.
func TestProducerOfDeletedRecords(t *testing.T) {
	for name, interrupt := range map[string]func(w *workbench){
		"running": func(*workbench) {}, "killed": (*workbench).restart, "without power": func(w *workbench) { w.losePower("boot-2") },
	} {
		w := newWorkbench(t)
		w.topicWith("internal.segment.bytes=14")
		send := func(seq int32) kmsg.ProduceResponseTopicPartition {
			return w.produce(13, nil, 0, oneRecord(7, 0, seq, false, "v"))
		}
		w.want(send(0).ErrorCode, nil)
		w.want(send(1).ErrorCode, nil)
		w.want(w.produce(13, nil, 0, oneRecord(-1, -1, -1, false, "another's")).ErrorCode, nil)
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.Version = 2
		req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 3}}}}
		w.want(ask[*kmsg.DeleteRecordsResponse](w, req).Topics[0].Partitions[0].ErrorCode, nil)
		interrupt(w)
		if again := send(1); again.ErrorCode == 0 && again.BaseOffset != 1 {
			t.Errorf("%s: the last batch again is at offset %d", name, again.BaseOffset)
		}
		w.want(send(9).ErrorCode, kerr.OutOfOrderSequenceNumber)
		next := send(2)
		if next.ErrorCode != 0 || next.BaseOffset != 3 {
			t.Errorf("%s: the next batch: error %d at offset %d", name, next.ErrorCode, next.BaseOffset)
		}
	}
}

// TestForgottenProducerAdmitsNoZombie: when a log has forgotten a producer that was
// idle, its older epochs stay fenced.
func TestForgottenProducerAdmitsNoZombie(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	pid, old := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, old, 0, true, "v")).ErrorCode, nil)
	w.want(w.endTxn(5, id, pid, old, true).ErrorCode, nil)
	_, epoch := w.initID(id)
	log := w.topics.byName("t").parts()[0].log
	for range int(24*time.Hour/w.Broker.cfg.RetentionInterval) + 1 {
		w.Clean()
	}
	if n := len(log.Producers()); n != 0 {
		t.Fatalf("%d producers are known", n)
	}
	w.want(w.produce(13, &id, 0, oneRecord(pid, old, 1, true, "zombie")).ErrorCode, kerr.InvalidProducerEpoch)
	w.restart()
	w.want(w.produce(13, &id, 0, oneRecord(pid, old, 1, true, "zombie")).ErrorCode, kerr.InvalidProducerEpoch)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "w")).ErrorCode, nil)
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
	w.wantValues(0, "v", "w")
}
