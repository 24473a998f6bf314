package logbroker

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

// heart sends a heartbeat of the consumer protocol; change completes it.
func (w *workbench) heart(id string, epoch int32, change func(*kmsg.ConsumerGroupHeartbeatRequest)) *kmsg.ConsumerGroupHeartbeatResponse {
	w.t.Helper()
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.MemberEpoch, req.RebalanceTimeoutMillis = 1, "g", id, epoch, -1
	if epoch == group.JoinEpoch {
		req.RebalanceTimeoutMillis, req.SubscribedTopicNames, req.Topics = 60_000, []string{"t"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	if change != nil {
		change(req)
	}
	return ask[*kmsg.ConsumerGroupHeartbeatResponse](w, req)
}

// owns makes a heartbeat say which partitions of "t" are owned.
func (w *workbench) owns(partitions ...int32) func(*kmsg.ConsumerGroupHeartbeatRequest) {
	return func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{{TopicID: w.topics.byName("t").id, Partitions: partitions}}
	}
}

// has fails unless the answer assigns the partitions; nil is no news.
func (w *workbench) has(resp *kmsg.ConsumerGroupHeartbeatResponse, epoch int32, partitions ...int32) {
	w.t.Helper()
	w.want(resp.ErrorCode, nil)
	var got []int32
	if resp.Assignment != nil {
		got = []int32{}
		for _, t := range resp.Assignment.Topics {
			got = append(got, t.Partitions...)
		}
	}
	if resp.MemberEpoch != epoch || !slices.Equal(got, partitions) || (got == nil) != (partitions == nil) {
		w.t.Fatalf("epoch %d with %v, want %d with %v", resp.MemberEpoch, got, epoch, partitions)
	}
}

// commitAs commits offset 1 of partitions of "t", of 0 if none is named. All are answered
// alike.
func (w *workbench) commitAs(member string, epoch int32, partitions ...int32) int16 {
	w.t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 9, "g", member, epoch
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = "t"
	if len(partitions) == 0 {
		partitions = []int32{0}
	}
	for _, n := range partitions {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = n, 1
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	answered := ask[*kmsg.OffsetCommitResponse](w, req).Topics[0].Partitions
	for _, p := range answered {
		if p.ErrorCode != answered[0].ErrorCode {
			w.t.Fatalf("answered %+v", answered)
		}
	}
	return answered[0].ErrorCode
}

func (w *workbench) groupIs(typ string, state group.State) {
	w.t.Helper()
	for _, g := range ask[*kmsg.ListGroupsResponse](w, kmsg.NewPtrListGroupsRequest()).Groups {
		if g.Group == "g" {
			if g.GroupType != typ || g.GroupState != string(state) {
				w.t.Fatalf("the group is %s and %s, want %s and %s", g.GroupType, g.GroupState, typ, state)
			}
			return
		}
	}
	w.t.Fatal("there is no group")
}

// assignsAtOnce makes a group be assigned anew as soon as that is due.
func (w *workbench) assignsAtOnce(group string) {
	w.t.Helper()
	err := w.configureGroup(group, false, func(configs map[string]string) error {
		configs["consumer.assignment.interval.ms"] = "0"
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestConsumerProtocol walks two members through a rebalance, with a restart in
// its midst, and through what they are refused.
func TestConsumerProtocol(t *testing.T) {
	w := newWorkbench(t)
	w.assignsAtOnce("g")
	w.topic("t", 4)
	w.want(w.heart("a", 4, nil).ErrorCode, kerr.GroupIDNotFound)
	a := w.heart("a", 0, nil)
	w.has(a, 2, 0, 1, 2, 3)
	if a.HeartbeatIntervalMillis != 5000 || *a.MemberID != "a" {
		t.Errorf("answer %+v", a)
	}
	w.has(w.heart("a", 2, w.owns(0, 1, 2, 3)), 2)
	w.groupIs("consumer", group.Stable)

	w.has(w.heart("b", 0, nil), 3, []int32{}...)
	w.groupIs("consumer", group.Reconciling)
	w.restart()
	first := w.heart("a", 2, w.owns(0, 1, 2, 3))
	w.has(first, 2, 0, 1) // it is to give up 2 and 3
	w.restart()
	w.has(w.heart("b", 3, nil), 3) // and until then nobody has them
	w.has(w.heart("a", 2, w.owns(0, 1)), 3)
	w.has(w.heart("b", 3, nil), 3, 2, 3)
	w.has(w.heart("b", 3, w.owns(2, 3)), 3)
	w.groupIs("consumer", group.Stable)

	w.want(w.commitAs("a", 3), nil)
	w.want(w.commitAs("a", 4), kerr.StaleMemberEpoch)
	w.want(w.commitAs("nobody", 3), kerr.UnknownMemberID)
	w.want(w.commitAs("", -1), kerr.UnknownMemberID) // while it has members
	w.want(w.heart("a", 8, nil).ErrorCode, kerr.FencedMemberEpoch)
	w.want(w.heart("nobody", 3, nil).ErrorCode, kerr.UnknownMemberID)
	w.want(w.heart("", 0, nil).ErrorCode, kerr.InvalidRequest)
	bad, pattern := "sticky", "("
	w.want(w.heart("c", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = &bad }).ErrorCode, kerr.UnsupportedAssignor)
	w.want(w.heart("c", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicRegex = &pattern }).ErrorCode, kerr.InvalidRegularExpression)
	w.want(w.heart("c", -2, nil).ErrorCode, kerr.InvalidRequest)

	describe := kmsg.NewPtrConsumerGroupDescribeRequest()
	describe.Version, describe.Groups = 1, []string{"g", "h"}
	d := ask[*kmsg.ConsumerGroupDescribeResponse](w, describe).Groups
	w.want(d[1].ErrorCode, kerr.GroupIDNotFound)
	if d[0].State != "Stable" || d[0].AssignorName != "uniform" || len(d[0].Members) != 2 || d[0].Members[0].Assignment.TopicPartitions[0].Topic != "t" {
		t.Errorf("described as %+v", d[0])
	}

	w.has(w.heart("b", -1, nil), -1)
	w.has(w.heart("a", 3, nil), 4, 0, 1, 2, 3)
	w.want(w.createPartitions("t", 6, nil).ErrorCode, nil)
	w.has(w.heart("a", 4, nil), 5, 0, 1, 2, 3, 4, 5)
	w.pass(46 * time.Second) // silence
	w.groupIs("consumer", group.Empty)
	w.want(w.heart("a", 5, nil).ErrorCode, kerr.UnknownMemberID)
	w.want(w.commitAs("", -1), nil)
}

// TestCommitsOfOlderEpochs: a commit that crosses a rebalance is taken if the member has
// had all its partitions since the epoch of the commit (KIP-1251); else none of it is.
func TestCommitsOfOlderEpochs(t *testing.T) {
	w := newWorkbench(t)
	w.assignsAtOnce("g")
	w.topic("t", 4)
	w.has(w.heart("a", 0, nil), 2, 0, 1, 2, 3)
	w.want(w.createPartitions("t", 6, nil).ErrorCode, nil)
	w.has(w.heart("a", 2, nil), 3, 0, 1, 2, 3, 4, 5)
	w.want(w.commitAs("a", 2, 0, 1, 2, 3), nil)
	w.want(w.commitAs("a", 2, 4), kerr.StaleMemberEpoch)
	w.want(w.commitAs("a", 0), kerr.StaleMemberEpoch)

	w.has(w.heart("b", 0, nil), 4, []int32{}...)
	w.has(w.heart("a", 3, w.owns(0, 1, 2, 3, 4, 5)), 3, 0, 1, 2)
	for range 2 { // 3, 4 and 5 are its own until it says that it gave them up
		w.want(w.commitAs("a", 2, 2, 3), nil)
		w.want(w.commitAs("a", 2, 4), kerr.StaleMemberEpoch)
		w.restart()
	}
	w.has(w.heart("a", 3, w.owns(0, 1, 2)), 4)
	w.want(w.commitAs("a", 3, 3), kerr.StaleMemberEpoch) // nobody has it yet
	w.has(w.heart("b", 4, nil), 4, 3, 4, 5)
	for range 2 {
		for epoch := int32(2); epoch < 4; epoch++ {
			w.want(w.commitAs("a", epoch, 0, 1, 2), nil)
			w.want(w.commitAs("a", epoch, 3), kerr.StaleMemberEpoch)
			w.want(w.commitAs("b", epoch, 3), kerr.StaleMemberEpoch)
		}
		w.restart()
	}

	w.has(w.heart("b", -1, nil), -1)
	w.has(w.heart("a", 4, w.owns(0, 1, 2)), 5, 0, 1, 2, 3, 4, 5)
	w.want(w.commitAs("a", 4, 3), kerr.StaleMemberEpoch) // it has it back, and b committed meanwhile
	w.want(w.commitAs("a", 5, 3), nil)
	w.want(w.commitAs("a", 2), nil)
}

// TestARefusedCommitStoresNothing: of a commit of an older epoch no offset is stored if
// the member may not commit one of them.
func TestARefusedCommitStoresNothing(t *testing.T) {
	w := newWorkbench(t)
	w.assignsAtOnce("g")
	w.topic("t", 1)
	w.has(w.heart("a", 0, nil), 2, 0)
	w.want(w.createPartitions("t", 2, nil).ErrorCode, nil)
	w.has(w.heart("a", 2, nil), 3, 0, 1)
	w.want(w.commitAs("a", 2, 0, 1), kerr.StaleMemberEpoch)
	w.wantOffset(-1)
	w.want(w.commitAs("a", 2, 0), nil)
	w.wantOffset(1)
}

// TestStaticConsumer: an instance that restarts keeps its partitions, and nobody
// else moves.
func TestStaticConsumer(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 4)
	name := "one"
	static := func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = &name }
	w.has(w.heart("a", 0, static), 2, 0, 1, 2, 3)
	w.want(w.heart("a2", 0, static).ErrorCode, kerr.UnreleasedInstanceID)
	w.has(w.heart("a", -2, static), -2)
	w.want(w.heart("x", -1, static).ErrorCode, kerr.FencedInstanceID)
	w.has(w.heart("a2", 0, static), 2, 0, 1, 2, 3)
	w.want(w.heart("a", 2, static).ErrorCode, kerr.FencedInstanceID)
	w.has(w.heart("a2", 2, static), 2)
}

// TestInstanceIsReleased: a static member that joins again before it left is refused as
// any other of its instance is, until its session ends, as by Kafka. Without its instance
// it is the member that it is by its id, and has its place also where it was away.
func TestInstanceIsReleased(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	one := "one"
	static := func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = &one }
	w.has(w.heart("a", 0, static), 2, 0, 1)
	for range 2 {
		w.want(w.heart("a", 0, static).ErrorCode, kerr.UnreleasedInstanceID)
		w.want(w.heart("b", 0, static).ErrorCode, kerr.UnreleasedInstanceID)
		w.has(w.heart("a", 2, static), 2)
		w.restart()
	}
	w.has(w.heart("a", -2, static), -2)
	w.has(w.heart("a", 0, nil), 2, 0, 1)
	w.want(w.heart("a", 0, static).ErrorCode, kerr.UnreleasedInstanceID)
	w.pass(time.Minute)
	w.has(w.heart("a", 0, static), 4, 0, 1)
}

