package logbroker

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

// eager is a join that needs no member id first, of a member that does not come back
// soon.
func eager(id string, metadata int) *kmsg.JoinGroupRequest {
	req := joinOf("")
	req.Version, req.Group, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 3, id, 1_800_000, 1_800_000
	req.Protocols[0].Metadata = make([]byte, metadata)
	return req
}

// TestLeavesAreStoredBeforeTheAnswer: who is told that it left has left, whatever
// happens to the broker then.
func TestLeavesAreStoredBeforeTheAnswer(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	w.cfg.Synchronous = false
	w.open()
	member := wait[*kmsg.JoinGroupResponse](w.Broker, eager("g", 0))
	w.want(member.ErrorCode, nil)
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Version, leave.Group, leave.MemberID = 2, "g", member.MemberID
	w.coordinator().persist.Lock() // the disk is slow
	var answered atomic.Bool
	answer := make(chan kmsg.Response, 1)
	w.Handle(NewConn("test", "/test"), leave, func(r kmsg.Response) {
		answered.Store(true)
		answer <- r
	})
	if answered.Load() {
		t.Error("told before anything is written")
	}
	w.coordinator().persist.Unlock()
	w.want((<-answer).(*kmsg.LeaveGroupResponse).ErrorCode, nil)
	w.restart()
	if e := w.coordinator().byID["g"]; e == nil || e.members() != 0 {
		t.Errorf("the group is %+v after a SIGKILL, want one without members", e)
	}
}

// TestNobodyIsToldWhatIsNotStored: an answer that changes nothing itself waits, too,
// for the change that it tells of.
func TestNobodyIsToldWhatIsNotStored(t *testing.T) {
	b, _ := dial(t, Config{})
	g := b.coordinator()
	leader := wait[*kmsg.JoinGroupResponse](b, eager("g", 0))
	g.persist.Lock()
	answers := make(chan kmsg.Response, 2)
	var told atomic.Int32
	for range 2 { // the second finds the group stable
		req := syncOf(leader.MemberID, leader.Generation)
		req.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: leader.MemberID, MemberAssignment: []byte("a")}}
		b.Handle(NewConn("test", "/test"), req, func(r kmsg.Response) {
			told.Add(1)
			answers <- r
		})
	}
	if n := told.Load(); n != 0 {
		t.Errorf("%d are told of an assignment that is not stored", n)
	}
	g.persist.Unlock()
	for range 2 {
		if r := (<-answers).(*kmsg.SyncGroupResponse); r.ErrorCode != 0 || string(r.MemberAssignment) != "a" {
			t.Errorf("answer %+v", r)
		}
	}
}

