package logbroker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestAMemberThatMissedAnAnswer: who did not get the answer that moved it on goes on with
// the epoch before it, if it says that it owns no more than it was left; with an older one,
// or with more, it is fenced.
func TestAMemberThatMissedAnAnswer(t *testing.T) {
	w := newWorkbench(t)
	w.assignsAtOnce("g")
	w.topic("t", 2)
	w.has(w.heart("a", 0, nil), 2, 0, 1)
	w.has(w.heart("b", 0, nil), 3, []int32{}...)
	w.has(w.heart("a", 2, w.owns(0, 1)), 2, 0)
	w.has(w.heart("a", 2, w.owns(0)), 3)
	for what, wrong := range map[string]*kmsg.ConsumerGroupHeartbeatResponse{
		"nothing said of what it owns": w.heart("a", 2, nil),
		"more than it was left":        w.heart("a", 2, w.owns(0, 1)),
		"an older epoch":               w.heart("a", 1, w.owns(0)),
		"one that has not come":        w.heart("a", 4, w.owns(0)),
	} {
		if wrong.ErrorCode != kerr.FencedMemberEpoch.Code {
			t.Errorf("%s: %v, want FENCED_MEMBER_EPOCH", what, kerr.ErrorForCode(wrong.ErrorCode))
		}
	}
	w.has(w.heart("a", 2, w.owns(0)), 3)
}

// TestTimeOutsThatStay: a sign of life that says nothing of the rebalance time-out leaves it
// as it is: a member has as long to give partitions up as it said when it joined.
func TestTimeOutsThatStay(t *testing.T) {
	w := newWorkbench(t)
	w.assignsAtOnce("g")
	w.topic("t", 2)
	unchanged := func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -1 }
	w.has(w.heart("a", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = 30_000 }), 2, 0, 1)
	w.want(w.heart("a", 2, unchanged).ErrorCode, nil)
	w.want(w.heart("b", 0, nil).ErrorCode, nil)
	w.want(w.heart("a", 2, unchanged).ErrorCode, nil) // it has to give one up
	w.pass(29 * time.Second)
	w.want(w.heart("a", 2, unchanged).ErrorCode, nil)
	w.pass(2 * time.Second)
	w.want(w.heart("a", 2, unchanged).ErrorCode, kerr.UnknownMemberID)
}

// TestAnInstanceComesBackAsItself: a static member that left for now, and comes back under
// the same id, has its place and its partitions, and is there once.
func TestAnInstanceComesBackAsItself(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	instance := "i"
	static := func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = &instance }
	w.has(w.heart("a", 0, static), 2, 0, 1)
	w.want(w.heart("a", -2, static).ErrorCode, nil)
	w.has(w.heart("a", 0, static), 2, 0, 1)
	w.has(w.heart("a", 2, func(r *kmsg.ConsumerGroupHeartbeatRequest) { static(r); w.owns(0, 1)(r) }), 2)
	if n := w.coordinator().byID["g"].members(); n != 1 {
		t.Errorf("%d members", n)
	}
}
