package logbroker

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

func joinOf(id string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.ProtocolType = 7, "g", id, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 30_000
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	return req
}

func syncOf(id string, generation int32) *kmsg.SyncGroupRequest {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 3, "g", id, generation
	return req
}

// TestClientsGoWhileTheyWait: a client whose connection ends while its join, or its
// sync, is parked holds the others up no longer than its session (KAFKA-9752), and
// neither a late answer nor a second request of it disturbs them.
func TestClientsGoWhileTheyWait(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	first := ask[*kmsg.JoinGroupResponse](w, joinOf("")).MemberID
	begun := ask[*kmsg.JoinGroupResponse](w, joinOf(first))
	w.syncClassic(first, begun.Generation, map[string][]int32{first: {0, 1}})

	gone := ask[*kmsg.JoinGroupResponse](w, joinOf("")).MemberID
	late := 0
	w.Handle(NewConn("gone", "/g"), joinOf(gone), func(kmsg.Response) { late++ }) // waits for the first, and its client goes
	w.want(w.heartClassic(first, begun.Generation), kerr.RebalanceInProgress)
	again := ask[*kmsg.JoinGroupResponse](w, joinOf(first))
	w.want(again.ErrorCode, nil)
	if late != 1 || len(again.Members) != 2 {
		t.Fatalf("%d answers to the client that is gone, %d members", late, len(again.Members))
	}
	// Its sync never comes. The first leads, assigns and goes on.
	if got := w.syncClassic(first, again.Generation, map[string][]int32{first: {0}, gone: {1}}); !slices.Equal(got, []int32{0}) {
		t.Fatalf("assigned %v", got)
	}
	for range 2 {
		w.pass(6 * time.Second)
		if code := w.heartClassic(first, again.Generation); code != 0 {
			w.want(code, kerr.RebalanceInProgress) // it was noticed
		}
	}
	alone := ask[*kmsg.JoinGroupResponse](w, joinOf(first))
	w.want(alone.ErrorCode, nil)
	if len(alone.Members) != 1 {
		t.Fatalf("%d members, want the one that is there", len(alone.Members))
	}

	// A sync before the leader's waits; a second of the same member takes its place.
	second := ask[*kmsg.JoinGroupResponse](w, joinOf("")).MemberID
	var joined *kmsg.JoinGroupResponse
	w.Handle(NewConn("second", "/s"), joinOf(second), func(r kmsg.Response) { joined = r.(*kmsg.JoinGroupResponse) })
	both := ask[*kmsg.JoinGroupResponse](w, joinOf(first))
	w.want(both.ErrorCode, nil)
	w.want(joined.ErrorCode, nil)
	var answers []*kmsg.SyncGroupResponse
	for range 2 {
		w.Handle(NewConn("second", "/s"), syncOf(second, both.Generation), func(r kmsg.Response) {
			answers = append(answers, r.(*kmsg.SyncGroupResponse))
		})
	}
	if len(answers) != 1 || answers[0].ErrorCode != kerr.RebalanceInProgress.Code {
		t.Fatalf("the earlier of two syncs: %+v", answers)
	}
	w.syncClassic(first, both.Generation, map[string][]int32{first: {0}, second: {1}})
	if len(answers) != 2 || answers[1].ErrorCode != 0 || len(answers[1].MemberAssignment) == 0 {
		t.Fatalf("the later one: %+v", answers)
	}
	if got := w.syncClassic(second, both.Generation, nil); !slices.Equal(got, []int32{1}) { // and a third, when all is done
		t.Errorf("assigned %v", got)
	}
	w.want(w.heartClassic(second, both.Generation), nil)
	if n := len(w.coordinator().waiting); n != 0 {
		t.Errorf("%d requests wait for nothing", n)
	}
}