// TestChangesOfAGroupAreWrittenTogether: what a hundred members change while the disk
// is slow is written once, not a hundred times, and does not hold up another group.
func TestChangesOfAGroupAreWrittenTogether(t *testing.T) {
	const members, metadata = 100, 50 << 10
	b, _ := dial(t, Config{})
	g := b.coordinator()
	wait[*kmsg.JoinGroupResponse](b, eager("g", metadata))
	g.persist.Lock()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range members - 1 {
		b.Handle(NewConn("test", "/test"), eager("g", metadata), func(kmsg.Response) {})
	}
	other := make(chan kmsg.Response, 1)
	b.Handle(NewConn("test", "/test"), eager("other", 0), func(r kmsg.Response) { other <- r })
	g.persist.Unlock()
	if r := (<-other).(*kmsg.JoinGroupResponse); r.ErrorCode != 0 {
		t.Errorf("another group: error %d", r.ErrorCode)
	}
	if !eventually(time.Minute, func() bool {
		g.saves.Lock()
		defer g.saves.Unlock()
		return len(g.saves.unsaved) == 0
	}) {
		t.Fatal("the group is never written")
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 100*members*metadata {
		t.Errorf("%d bytes are used to store a group of %d", used, members*metadata)
	}
}

// TestTicksCostWhatIsDue: neither a tick nor a sign of life looks at a group in which
// nothing is due, and a sign of life does not wake the loop that ticks.
func TestTicksCostWhatIsDue(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	g := w.coordinator()
	for i := range 1000 {
		w.want(ask[*kmsg.JoinGroupResponse](w, eager(fmt.Sprint("x", i), 0)).ErrorCode, nil)
	}
	m := w.joinClassic("")
	w.syncClassic(m.MemberID, m.Generation, map[string][]int32{m.MemberID: {0}})
	w.has(w.heart("a", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "c" }), 2, 0)
	w.Tick(w.now)
	for id, e := range g.byID {
		if strings.HasPrefix(id, "x") {
			e.classic = nil // who looks, falls
		}
	}
	for len(w.run.wakeUp) > 0 {
		<-w.run.wakeUp
	}
	for range 10 {
		w.now = w.now.Add(10 * time.Second)
		w.want(w.heartClassic(m.MemberID, m.Generation), nil)
		w.has(w.heart("a", 2, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "c" }), 2)
		if len(w.run.wakeUp) > 0 {
			t.Fatal("a sign of life wakes the loop")
		}
		if next := w.Tick(w.now); next.IsZero() || !next.After(w.now) || next.After(w.now.Add(45*time.Second)) {
			t.Fatalf("the next tick is in %v", next.Sub(w.now))
		}
	}
	w.pass(45 * time.Second)
	for _, id := range []string{"g", "c"} {
		if n := g.byID[id].members(); n != 0 {
			t.Errorf("%d members of %s are left, silent for a session", n, id)
		}
	}
}

// TestNobodyIsToldWhatCannotBeStored: who joins while the disk fails is not told that it
// did, nor is who asks for what the group would be then.
func TestNobodyIsToldWhatCannotBeStored(t *testing.T) {
	w := newWorkbench(t)
	broken := w.breakableMeta()
	w.want(ask[*kmsg.JoinGroupResponse](w, eager("before", 0)).ErrorCode, nil)
	told := 0
	tell := func(kmsg.Response) { told++ }
	broken.On()
	w.Handle(NewConn("test", "/test"), eager("g", 0), tell)
	w.Handle(NewConn("test", "/test"), syncOf(w.coordinator().byID["g"].classic.Members[0].ID, 1), tell)
	if told != 0 {
		t.Errorf("%d are told of a group that is on no disk", told)
	}
	broken.Off()
	w.restart()
	if e := w.coordinator().byID["g"]; e != nil {
		t.Errorf("a group that could not be stored is there: %+v", e)
	}
}

// TestSavesOfAGroupThatIsGone: a group that is deleted before its last change is written
// stays deleted, and the broker starts.
func TestSavesOfAGroupThatIsGone(t *testing.T) {
	w := newWorkbench(t)
	if err := w.coordinator().save([]groupSave{{group: "gone"}}); err != nil {
		t.Fatal(err)
	}
	rows := 0
	if err := w.meta.Groups(func(string, []byte) error { rows++; return nil }); err != nil || rows != 0 {
		t.Errorf("%d groups are stored, %v", rows, err)
	}
	w.restart()
}