// TestWhatNoMemberSays: names that are empty, a join that does not say that it owns
// nothing, or within which time it gives partitions up. Less than no time is none.
func TestWhatNoMemberSays(t *testing.T) {
	w := newWorkbench(t)
	w.assignsAtOnce("g")
	w.topic("t", 2)
	blank, none := " ", "no such assignor"
	for what, wrong := range map[string]func(*kmsg.ConsumerGroupHeartbeatRequest){
		"a blank group":                   func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = blank },
		"a blank member":                  func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID = blank },
		"a blank instance":                func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = &blank },
		"a blank rack":                    func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RackID = &blank },
		"nothing of what it owns":         func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Topics = nil },
		"a topic of what it owns":         w.owns(),
		"no time-out":                     func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -1 },
		"no topics, and a wrong assignor": func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames, r.ServerAssignor = nil, &none },
	} {
		if code := w.heart("a", 0, wrong).ErrorCode; code != kerr.InvalidRequest.Code {
			t.Errorf("%s: %v, want INVALID_REQUEST", what, kerr.ErrorForCode(code))
		}
	}
	w.has(w.heart("a", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -5 }), 2, 0, 1)
	w.has(w.heart("b", 0, nil), 3, []int32{}...)
	w.has(w.heart("a", 2, w.owns(0, 1)), 2, 0)
	w.pass(0)
	w.want(w.heart("a", 2, w.owns(0, 1)).ErrorCode, kerr.UnknownMemberID)
	w.has(w.heart("b", 3, nil), 4, 0, 1)
}

