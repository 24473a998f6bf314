package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleElectLeaders answers ElectLeaders, versions 0 to 2 (KIP-460): of one
// broker every partition has its leader already. Topics that are null are all,
// and of them only those that need an election are told.
func (b *Broker) handleElectLeaders(r *request) {
	req := r.msg.(*kmsg.ElectLeadersRequest)
	resp := req.ResponseKind().(*kmsg.ElectLeadersResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewElectLeadersResponseTopic()
		rt.Topic = t.Topic
		topic := b.topics.byName(t.Topic)
		for _, n := range t.Partitions {
			rp := kmsg.NewElectLeadersResponseTopicPartition()
			rp.Partition, rp.ErrorCode = n, kerr.ElectionNotNeeded.Code
			if _, err := b.topics.partition(topic, n); err != nil {
				rp.ErrorCode = errorCode(err)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	r.respond(resp)
}
