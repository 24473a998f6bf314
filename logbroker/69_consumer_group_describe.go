package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

// Member types of ConsumerGroupDescribe, version 1.
const (
	classicMember  = 0
	consumerMember = 1
)

// handleConsumerGroupDescribe answers ConsumerGroupDescribe, versions 0 and 1
// (KIP-848): groups of the consumer protocol.
func (b *Broker) handleConsumerGroupDescribe(r *request) {
	req := r.msg.(*kmsg.ConsumerGroupDescribeRequest)
	resp := req.ResponseKind().(*kmsg.ConsumerGroupDescribeResponse)
	left := maxRoom
	repeats := repeatsIn[string, kmsg.ConsumerGroupDescribeResponseGroup](&left)
	for _, id := range req.Groups {
		resp.Groups = repeats.add(resp.Groups, id, func() kmsg.ConsumerGroupDescribeResponseGroup { return b.describeConsumerGroup(r, req, id) })
	}
	r.respond(resp)
}

func (b *Broker) describeConsumerGroup(r *request, req *kmsg.ConsumerGroupDescribeRequest, id string) kmsg.ConsumerGroupDescribeResponseGroup {
	rg := kmsg.NewConsumerGroupDescribeResponseGroup()
	if rg.Group = id; id == "" {
		rg.ErrorCode = kerr.InvalidGroupID.Code
		return rg
	}
	rg.AuthorizedOperations = who{b, r.conn}.operations(req.IncludeAuthorizedOperations, kmsg.ACLResourceTypeGroup, id)
	g := b.coordinator()
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.find(id, false); e != nil && e.consumer != nil {
		b.describeConsumer(&rg, e.consumer)
	} else {
		rg.ErrorCode, rg.ErrorMessage = groupError(kerr.GroupIDNotFound)
		rg.AuthorizedOperations = noOperations
	}
	return rg
}

// describeConsumer fills in what is told of a group. The caller holds mu of the
// groups.
func (b *Broker) describeConsumer(rg *kmsg.ConsumerGroupDescribeResponseGroup, c *group.Consumer) {
	rg.State, rg.Epoch, rg.AssignmentEpoch, rg.AssignorName = string(c.State()), c.Epoch, c.TargetEpoch, c.Assignor
	if rg.AssignorName == "" {
		rg.AssignorName = group.Assignors[0]
	}
	for _, m := range c.Members {
		rm := kmsg.NewConsumerGroupDescribeResponseGroupMember()
		rm.MemberID, rm.MemberEpoch, rm.ClientID, rm.ClientHost = m.ID, m.Epoch, m.ClientID, m.Host
		rm.InstanceID = m.InstanceID.Name()
		if m.RackID != "" {
			rm.RackID = &m.RackID
		}
		if m.Regex != "" {
			rm.SubscribedTopicRegex = &m.Regex
		}
		rm.SubscribedTopics = append([]string{}, m.Topics...)
		rm.Assignment, rm.TargetAssignment = b.describeAssignment(m.Consumes()), b.describeAssignment(m.Target)
		if rm.MemberType = consumerMember; m.IsClassic() {
			rm.MemberType = classicMember
		}
		rg.Members = append(rg.Members, rm)
	}
}

func (b *Broker) describeAssignment(set group.Partitions) kmsg.Assignment {
	out := kmsg.NewAssignment()
	out.TopicPartitions = []kmsg.AssignmentTopicPartition{}
	for _, p := range set {
		if n := len(out.TopicPartitions); n == 0 || out.TopicPartitions[n-1].TopicID != p.Topic {
			t, ok := topicView{b}.ByID(p.Topic)
			if !ok {
				continue // deleted
			}
			tp := kmsg.NewAssignmentTopicPartition()
			tp.TopicID, tp.Topic = p.Topic, t.Name
			out.TopicPartitions = append(out.TopicPartitions, tp)
		}
		last := &out.TopicPartitions[len(out.TopicPartitions)-1]
		last.Partitions = append(last.Partitions, p.Index)
	}
	return out
}