// TestOneMemberOfAnId: a member that joins again as a static one, as another instance
// or without its instance is the same member, as in Kafka; one that takes the place of
// an instance gives up its own.
func TestOneMemberOfAnId(t *testing.T) {
	for name, test := range map[string]struct{ first, second, want string }{
		"becomes static":     {"", "i", "i"},
		"leaves it out":      {"i", "", "i"},
		"becomes another":    {"i", "k", "k"},
		"takes a place over": {"", "left", "left"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkbench(t)
			w.topic("t", 2)
			as := func(instance string) func(*kmsg.ConsumerGroupHeartbeatRequest) {
				return func(r *kmsg.ConsumerGroupHeartbeatRequest) {
					if instance != "" {
						r.InstanceID = &instance
					}
				}
			}
			if test.second == "left" {
				w.has(w.heart("gone", 0, as("left")), 2, 0, 1)
				w.has(w.heart("gone", -2, as("left")), -2)
			}
			w.want(w.heart("m", 0, as(test.first)).ErrorCode, nil)
			again := w.heart("m", 0, as(test.second))
			w.want(again.ErrorCode, nil)
			w.want(w.heart("m", again.MemberEpoch, nil).ErrorCode, nil)
			w.restart()
			w.want(w.heart("m", again.MemberEpoch, as(test.want)).ErrorCode, nil)
			members := w.coordinator().byID["g"].consumer.Members
			if len(members) != 1 || members[0].ID != "m" || members[0].InstanceID.String() != test.want || len(members[0].Target) != 2 {
				t.Errorf("%d members, the first is %+v", len(members), members[0])
			}
		})
	}
}

