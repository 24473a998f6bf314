package logbroker

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/meta"
)

// committed is the committed offset of group "g" in partition 0 of "t", -1 for none.
func (w *workbench) committed() int64 {
	w.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group = 5, "g"
	t := kmsg.NewOffsetFetchRequestTopic()
	t.Topic, t.Partitions = "t", []int32{0}
	req.Topics = append(req.Topics, t)
	return ask[*kmsg.OffsetFetchResponse](w, req).Topics[0].Partitions[0].Offset
}

func (w *workbench) wantOffset(want int64) {
	w.t.Helper()
	if got := w.committed(); got != want {
		w.t.Fatalf("offset %d, want %d", got, want)
	}
}

const day = 24 * time.Hour

// TestOffsetsExpire: seven days after the last member went, not before, and never
// while there is one.
func TestOffsetsExpire(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.has(w.heart("a", 0, nil), 2, 0)
	w.want(w.commitAs("a", 2), nil)
	for range 20 { // the member lives on
		for range 60 * 24 {
			w.now = w.now.Add(time.Minute / 2)
			w.has(w.heart("a", 2, nil), 2)
		}
		w.Clean()
	}
	w.wantOffset(1)
	w.has(w.heart("a", -1, nil), -1)
	w.pass(6 * day)
	w.restart()
	w.Clean()
	w.wantOffset(1)
	w.pass(day + time.Second)
	w.Clean()
	w.wantOffset(-1)
	if ids := w.coordinator().ids(); len(ids) > 0 {
		t.Errorf("groups %q are left", ids)
	}
	w.restart()
	w.wantOffset(-1)

	// Without members ever: seven days after the commit.
	w.want(w.commitAs("", -1), nil)
	w.pass(6 * day)
	w.Clean()
	w.wantOffset(1)
	w.pass(2 * day)
	w.Clean()
	w.wantOffset(-1)
}

// TestClassicOffsetsExpire: the same of a group of the classic protocol.
func TestClassicOffsetsExpire(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	m := w.joinClassic("")
	w.syncClassic(m.MemberID, m.Generation, map[string][]int32{m.MemberID: {0}})
	w.want(w.commitAs(m.MemberID, m.Generation), nil)
	w.pass(time.Minute) // its session ends
	w.pass(7*day - time.Hour)
	w.restart()
	w.Clean()
	w.wantOffset(1)
	w.pass(2 * time.Hour)
	w.Clean()
	w.wantOffset(-1)
}

// TestLastMemberWentBeforeACrash: while one who was given an id had not joined yet, so that
// a rebalance without members was under way. The offsets are kept as long as those of any
// group that is empty, and the group goes with them.
func TestLastMemberWentBeforeACrash(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	m := w.joinClassic("")
	w.syncClassic(m.MemberID, m.Generation, map[string][]int32{m.MemberID: {0}})
	w.want(w.commitAs(m.MemberID, m.Generation), nil)
	w.now = w.now.Add(8 * day)
	w.want(w.heartClassic(m.MemberID, m.Generation), nil)
	w.want(ask[*kmsg.JoinGroupResponse](w, joinOf("")).ErrorCode, kerr.MemberIDRequired)
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Version, leave.Group, leave.MemberID = 2, "g", m.MemberID
	w.want(ask[*kmsg.LeaveGroupResponse](w, leave).ErrorCode, nil)
	w.restart()
	w.Clean()
	w.wantOffset(1)
	w.pass(7*day + time.Minute)
	w.Clean()
	w.wantOffset(-1)
	if ids := w.coordinator().ids(); len(ids) > 0 {
		t.Errorf("groups %q are left", ids)
	}
}

// TestTransactionalIDsExpire: an id that was not used for seven days is forgotten
// and fenced; one with an open transaction is not. Its producer recovers (KIP-360).
func TestTransactionalIDsExpire(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	pid, epoch := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
	end := w.endTxn(5, id, pid, epoch, true)
	w.want(end.ErrorCode, nil)
	w.pass(7*day - time.Minute)
	w.Clean()
	w.want(w.describeTxn(id).ErrorCode, nil)
	w.pass(2 * time.Minute)
	w.Clean()
	w.want(w.describeTxn(id).ErrorCode, kerr.TransactionalIDNotFound)
	w.restart()
	w.want(w.describeTxn(id).ErrorCode, kerr.TransactionalIDNotFound)
	w.want(w.produce(13, &id, 0, oneRecord(end.ProducerID, end.ProducerEpoch, 0, true, "late")).ErrorCode, kerr.InvalidProducerIDMapping)
	again := func(pid int64, epoch int16) *kmsg.InitProducerIDResponse {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version, req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 5, &id, 60_000, pid, epoch
		return ask[*kmsg.InitProducerIDResponse](w, req)
	}
	w.want(again(end.ProducerID, -1).ErrorCode, kerr.InvalidRequest)
	w.want(again(-1, end.ProducerEpoch).ErrorCode, kerr.InvalidRequest)
	next := again(end.ProducerID, end.ProducerEpoch)
	w.want(next.ErrorCode, nil)
	if next.ProducerID == pid {
		t.Error("the id was given the old producer id again")
	}
	w.want(again(end.ProducerID, end.ProducerEpoch).ErrorCode, kerr.ProducerFenced) // somebody holds it now
	w.want(w.produce(13, &id, 0, oneRecord(next.ProducerID, next.ProducerEpoch, 0, true, "again")).ErrorCode, nil)
	w.want(w.endTxn(5, id, next.ProducerID, next.ProducerEpoch, true).ErrorCode, nil)
}

