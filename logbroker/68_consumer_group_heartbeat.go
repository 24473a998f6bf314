package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

// handleConsumerGroupHeartbeat answers ConsumerGroupHeartbeat, versions 0 and 1
// (KIP-848): 1 has patterns, and members that choose their id. A group whose
// members speak the classic protocol is upgraded by the first that does not.
func (b *Broker) handleConsumerGroupHeartbeat(r *request) {
	req := r.msg.(*kmsg.ConsumerGroupHeartbeatRequest)
	resp := req.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
	respond := func(a group.HeartbeatAnswer, err error) {
		resp.ErrorCode, resp.ErrorMessage = groupError(err)
		if err == nil {
			fillHeartbeat(resp, a)
		}
		r.respond(resp)
	}
	h := heartbeatOf(r.conn, req)
	if group.IsBlank(req.Group) || req.InstanceID != nil && group.IsBlank(*req.InstanceID) {
		respond(group.HeartbeatAnswer{}, kerr.InvalidRequest)
		return
	}
	g := b.coordinator()
	id, err := g.newMemberID(r.conn.ClientID)
	if err == nil {
		err = group.CheckHeartbeat(h)
	}
	if joins := h.Epoch == group.JoinEpoch; err == nil && (joins || h.Epoch > 0 && (h.Topics != nil || h.Regex != nil)) {
		err = b.space.forGroups()
	}
	if err != nil {
		respond(group.HeartbeatAnswer{}, err)
		return
	}
	h.NewID = id
	var answer group.HeartbeatAnswer
	known := g.do(req.Group, h.Epoch == group.JoinEpoch, func(group.Answer) { respond(answer, err) }, func(e *groupEntry, request group.RequestID) []group.Answer {
		var others []group.Answer
		classic := e.classic
		switch {
		case classic != nil && h.Epoch != group.JoinEpoch:
			err = kerr.GroupIDNotFound
		case classic != nil:
			err = b.toConsumer(req.Group, e)
		}
		if err == nil {
			h.Room = g.room(e)
			answer, err = e.consumer.Heartbeat(b.now(), h, topicView{b})
		}
		switch {
		case classic != nil && err != nil:
			e.classic, e.consumer, e.switched, e.refused = classic, nil, false, true
			if h.Epoch == group.JoinEpoch && classic.ProtocolType == group.ConsumerProtocol {
				others = classic.SendAway(b.now()) // as in Kafka, who sends them away before it knows
			}
		case classic != nil:
			others = classic.SendAway(b.now())
		}
		return append(others, group.Answer{Request: request})
	})
	switch {
	case !known && h.Epoch == group.JoinEpoch:
		respond(answer, kerr.GroupMaxSizeReached)
	case !known:
		respond(answer, kerr.GroupIDNotFound)
	}
}

func heartbeatOf(conn *Conn, req *kmsg.ConsumerGroupHeartbeatRequest) group.Heartbeat {
	h := group.Heartbeat{
		MemberID: req.MemberID, Epoch: req.MemberEpoch, InstanceID: group.InstanceOf(req.InstanceID), RackID: req.RackID, ClientID: conn.ClientID, Host: conn.Host,
		Rebalance: milliseconds(req.RebalanceTimeoutMillis), Topics: req.SubscribedTopicNames, Regex: req.SubscribedTopicRegex,
		Assignor: req.ServerAssignor, OwnedGiven: req.Topics != nil, OwnedTopics: len(req.Topics) > 0, EmptyIDForbidden: req.Version >= 1,
	}
	if !conn.internal {
		h.Principal = conn.principal
	}
	var owned []group.Partition
	for _, t := range req.Topics {
		for _, n := range t.Partitions {
			owned = append(owned, group.Partition{Topic: t.TopicID, Index: n})
		}
	}
	h.Owned = group.NewPartitions(owned)
	return h
}

func fillHeartbeat(resp *kmsg.ConsumerGroupHeartbeatResponse, a group.HeartbeatAnswer) {
	resp.MemberID, resp.MemberEpoch, resp.HeartbeatIntervalMillis = &a.MemberID, a.Epoch, int32(a.Interval.Milliseconds())
	if !a.AssignmentGiven {
		return
	}
	out := kmsg.NewConsumerGroupHeartbeatResponseAssignment()
	out.Topics = []kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic{}
	for _, p := range a.Assignment {
		if n := len(out.Topics); n == 0 || out.Topics[n-1].TopicID != p.Topic {
			t := kmsg.NewConsumerGroupHeartbeatResponseAssignmentTopic()
			t.TopicID = p.Topic
			out.Topics = append(out.Topics, t)
		}
		last := &out.Topics[len(out.Topics)-1]
		last.Partitions = append(last.Partitions, p.Index)
	}
	resp.Assignment = &out
}

// groupError is an error of a group with its message.
func groupError(err error) (int16, *string) {
	if err == nil {
		return 0, nil
	}
	text := errorMessage(err)
	return groupCode(err), &text
}