// TestAssignmentInterval: within it nothing is assigned anew; with none it is at once.
func TestAssignmentInterval(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	w.has(w.heart("a", 0, nil), 2, 0, 1)
	w.has(w.heart("b", 0, nil), 2, []int32{}...)
	w.pass(time.Second - 1)
	w.has(w.heart("b", 2, nil), 2)
	w.pass(1)
	w.has(w.heart("b", 2, nil), 3)
	w.has(w.heart("a", 2, w.owns(0, 1)), 2, 0)
	w.assignsAtOnce("g")
	w.has(w.heart("b", -1, nil), -1)
	w.has(w.heart("a", 2, w.owns(0)), 4, 0, 1)
}

// joinClassic joins with the classic protocol, from the second step on.
func (w *workbench) joinClassic(id string, owned ...int32) *kmsg.JoinGroupResponse {
	w.t.Helper()
	md := kmsg.NewConsumerMemberMetadata()
	md.Version, md.Topics = 3, []string{"t"}
	if len(owned) > 0 {
		md.OwnedPartitions = []kmsg.ConsumerMemberMetadataOwnedPartition{{Topic: "t", Partitions: owned}}
	}
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.ProtocolType = 9, "g", id, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 45_000, 60_000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", md.AppendTo(nil)
	req.Protocols = append(req.Protocols, p)
	resp := ask[*kmsg.JoinGroupResponse](w, req)
	if id == "" && resp.ErrorCode == kerr.MemberIDRequired.Code {
		return w.joinClassic(resp.MemberID, owned...)
	}
	return resp
}

