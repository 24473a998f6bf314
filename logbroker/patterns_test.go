package logbroker

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

// TestPatternsFollowTopics: who subscribes by pattern gets topics that come, with the
// heartbeat after the one that looks for them, which is not done more often than Kafka does.
func TestPatternsFollowTopics(t *testing.T) {
	w := newWorkbench(t)
	w.assignsAtOnce("g")
	w.topic("t", 1)
	pattern := "t.*"
	join := func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		r.SubscribedTopicNames, r.SubscribedTopicRegex = nil, &pattern
	}
	w.has(w.heart("a", 0, join), 1, []int32{}...)
	w.has(w.heart("a", 1, nil), 2, 0)
	w.topic("other", 1)
	w.pass(patternPause)
	w.has(w.heart("a", 2, nil), 2)
	w.topic("t2", 1)
	w.pass(1)
	w.has(w.heart("a", 2, nil), 2) // which looks
	w.has(w.heart("a", 2, nil), 3, 0, 0)
	w.topic("t3", 1)
	w.pass(patternPause)
	w.has(w.heart("a", 3, nil), 3)
	w.has(w.heart("a", 3, nil), 3)
	w.pass(1)
	w.has(w.heart("a", 3, nil), 3)
	w.has(w.heart("a", 3, nil), 4, 0, 0, 0)
}

// patternPause is the time before which the topics of patterns are not looked for again.
// patternRefresh that after which they are, as it changes who may see them.
const (
	patternPause   = 10 * time.Second
	patternRefresh = 10 * time.Minute
)

// TestPatternsSeeWhatTheMemberMay: a pattern matches the topics that its member may
// see, whoever's heartbeat makes the group look at the topics again, also when the
// rules change and after a restart.
func TestPatternsSeeWhatTheMemberMay(t *testing.T) {
	w := newSecured(t)
	w.assignsAtOnce("g")
	w.topic("t", 1)
	w.topic("t2", 2)
	w.allow(kmsg.ACLResourceTypeGroup, "g", kmsg.ACLOperationRead, kmsg.ACLPermissionTypeAllow)
	w.allow(kmsg.ACLResourceTypeTopic, "t", kmsg.ACLOperationDescribe, kmsg.ACLPermissionTypeAllow)
	pattern := "t.*"
	beat := func(epoch int32) *kmsg.ConsumerGroupHeartbeatResponse {
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Version, req.Group, req.MemberID, req.MemberEpoch, req.RebalanceTimeoutMillis = 1, "g", "eve", epoch, -1
		if epoch == group.JoinEpoch {
			req.RebalanceTimeoutMillis, req.SubscribedTopicRegex, req.Topics = 60_000, &pattern, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		}
		var out *kmsg.ConsumerGroupHeartbeatResponse
		w.Handle(eve(), req, func(r kmsg.Response) { out = r.(*kmsg.ConsumerGroupHeartbeatResponse) })
		return out
	}
	is := func(want ...string) {
		t.Helper()
		describe := kmsg.NewPtrConsumerGroupDescribeRequest()
		describe.Version, describe.Groups = 1, []string{"g"}
		var got []string
		for _, m := range ask[*kmsg.ConsumerGroupDescribeResponse](w, describe).Groups[0].Members {
			for _, target := range m.TargetAssignment.TopicPartitions {
				if m.MemberID == "eve" {
					got = append(got, target.Topic)
				}
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("eve is to read %q, want %q", got, want)
		}
	}
	w.has(beat(0), 1, []int32{}...)
	w.has(beat(1), 2, 0)
	is("t")
	w.restart()

	// Another member, who may see everything, makes the group look at the topics.
	every := func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		r.SubscribedTopicNames, r.SubscribedTopicRegex = nil, &pattern
	}
	w.topic("t3", 1)
	joined := w.heart("all", 0, every)
	w.want(joined.ErrorCode, nil)
	epoch := joined.MemberEpoch
	looks := func(after time.Duration) {
		t.Helper()
		w.now = w.now.Add(after) // and nobody's session ends
		for range 2 {
			got := w.heart("all", epoch, nil)
			w.want(got.ErrorCode, nil)
			epoch = got.MemberEpoch
		}
	}
	looks(0)
	is("t")
	w.topic("t4", 1)
	looks(2 * patternPause)
	is("t")

	// No topic comes, but a rule.
	w.allow(kmsg.ACLResourceTypeTopic, "t4", kmsg.ACLOperationDescribe, kmsg.ACLPermissionTypeAllow)
	looks(2 * patternPause)
	is("t")
	looks(patternRefresh)
	is("t", "t4")
	w.allow(kmsg.ACLResourceTypeTopic, "t", kmsg.ACLOperationDescribe, kmsg.ACLPermissionTypeDeny)
	looks(patternRefresh + 1)
	is("t4")
}

// TestAPlaceInAnothersName: who takes the place of a static member under another name is not
// given the topics of its pattern that the former one saw.
func TestAPlaceInAnothersName(t *testing.T) {
	w := newSecured(t)
	w.assignsAtOnce("g")
	w.topic("secret", 1)
	w.allow(kmsg.ACLResourceTypeGroup, "g", kmsg.ACLOperationRead, kmsg.ACLPermissionTypeAllow)
	pattern, instance := ".*", "i"
	beat := func(c *Conn, id string, epoch int32) *kmsg.ConsumerGroupHeartbeatResponse {
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Version, req.Group, req.MemberID, req.MemberEpoch, req.InstanceID, req.RebalanceTimeoutMillis = 1, "g", id, epoch, &instance, -1
		if epoch == group.JoinEpoch {
			req.RebalanceTimeoutMillis, req.SubscribedTopicRegex, req.Topics = 60_000, &pattern, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		}
		var out *kmsg.ConsumerGroupHeartbeatResponse
		w.Handle(c, req, func(r kmsg.Response) { out = r.(*kmsg.ConsumerGroupHeartbeatResponse) })
		return out
	}
	admin := NewConn("c", "/here")
	w.has(beat(admin, "a", 0), 1, []int32{}...)
	w.has(beat(admin, "a", 1), 2, 0)
	w.has(beat(admin, "a", -2), -2)
	joined := beat(eve(), "b", 0)
	w.has(joined, joined.MemberEpoch, []int32{}...)
	w.pass(2 * patternPause)
	for range 3 {
		next := beat(eve(), "b", joined.MemberEpoch)
		w.has(next, next.MemberEpoch)
		joined = next
	}
}
