package logbroker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleAlterPartitionReassignments answers AlterPartitionReassignments,
// versions 0 and 1 (KIP-455). Partitions cannot be anywhere but here: that is
// granted, anything else is refused.
func (b *Broker) handleAlterPartitionReassignments(r *request) {
	req := r.msg.(*kmsg.AlterPartitionAssignmentsRequest)
	resp := req.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
	resp.AllowReplicationFactorChange = req.AllowReplicationFactorChange
	for _, t := range req.Topics {
		rt := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		rt.Topic = t.Topic
		topic := b.topics.byName(t.Topic)
		for _, p := range t.Partitions {
			rp := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			rp.Partition = p.Partition
			_, err := b.topics.partition(topic, p.Partition)
			switch {
			case err != nil:
			case p.Replicas == nil:
				err = fmt.Errorf("%w: nothing is being moved", kerr.NoReassignmentInProgress)
			case len(p.Replicas) != 1 || p.Replicas[0] != b.cfg.NodeID:
				err = fmt.Errorf("%w: replicas %v, but the only broker is %d", kerr.InvalidReplicaAssignment, p.Replicas, b.cfg.NodeID)
			}
			rp.ErrorCode, rp.ErrorMessage = alterError(err)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	r.respond(resp)
}

// handleListPartitionReassignments answers ListPartitionReassignments, version
// 0: there is never one.
func (b *Broker) handleListPartitionReassignments(r *request) {
	r.respond(r.msg.ResponseKind())
}