// TestProducersExpire: a producer that wrote nothing for a day is forgotten, whatever the
// time of its records, one with an open transaction is not.
func TestProducersExpire(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	pid, epoch := w.initID(id)
	w.want(w.produce(13, nil, 0, oneRecord(7, 0, 0, false, "idle")).ErrorCode, nil)
	old := w.keyed(w.now.Add(-2*day), "k=of long ago")
	old.SetProducer(1<<40, 0, 0, false)
	old.SetCRC()
	w.want(w.produce(13, nil, 0, old).ErrorCode, nil)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "open")).ErrorCode, nil)
	log := w.topics.byName("t").parts()[0].log
	sweeps := int(24 * time.Hour / w.Broker.cfg.RetentionInterval)
	for i := range sweeps + 1 {
		if n := len(log.Producers()); n != 3 {
			t.Fatalf("%d producers after %d sweeps, want 3", n, i)
		}
		w.Clean()
	}
	if left := log.Producers(); len(left) != 1 || left[0].ProducerID != pid {
		t.Errorf("left with %+v", left)
	}
	w.want(w.produce(13, nil, 0, oneRecord(7, 0, 5, false, "again")).ErrorCode, nil)
	w.want(w.produce(13, nil, 0, oneRecord(7, 0, 9, false, "gap")).ErrorCode, kerr.OutOfOrderSequenceNumber)
}

// TestRefusedJoinKeepsOffsets: a join by the other protocol, which is refused, does not
// take from a group when its last member went.
func TestRefusedJoinKeepsOffsets(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	wrong := func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		pattern := "["
		r.SubscribedTopicRegex = &pattern
	}
	lives := func(beat func()) {
		for range 8 * 24 * 60 * 2 {
			w.now = w.now.Add(time.Minute / 2)
			beat()
		}
	}
	w.has(w.heart("a", 0, nil), 2, 0)
	w.want(w.commitAs("a", 2), nil)
	lives(func() { w.has(w.heart("a", 2, nil), 2) })
	w.has(w.heart("a", -1, nil), -1)
	w.want(ask[*kmsg.JoinGroupResponse](w, eager("g", 4<<20-1000)).ErrorCode, kerr.UnknownServerError)
	w.Clean()
	w.wantOffset(1)

	m := w.joinClassic("")
	m = w.joinClassic(m.MemberID)
	w.syncClassic(m.MemberID, m.Generation, map[string][]int32{m.MemberID: {0}})
	lives(func() { w.want(w.heartClassic(m.MemberID, m.Generation), nil) })
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Version, leave.Group, leave.MemberID = 2, "g", m.MemberID
	w.want(ask[*kmsg.LeaveGroupResponse](w, leave).ErrorCode, nil)
	w.want(w.heart("b", 0, wrong).ErrorCode, kerr.InvalidRegularExpression)
	w.Clean()
	w.wantOffset(1)
}

// TestGroupsWithoutOffsetsGo: when their last member has, of either protocol; not while
// somebody has a member id and may come, or offsets are pending.
func TestGroupsWithoutOffsetsGo(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	are := func(want ...string) {
		t.Helper()
		w.Clean()
		w.restart()
		if ids := w.coordinator().ids(); !slices.Equal(ids, want) {
			t.Errorf("groups %q, want %q", ids, want)
		}
	}
	w.has(w.heart("a", 0, nil), 2, 0)
	are("g")
	w.has(w.heart("a", -1, nil), -1)
	are()
	w.has(w.heart("a", 0, nil), 2, 0)
	w.has(w.heart("a", -1, nil), -1)
	pid, epoch := w.initID("x")
	w.want(w.commitOffset("x", pid, epoch, "g", 7).Topics[0].Partitions[0].ErrorCode, nil)
	are("g")
	w.want(w.endTxn(5, "x", pid, epoch, false).ErrorCode, nil)
	are()

	m := w.joinClassic("")
	w.want(m.ErrorCode, nil)
	are("g")
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Version, leave.Group, leave.MemberID = 2, "g", m.MemberID
	w.want(ask[*kmsg.LeaveGroupResponse](w, leave).ErrorCode, nil)
	are()
	w.want(ask[*kmsg.JoinGroupResponse](w, joinOf("")).ErrorCode, kerr.MemberIDRequired)
	w.Clean()
	if ids := w.coordinator().ids(); len(ids) != 1 {
		t.Errorf("groups %q, while one may join", ids)
	}

	w.pass(time.Minute) // nobody comes
	are()
	m = w.joinClassic("")
	leave.MemberID = m.MemberID
	w.want(ask[*kmsg.LeaveGroupResponse](w, leave).ErrorCode, nil)
	next := ask[*kmsg.JoinGroupResponse](w, joinOf(""))
	w.want(next.ErrorCode, kerr.MemberIDRequired)
	w.Clean()
	w.want(ask[*kmsg.JoinGroupResponse](w, joinOf(next.MemberID)).ErrorCode, nil)
}