func (w *workbench) syncClassic(id string, generation int32, assignments map[string][]int32) []int32 {
	w.t.Helper()
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 3, "g", id, generation
	for member, partitions := range assignments {
		a := kmsg.NewConsumerMemberAssignment()
		a.Topics = []kmsg.ConsumerMemberAssignmentTopic{{Topic: "t", Partitions: partitions}}
		ga := kmsg.NewSyncGroupRequestGroupAssignment()
		ga.MemberID, ga.MemberAssignment = member, a.AppendTo(nil)
		req.GroupAssignment = append(req.GroupAssignment, ga)
	}
	resp := ask[*kmsg.SyncGroupResponse](w, req)
	w.want(resp.ErrorCode, nil)
	var a kmsg.ConsumerMemberAssignment
	if err := a.ReadFrom(resp.MemberAssignment); err != nil {
		w.t.Fatal(err)
	}
	out := []int32{}
	for _, t := range a.Topics {
		out = append(out, t.Partitions...)
	}
	return out
}

func (w *workbench) heartClassic(id string, generation int32) int16 {
	w.t.Helper()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 4, "g", id, generation
	return ask[*kmsg.HeartbeatResponse](w, req).ErrorCode
}

// TestOnlineUpgrade: a classic group becomes one of the consumer protocol with the
// first member that speaks it, works with both, and goes back with the last.
func TestOnlineUpgrade(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 4)
	old := w.joinClassic("")
	w.want(old.ErrorCode, nil)
	id := old.MemberID
	if got := w.syncClassic(id, old.Generation, map[string][]int32{id: {0, 1, 2, 3}}); !slices.Equal(got, []int32{0, 1, 2, 3}) {
		t.Fatalf("assigned %v", got)
	}
	w.groupIs("classic", group.Stable)

	w.has(w.heart("new", 0, nil), 2, []int32{}...)
	w.groupIs("consumer", group.Reconciling)
	w.restart()
	w.want(w.heartClassic(id, old.Generation), kerr.RebalanceInProgress)
	again := w.joinClassic(id, 0, 1, 2, 3)
	w.want(again.ErrorCode, nil)
	if got := w.syncClassic(id, again.Generation, nil); !slices.Equal(got, []int32{0, 1}) {
		t.Fatalf("left with %v", got)
	}
	w.has(w.heart("new", 2, nil), 2) // not given up yet
	w.want(w.heartClassic(id, again.Generation), kerr.RebalanceInProgress)
	given := w.joinClassic(id, 0, 1)
	w.want(given.ErrorCode, nil)
	if got := w.syncClassic(id, given.Generation, nil); !slices.Equal(got, []int32{0, 1}) {
		t.Fatalf("keeps %v", got)
	}
	w.has(w.heart("new", 2, nil), 2, 2, 3)
	w.want(w.heartClassic(id, given.Generation), nil)
	w.want(w.commitAs(id, given.Generation), nil)
	w.want(w.commitAs(id, given.Generation-1), nil) // it has had 0 since before
	w.want(w.commitAs(id, given.Generation-1, 2), kerr.IllegalGeneration)
	w.want(w.commitAs(id, given.Generation+1), kerr.IllegalGeneration)
	w.groupIs("consumer", group.Stable)

	w.has(w.heart("new", -1, nil), -1)
	w.groupIs("classic", group.PreparingRebalance)
	w.restart()
	w.want(w.heartClassic(id, given.Generation), kerr.RebalanceInProgress)
	back := w.joinClassic(id, 0, 1)
	w.want(back.ErrorCode, nil)
	if back.LeaderID != id || len(back.Members) != 1 {
		t.Errorf("joined as %+v", back)
	}
	if got := w.syncClassic(id, back.Generation, map[string][]int32{id: {0, 1, 2, 3}}); !slices.Equal(got, []int32{0, 1, 2, 3}) {
		t.Fatalf("assigned %v", got)
	}
	w.groupIs("classic", group.Stable)
}