// TestSyncsNameTheirProtocol: from version 5 on a sync without protocol or its type is
// refused, before anything else, and one with others than the group's.
func TestSyncsNameTheirProtocol(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	m := w.joinClassic("")
	consumer, ranged, other := "consumer", "range", "other"
	for _, test := range []struct {
		version        int16
		typ, protocol  *string
		member, nobody *kerr.Error
	}{
		{5, nil, nil, kerr.InconsistentGroupProtocol, kerr.InconsistentGroupProtocol},
		{5, &consumer, nil, kerr.InconsistentGroupProtocol, kerr.InconsistentGroupProtocol},
		{5, nil, &ranged, kerr.InconsistentGroupProtocol, kerr.InconsistentGroupProtocol},
		{5, &consumer, &other, kerr.InconsistentGroupProtocol, kerr.UnknownMemberID},
		{5, &consumer, &ranged, nil, kerr.UnknownMemberID},
		{4, nil, nil, nil, kerr.UnknownMemberID},
	} {
		for _, id := range []string{m.MemberID, "nobody"} {
			req := syncOf(id, m.Generation)
			req.Version, req.ProtocolType, req.Protocol = test.version, test.typ, test.protocol
			want := test.member
			if id == "nobody" {
				want = test.nobody
			}
			w.want(ask[*kmsg.SyncGroupResponse](w, req).ErrorCode, want)
		}
	}
}

// TestFiftyMembersJoinAtOnce: none is left out, and they settle on one generation.
func TestFiftyMembersJoinAtOnce(t *testing.T) {
	b, _ := dial(t, Config{})
	if _, err := b.topics.create("t", 50, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	const members = 50
	deadline := time.Now().Add(time.Minute)
	generations := make([]int32, members)
	settled := func() bool {
		b.coordinator().mu.Lock()
		defer b.coordinator().mu.Unlock()
		e := b.coordinator().byID["g"]
		return e != nil && e.classic.State == group.Stable && len(e.classic.Members) == members
	}
	var all sync.WaitGroup
	for i := range members {
		all.Go(func() {
			id := ""
			for time.Now().Before(deadline) {
				join := wait[*kmsg.JoinGroupResponse](b, joinOf(id))
				id = join.MemberID
				if join.ErrorCode != 0 {
					continue
				}
				req := syncOf(id, join.Generation)
				for n, m := range join.Members {
					ga := kmsg.NewSyncGroupRequestGroupAssignment()
					ga.MemberID, ga.MemberAssignment = m.MemberID, []byte(fmt.Sprint(n))
					req.GroupAssignment = append(req.GroupAssignment, ga)
				}
				if sync := wait[*kmsg.SyncGroupResponse](b, req); sync.ErrorCode != 0 || len(sync.MemberAssignment) == 0 {
					continue
				}
				generations[i] = join.Generation
				beat := kmsg.NewPtrHeartbeatRequest()
				beat.Version, beat.Group, beat.MemberID, beat.Generation = 3, "g", id, join.Generation
				if eventually(time.Until(deadline), func() bool {
					return wait[*kmsg.HeartbeatResponse](b, beat).ErrorCode != 0 || settled()
				}) && settled() {
					return
				}
			}
			t.Errorf("member %d never settled", i)
		})
	}
	all.Wait()
	if slices.Min(generations) != slices.Max(generations) {
		t.Errorf("generations %v", generations)
	}
}

// TestGroupsBeginAnew: a group without members that changes its protocol counts from the
// beginning, whatever its members were at, also after a restart.
func TestGroupsBeginAnew(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	for _, interrupt := range []func(){func() {}, w.restart} {
		for range 2 {
			old := w.joinClassic("")
			w.want(old.ErrorCode, nil)
			if old.Generation != 1 {
				t.Errorf("the classic group begins with generation %d", old.Generation)
			}
			again := w.joinClassic(old.MemberID)
			w.syncClassic(old.MemberID, again.Generation, map[string][]int32{old.MemberID: {0}})
			leave := kmsg.NewPtrLeaveGroupRequest()
			leave.Version, leave.Group = 4, "g"
			leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: old.MemberID}}
			w.want(ask[*kmsg.LeaveGroupResponse](w, leave).ErrorCode, nil)
			interrupt()
			w.has(w.heart("a", 0, nil), 2, 0)
			w.has(w.heart("a", -1, nil), -1)
			interrupt()
		}
	}
}

