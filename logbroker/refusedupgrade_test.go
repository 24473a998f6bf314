package logbroker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

// TestARefusedMemberUpgradesNoGroup: a member of the consumer protocol that cannot join
// leaves a classic group as it was. As with Kafka, who waits in it is sent to join again.
func TestARefusedMemberUpgradesNoGroup(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	refused := func(state group.State) {
		t.Helper()
		resp := w.heart("new", group.JoinEpoch, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicRegex = kmsg.StringPtr("(") })
		w.want(resp.ErrorCode, kerr.InvalidRegularExpression)
		w.groupIs("classic", state)
	}
	m := w.joinClassic("")
	w.syncClassic(m.MemberID, m.Generation, map[string][]int32{m.MemberID: {0, 1}})
	refused(group.Stable)
	w.restart()
	w.groupIs("classic", group.Stable)
	w.want(w.heartClassic(m.MemberID, m.Generation), nil)

	md := kmsg.NewConsumerMemberMetadata()
	join := joinOf(ask[*kmsg.JoinGroupResponse](w, joinOf("")).MemberID)
	join.Protocols[0].Metadata = md.AppendTo(nil)
	var second *kmsg.JoinGroupResponse
	w.Handle(NewConn("second", "/s"), join, func(r kmsg.Response) { second = r.(*kmsg.JoinGroupResponse) })
	refused(group.PreparingRebalance)
	if second == nil || second.ErrorCode != kerr.RebalanceInProgress.Code {
		t.Fatalf("who waits for the first is answered %+v", second)
	}
	second = nil
	w.Handle(NewConn("second", "/s"), join, func(r kmsg.Response) { second = r.(*kmsg.JoinGroupResponse) })
	if second != nil {
		t.Fatalf("who waits for the first is answered %+v", second)
	}
	w.want(w.joinClassic(m.MemberID).ErrorCode, nil)
	w.want(second.ErrorCode, nil)

	// Who has waited for longer than its session is not out for having been sent away.
	w.syncClassic(m.MemberID, second.Generation, map[string][]int32{m.MemberID: {0, 1}})
	md.Topics = []string{"t"}
	join.Protocols[0].Metadata = md.AppendTo(nil)
	w.Handle(NewConn("second", "/s"), join, func(r kmsg.Response) { second = r.(*kmsg.JoinGroupResponse) })
	for range 3 {
		w.pass(5 * time.Second)
		w.want(w.heartClassic(m.MemberID, second.Generation), kerr.RebalanceInProgress)
	}
	generation := second.Generation
	refused(group.PreparingRebalance)
	w.want(second.ErrorCode, kerr.RebalanceInProgress)
	w.pass(time.Second)
	w.Handle(NewConn("second", "/s"), join, func(r kmsg.Response) { second = r.(*kmsg.JoinGroupResponse) })
	w.want(w.joinClassic(m.MemberID).ErrorCode, nil)
	w.want(second.ErrorCode, nil)
	if second.Generation <= generation || second.MemberID != join.MemberID {
		t.Errorf("joined as %+v", second)
	}
}