// TestGroupsStayUntilTheCheck: one without members and offsets, whatever made it, is there
// until the next look, as with Kafka; and one whose offset is written meanwhile stays.
func TestGroupsStayUntilTheCheck(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.topic("u", 1)
	are := func(want ...string) {
		t.Helper()
		if ids := w.coordinator().ids(); !slices.Equal(ids, want) {
			t.Errorf("groups %q, want %q", ids, want)
		}
	}
	commit := func(group, topic, metadata string, want *kerr.Error) {
		t.Helper()
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group, req.Generation = 7, group, -1
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Offset, p.Metadata = 1, &metadata
		req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
		w.want(ask[*kmsg.OffsetCommitResponse](w, req).Topics[0].Partitions[0].ErrorCode, want)
	}
	commit("nowhere", "missing", "", kerr.UnknownTopicOrPartition)
	are()
	commit("refused", "t", strings.Repeat("x", maxOffsetMetadata+1), kerr.OffsetMetadataTooLarge)
	commit("deleted", "u", "", nil)
	commit("stays", "t", "", nil)
	pid, epoch := w.initID("x")
	w.want(w.commitOffset("x", pid, epoch, "aborted", 7).Topics[0].Partitions[0].ErrorCode, nil)
	w.want(w.endTxn(5, "x", pid, epoch, false).ErrorCode, nil)
	w.deleteTopic("u")
	are("aborted", "deleted", "refused", "stays")
	w.Clean()
	are("stays")
	w.restart()
	are("stays")

	// The group goes, or is deleted, between the commit's place in the queue and the disk.
	c := offsetCommit{group: "late", offsets: []topicOffset{{w.topics.byName("t"), meta.Offset{Topic: "t", Offset: 1}}}}
	if _, err := w.coordinator().toCommitTo("late", -1); err != nil {
		t.Fatal(err)
	}
	w.Clean()
	are("stays")
	if err := w.coordinator().writeOffsets([]offsetCommit{c}); err != nil {
		t.Fatal(err)
	}
	are("late", "stays")
}

// TestOffsetsAreCheckedAgainAndAgain: every ten minutes, from the start on.
func TestOffsetsAreCheckedAgainAndAgain(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	b, err := Open(Config{Dir: "data", FS: vfs.NewMem(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	b.timers.mu.Lock()
	due := slices.ContainsFunc(b.timers.heap, func(a *timer) bool { return a.at.Equal(now.Add(offsetsCheckInterval)) })
	b.timers.mu.Unlock()
	if !due {
		t.Error("no look is due after the start")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	w := newWorkbench(t)
	w.topic("t", 1)
	w.scheduleOffsetsCheck()
	for range 3 {
		w.want(ask[*kmsg.JoinGroupResponse](w, joinOf("nobody")).ErrorCode, kerr.UnknownMemberID)
		if _, err := w.coordinator().toCommitTo("g", -1); err != nil {
			t.Fatal(err)
		}
		w.pass(offsetsCheckInterval)
		if ids := w.coordinator().ids(); len(ids) > 0 {
			t.Errorf("groups %q are left", ids)
		}
	}
}

// TestGroupsLeftBehindGo: a row without members, and without when the last of them went,
// as a crash left it that met older programs.
func TestGroupsLeftBehindGo(t *testing.T) {
	w := newWorkbench(t)
	batch := w.meta.NewBatch()
	batch.PutGroup("g", []byte(`{"version":1,"state":"PreparingRebalance","protocol_type":"consumer","generation":3}`))
	if err := w.commit(batch); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.Clean()
	for range 2 {
		if ids := w.coordinator().ids(); len(ids) > 0 {
			t.Fatalf("groups %q are left", ids)
		}
		w.restart()
	}
}