// TestFencedMemberJoinsAgain: under its id, while it still is a member, and also while
// it is to give partitions up: it has given up all it had.
func TestFencedMemberJoinsAgain(t *testing.T) {
	w := newWorkbench(t)
	w.assignsAtOnce("g")
	w.topic("t", 4)
	w.has(w.heart("a", 0, nil), 2, 0, 1, 2, 3)
	w.has(w.heart("b", 0, nil), 3, []int32{}...)
	w.has(w.heart("a", 2, w.owns(0, 1, 2, 3)), 2, 0, 1)
	w.want(w.heart("a", 9, nil).ErrorCode, kerr.FencedMemberEpoch)
	w.has(w.heart("a", 0, nil), 3, 0, 1)
	w.has(w.heart("b", 3, nil), 3, 2, 3)
	w.restart()
	w.want(w.heart("a", 9, nil).ErrorCode, kerr.FencedMemberEpoch)
	w.has(w.heart("a", 0, nil), 3, 0, 1)
	w.has(w.heart("b", 3, nil), 3)

	one := "one"
	static := func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = &one }
	w.want(w.heart("c", 0, static).ErrorCode, nil)
	w.has(w.heart("a", 3, w.owns(0, 1)), 3, 0)
	w.has(w.heart("a", 3, w.owns(0)), 4)
	w.want(w.heart("c", 4, static).ErrorCode, nil)
	w.want(w.heart("c", 9, static).ErrorCode, kerr.FencedMemberEpoch)
	w.has(w.heart("d", 0, nil), 5, []int32{}...)
	w.want(w.heart("c", 4, static).ErrorCode, nil)
	w.want(w.heart("c", 0, static).ErrorCode, kerr.UnreleasedInstanceID)

	w.has(w.heart("c", -2, static), -2)
	w.want(w.heart("c", 0, static).ErrorCode, nil)
	two := "two"
	w.want(w.heart("a", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = &two }).ErrorCode, nil)
}

// TestGroupConfigsAreInForce: how long a member may be silent, and how often it is to
// give a sign of life, follow the configs of its group at once, and after a restart.
func TestGroupConfigsAreInForce(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	set := func(name, value string) {
		t.Helper()
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Version = 1
		res := kmsg.NewIncrementalAlterConfigsRequestResource()
		res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeGroupConfig, "g"
		res.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: name, Value: &value}}
		req.Resources = append(req.Resources, res)
		w.want(ask[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources[0].ErrorCode, nil)
	}
	a := w.heart("a", 0, nil)
	w.has(a, 2, 0)
	if a.HeartbeatIntervalMillis != 5000 {
		t.Errorf("a sign of life every %d ms", a.HeartbeatIntervalMillis)
	}
	set("consumer.session.timeout.ms", "60000")
	set("consumer.heartbeat.interval.ms", "15000")
	if b := w.heart("a", 2, nil); b.HeartbeatIntervalMillis != 15_000 {
		t.Errorf("a sign of life every %d ms, want 15000", b.HeartbeatIntervalMillis)
	}
	w.pass(59 * time.Second)
	w.want(w.heart("a", 2, nil).ErrorCode, nil)
	w.restart()
	w.pass(59 * time.Second)
	w.want(w.heart("a", 2, nil).ErrorCode, nil)
	w.pass(61 * time.Second)
	w.want(w.heart("a", 2, nil).ErrorCode, kerr.UnknownMemberID)
	w.has(w.heart("a", 0, nil), 4, 0)
	set("consumer.session.timeout.ms", "45000")
	w.pass(46 * time.Second)
	w.want(w.heart("a", 4, nil).ErrorCode, kerr.UnknownMemberID)
}

