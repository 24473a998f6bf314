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
			if err == nil {
				err = b.checkLeaderEpoch(p.CurrentLeaderEpoch)
			}
			switch {
			case err != nil:
				rp.ErrorCode = groupCode(err)
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

// checkLeaderEpoch compares the epoch that a client believes in with this run's
// (KIP-320), unless it is -1. Who is wrong asks for metadata, which tells it.
func (b *Broker) checkLeaderEpoch(believed int32) error {
	switch {
	case believed == -1 || believed == b.epoch:
		return nil
	case believed < b.epoch:
		return kerr.FencedLeaderEpoch
	}
	return kerr.UnknownLeaderEpoch
}
