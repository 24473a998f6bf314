package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleOffsetForLeaderEpoch answers OffsetForLeaderEpoch, versions 2 to 4: the
// offset after the last record of an epoch. A new epoch begins with every start
// of the broker.
func (b *Broker) handleOffsetForLeaderEpoch(r *request) {
	req := r.msg.(*kmsg.OffsetForLeaderEpochRequest)
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
		rt.Topic = t.Topic
		topic := b.topics.byName(t.Topic)
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			rp.Partition, rp.LeaderEpoch, rp.EndOffset = p.Partition, -1, -1
			part, err := b.topics.partition(topic, p.Partition)
			switch {
			case err != nil:
				rp.ErrorCode = groupCode(err)
			case p.CurrentLeaderEpoch > b.epoch:
				rp.ErrorCode = kerr.UnknownLeaderEpoch.Code
			case p.LeaderEpoch == b.epoch:
				rp.LeaderEpoch, rp.EndOffset = b.epoch, part.highWatermark()
			default:
				rp.LeaderEpoch, rp.EndOffset = part.log.EpochEnd(p.LeaderEpoch)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	r.respond(resp)
}