// TestServerAssignors: members choose range or uniform, most win, and uniform is what
// nobody's choice comes to.
func TestServerAssignors(t *testing.T) {
	w := newWorkbench(t)
	w.assignsAtOnce("g")
	w.topic("t", 3)
	w.topic("u", 3)
	uniform, ranged := "uniform", "range"
	join := func(id string, assignor *string) {
		t.Helper()
		w.want(w.heart(id, 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.SubscribedTopicNames, r.ServerAssignor = []string{"t", "u"}, assignor
		}).ErrorCode, nil)
	}
	describe := func() kmsg.ConsumerGroupDescribeResponseGroup {
		req := kmsg.NewPtrConsumerGroupDescribeRequest()
		req.Version, req.Groups = 1, []string{"g"}
		return ask[*kmsg.ConsumerGroupDescribeResponse](w, req).Groups[0]
	}
	is := func(assignor string) {
		t.Helper()
		if got := describe().AssignorName; got != assignor {
			t.Errorf("the assignor is %s, want %s", got, assignor)
		}
	}
	join("a", nil)
	is("uniform")
	join("b", &ranged)
	is("range")
	counts := func() (out []int) {
		for _, m := range describe().Members {
			n := 0
			for _, tp := range m.TargetAssignment.TopicPartitions {
				n += len(tp.Partitions)
			}
			out = append(out, n)
		}
		return out
	}
	if got := counts(); !slices.Equal(got, []int{4, 2}) { // two of each topic, and one of each
		t.Errorf("range gives %v", got)
	}
	join("c", &uniform)
	join("d", &uniform)
	is("uniform")
	if got := counts(); slices.Max(got)-slices.Min(got) > 1 {
		t.Errorf("uniform gives %v", got)
	}
}

// TestFirstMembersAreWaitedFor: with a delay, which is told to who looks, the first members
// of a group are in one generation.
func TestFirstMembersAreWaitedFor(t *testing.T) {
	w := newWorkbench(t)
	w.cfg.InitialRebalanceDelay = 3 * time.Second
	w.restart()
	describe := kmsg.NewPtrDescribeConfigsRequest()
	describe.Version = 4
	describe.Resources = []kmsg.DescribeConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "0", ConfigNames: []string{"group.initial.rebalance.delay.ms"},
	}}
	if told := ask[*kmsg.DescribeConfigsResponse](w, describe).Resources[0].Configs; len(told) != 1 || *told[0].Value != "3000" || told[0].ConfigType != kmsg.ConfigTypeInt {
		t.Errorf("told %+v", told)
	}
	var answers []*kmsg.JoinGroupResponse
	join := func() {
		req := joinOf("")
		req.Version = 3
		w.Handle(NewConn("c", "/c"), req, func(r kmsg.Response) { answers = append(answers, r.(*kmsg.JoinGroupResponse)) })
	}
	join()
	w.pass(2 * time.Second)
	join()
	w.pass(time.Second)
	w.pass(2 * time.Second)
	if len(answers) > 0 {
		t.Fatalf("answered before the delay is over: %+v", answers[0])
	}
	w.pass(time.Second)
	if len(answers) != 2 || answers[0].Generation != 1 || answers[1].Generation != 1 || max(len(answers[0].Members), len(answers[1].Members)) != 2 {
		t.Errorf("answers %+v", answers)
	}
}

// TestWhyAGroupIsNotDeleted: DeleteGroups says so in words from version 3 on.
func TestWhyAGroupIsNotDeleted(t *testing.T) {
	for version, told := range map[int16]bool{2: false, 3: true} {
		w := newWorkbench(t)
		w.topic("t", 1)
		w.joinClassic("")
		left := committedIn("t")
		left.Group = "left"
		w.want(ask[*kmsg.OffsetCommitResponse](w, left).Topics[0].Partitions[0].ErrorCode, nil)
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Version, req.Groups = version, []string{"g", "nobody", "left"}
		groups := onTheWire(t, ask[*kmsg.DeleteGroupsResponse](w, req)).Groups
		for i, want := range []*kerr.Error{kerr.NonEmptyGroup, kerr.GroupIDNotFound, nil} {
			w.want(groups[i].ErrorCode, want)
			message := ""
			if want != nil && told {
				message = want.Description
			}
			if got := deref(groups[i].ErrorMessage); got != message || (groups[i].ErrorMessage == nil) != (message == "") {
				t.Errorf("version %d: %q is told %q, want %q", version, groups[i].Group, got, message)
			}
		}
	}
}