// TestTheLoopIsWokenForWhatIsDueSooner: what is due before the next tick wakes the loop
// that ticks, also when nothing was due before; what is due later does not.
func TestTheLoopIsWokenForWhatIsDueSooner(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	woken := func(what string, want bool, do func()) {
		t.Helper()
		for len(w.run.wakeUp) > 0 {
			<-w.run.wakeUp
		}
		if do(); (len(w.run.wakeUp) > 0) != want {
			t.Errorf("%s: the loop is woken: %v, want %v", what, !want, want)
		}
	}
	join := func(id string, session time.Duration) func() {
		return func() {
			req := eager(id, 0)
			req.SessionTimeoutMillis = int32(session.Milliseconds())
			w.want(ask[*kmsg.JoinGroupResponse](w, req).ErrorCode, nil)
		}
	}
	setSession := func(ms string) func() {
		return func() {
			req := kmsg.NewPtrIncrementalAlterConfigsRequest()
			req.Version = 1
			res := kmsg.NewIncrementalAlterConfigsRequestResource()
			res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeGroupConfig, "c"
			res.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "consumer.session.timeout.ms", Value: &ms}}
			req.Resources = append(req.Resources, res)
			w.want(ask[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources[0].ErrorCode, nil)
		}
	}
	for range 2 { // the second time all groups have been empty for long
		w.Tick(w.now)
		woken("the first", true, join("a", 30*time.Minute))
		woken("a later one", false, join("b", 30*time.Minute))
		woken("a sooner one", true, join("c", time.Minute))
		woken("one between them", false, join("d", 10*time.Minute))
		w.pass(31 * time.Minute)
	}
	setSession("60000")()
	woken("a member of the newer protocol", true, func() {
		w.has(w.heart("m", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "c" }), w.coordinator().byID["c"].consumer.Epoch, 0)
	})
	w.Tick(w.now)
	woken("a longer session", false, setSession("60000"))
	woken("a shorter session", true, setSession("45000"))
}

// TestAChangeOfProtocolIsStoredOnce: that a group has gone over to another protocol is
// written with the next answer, and not with each after it.
func TestAChangeOfProtocolIsStoredOnce(t *testing.T) {
	for _, e := range []*groupEntry{
		{consumer: &group.Consumer{}, switched: true},
		{classic: &group.Group{}, switched: true},
	} {
		if !e.changed() || e.changed() {
			t.Error("a group that went over is not stored once")
		}
	}
}

// TestExpiryHoldsNobodyUp: while old groups are deleted no disk is waited for with the
// lock that heartbeats need, and hundreds go with a few syncs.
func TestExpiryHoldsNobodyUp(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	var during, held, syncs atomic.Int32
	w.cfg.FS = errorfs.Wrap(w.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if during.Load() == 0 || op.Kind != errorfs.OpFileSync && op.Kind != errorfs.OpFileSyncData && op.Kind != errorfs.OpFileSyncTo {
			return nil
		}
		syncs.Add(1)
		if g := w.coordinator(); g.mu.TryLock() {
			g.mu.Unlock()
		} else {
			held.Add(1)
		}
		return nil
	}))
	w.open()
	w.topic("t", 1)
	const groups = 300
	for i := range groups {
		commit := kmsg.NewPtrOffsetCommitRequest()
		commit.Version, commit.Group, commit.Generation = 7, fmt.Sprint("x", i), -1
		commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 1}}}}
		w.want(ask[*kmsg.OffsetCommitResponse](w, commit).Topics[0].Partitions[0].ErrorCode, nil)
	}
	w.pass(8 * day)
	during.Store(1)
	w.expireOffsets()
	during.Store(0)
	if ids := w.coordinator().ids(); len(ids) > 0 {
		t.Errorf("groups %q are left", ids)
	}
	if held.Load() > 0 || syncs.Load() == 0 || syncs.Load() > groups/10 {
		t.Errorf("%d groups go with %d syncs, %d of them with the lock held", groups, syncs.Load(), held.Load())
	}
}

