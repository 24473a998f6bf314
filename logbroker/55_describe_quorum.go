package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// metadataTopic is the log of Kafka's controllers. Here the metadata is in a
// database, so there is no such topic; tools ask for its quorum nevertheless.
const metadataTopic = "__cluster_metadata"

// handleDescribeQuorum answers DescribeQuorum, versions 0 to 2 (KIP-595,
// KIP-836): this broker is the only voter and leads.
func (b *Broker) handleDescribeQuorum(r *request) {
	req := r.msg.(*kmsg.DescribeQuorumRequest)
	resp := req.ResponseKind().(*kmsg.DescribeQuorumResponse)
	host, port := b.advertised(r.conn)
	asked := false // for the only quorum there is
	for _, t := range req.Topics {
		rt := kmsg.NewDescribeQuorumResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewDescribeQuorumResponseTopicPartition()
			rp.Partition = p.Partition
			if t.Topic != metadataTopic || p.Partition != 0 {
				rp.ErrorCode = kerr.UnknownTopicOrPartition.Code
			} else {
				asked = true
				rp.LeaderID, rp.LeaderEpoch = b.cfg.NodeID, b.epoch
				v := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
				v.ReplicaID = b.cfg.NodeID
				v.LastFetchTimestamp, v.LastCaughtUpTimestamp = b.now().UnixMilli(), b.now().UnixMilli()
				rp.CurrentVoters = append(rp.CurrentVoters, v)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if !asked {
		r.respond(resp)
		return
	}
	node := kmsg.NewDescribeQuorumResponseNode()
	node.NodeID = b.cfg.NodeID
	l := kmsg.NewDescribeQuorumResponseNodeListener()
	l.Name, l.Host, l.Port = "CONTROLLER", host, uint16(port)
	node.Listeners = append(node.Listeners, l)
	resp.Nodes = append(resp.Nodes, node)
	r.respond(resp)
}