// TestDowngradeForgetsNoOwner: what a classic member has not given up yet stays its
// own while the group goes to the classic protocol and back, whether it said when it joined
// that it has it or was assigned it after.
func TestDowngradeForgetsNoOwner(t *testing.T) {
	for _, says := range []bool{true, false} {
		w := newWorkbench(t)
		w.topic("t", 2)
		old := w.joinClassic("")
		id := old.MemberID
		w.syncClassic(id, old.Generation, map[string][]int32{id: {0, 1}})
		w.has(w.heart("new", 0, nil), 2, []int32{}...)
		if says {
			w.want(w.joinClassic(id, 0, 1).ErrorCode, nil) // it is to give up 1, and has not heard
		}
		w.has(w.heart("new", -1, nil), -1)
		w.groupIs("classic", group.PreparingRebalance)
		w.restart()
		joined := w.heart("new", 0, nil)
		w.has(joined, joined.MemberEpoch, []int32{}...)
	}
}

// TestUpgradeForgetsNoOwner: what a member of a classic group is to give up, and may
// not have heard of yet, is nobody else's when the group is upgraded.
func TestUpgradeForgetsNoOwner(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	old := w.joinClassic("", 0, 1)
	id := old.MemberID
	w.syncClassic(id, old.Generation, map[string][]int32{id: {0}})
	joined := w.heart("new", 0, nil)
	w.has(joined, joined.MemberEpoch, []int32{}...)
	w.want(w.joinClassic(id, 0).ErrorCode, nil)
	w.has(w.heart("new", joined.MemberEpoch, nil), joined.MemberEpoch, 1)
}

// TestRemovedMemberIsTold: a classic member that was taken out, and still has
// partitions, does not come back with them: they are others'.
func TestRemovedMemberIsTold(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	w.has(w.heart("new", 0, nil), 2, 0, 1)
	w.want(w.joinClassic("gone", 0).ErrorCode, kerr.UnknownMemberID)
	w.want(w.joinClassic("").ErrorCode, nil)
}

// TestOtherGroupsAreNotUpgraded: only a group of consumers can be.
func TestOtherGroupsAreNotUpgraded(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.ProtocolType, req.SessionTimeoutMillis = 3, "g", "connect", 45_000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name = "compatible"
	req.Protocols = append(req.Protocols, p)
	w.want(ask[*kmsg.JoinGroupResponse](w, req).ErrorCode, nil)
	w.want(w.heart("a", 0, nil).ErrorCode, kerr.GroupIDNotFound)
	w.groupIs("classic", group.CompletingRebalance)
}

// TestARefusedSessionChangesNoGroup: only what a group looks at makes an empty one classic.
func TestARefusedSessionChangesNoGroup(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.has(w.heart("m", 0, nil), 2, 0)
	w.has(w.heart("m", -1, nil), -1)
	for _, ms := range []int32{-1, 1, 5999, 1_800_001} {
		req := joinOf("")
		req.SessionTimeoutMillis = ms
		w.want(ask[*kmsg.JoinGroupResponse](w, req).ErrorCode, kerr.InvalidSessionTimeout)
	}
	w.groupIs("consumer", group.Empty)
	w.restart()
	w.groupIs("consumer", group.Empty)
	w.want(w.joinClassic("").ErrorCode, nil)
	w.groupIs("classic", group.CompletingRebalance)
}