// TestGroupsAreBounded: what a member says of itself, what all members of a group do,
// and of all groups, has an end, with the error of Kafka for a record that is too
// large; who is there already goes on, and other groups do.
func TestGroupsAreBounded(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	g := w.coordinator()
	w.want(ask[*kmsg.JoinGroupResponse](w, eager("g", 4<<20-1000)).ErrorCode, kerr.UnknownServerError)
	w.want(w.heart("m", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		for i := range 20_000 {
			r.SubscribedTopicNames = append(r.SubscribedTopicNames, fmt.Sprintf("topic-%0100d", i))
		}
	}).ErrorCode, kerr.UnknownServerError)
	if w.Clean(); len(g.byID) != 0 || g.bytes != 0 {
		t.Fatalf("%d groups of %d bytes are left of what was refused", len(g.byID), g.bytes)
	}

	const metadata = 1000 << 10
	m := ask[*kmsg.JoinGroupResponse](w, eager("g", metadata))
	sync := syncOf(m.MemberID, m.Generation)
	sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: m.MemberID, MemberAssignment: make([]byte, maxGroupBytes)}}
	w.want(ask[*kmsg.SyncGroupResponse](w, sync).ErrorCode, kerr.UnknownServerError)
	w.want(w.heartClassic(m.MemberID, m.Generation), kerr.RebalanceInProgress)
	members := 1
	var refused int16
	for refused == 0 && members < 100 {
		w.Handle(NewConn("test", "/test"), eager("g", metadata), func(r kmsg.Response) { refused = r.(*kmsg.JoinGroupResponse).ErrorCode })
		members++
	}
	w.want(refused, kerr.UnknownServerError)
	if members--; members != maxGroupBytes/metadata {
		t.Errorf("%d members of %d bytes", members, metadata)
	}
	w.want(ask[*kmsg.JoinGroupResponse](w, eager("other", metadata)).ErrorCode, nil)
	again := eager("g", metadata)
	again.MemberID = m.MemberID
	m = ask[*kmsg.JoinGroupResponse](w, again) // all are there now
	w.want(m.ErrorCode, nil)

	hold := maxGroupsBytes - g.bytes
	g.bytes += hold // by other groups
	w.want(ask[*kmsg.JoinGroupResponse](w, eager("one more", 10)).ErrorCode, kerr.UnknownServerError)
	w.want(w.heart("m", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "one more" }).ErrorCode, kerr.UnknownServerError)
	w.want(w.heartClassic(m.MemberID, m.Generation), nil)
	g.bytes -= hold
	w.want(w.heart("m", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "one more" }).ErrorCode, nil)

	w.restart()
	g = w.coordinator()
	sum := 0
	for _, e := range g.byID {
		sum += e.size()
	}
	if len(g.byID) != 3 || g.bytes != sum {
		t.Errorf("%d groups take %d bytes, counted as %d", len(g.byID), sum, g.bytes)
	}
	w.pass(time.Hour)
	w.pass(8 * day)
	w.expireOffsets()
	if len(g.byID) != 0 || g.bytes != 0 {
		t.Errorf("%d groups are left, counted as %d bytes", len(g.byID), g.bytes)
	}
}

// TestRebalancesEnd: a member is waited for as long as it says, at most some 24 days, as
// by Kafka: as long as it lives, though not by one new member all the time. Who says less
// than nothing is not waited for.
func TestRebalancesEnd(t *testing.T) {
	for ms, want := range map[int32]time.Duration{math.MaxInt32: math.MaxInt32 * time.Millisecond, 60_000: time.Minute, 0: 0, -1: 0, math.MinInt32: 0} {
		w := newWorkbench(t)
		first := eager("g", 0)
		first.RebalanceTimeoutMillis = ms
		m := ask[*kmsg.JoinGroupResponse](w, first)
		w.want(m.ErrorCode, nil)
		answered, asks := false, false
		join := func() {
			second := eager("g", 0)
			second.RebalanceTimeoutMillis, asks = 0, true
			w.Handle(NewConn("test", "/test"), second, func(resp kmsg.Response) {
				asks = false
				answered = resp.(*kmsg.JoinGroupResponse).ErrorCode == 0
			})
		}
		join()
		w.Tick(w.now)
		start := w.now
		for !answered && w.now.Sub(start) <= want {
			if !asks { // a new member is told to come again
				join()
			}
			w.now = w.now.Add(max(min(5*time.Second, want), time.Millisecond))
			w.heartClassic(m.MemberID, m.Generation) // it lives, and does not join
			w.Tick(w.now)
		}
		if took := w.now.Sub(start); !answered || took < want || took > want+5*time.Second {
			t.Errorf("time-out %d ms: the first member is waited for %v: %v, want %v", ms, took, !answered, want)
		}
	}
}
