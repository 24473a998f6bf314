package logbroker

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleDescribeProducers answers DescribeProducers, version 0 (KIP-664): who
// has written to partitions, and whose transactions are open there.
func (b *Broker) handleDescribeProducers(r *request) {
	req := r.msg.(*kmsg.DescribeProducersRequest)
	resp := req.ResponseKind().(*kmsg.DescribeProducersResponse)
	type place struct {
		topic     string
		partition int32
	}
	left := maxRoom
	repeats := repeatsIn[place, kmsg.DescribeProducersResponseTopicPartition](&left)
	for _, t := range req.Topics {
		rt := kmsg.NewDescribeProducersResponseTopic()
		rt.Topic = t.Topic
		topic := b.topics.byName(t.Topic)
		for _, index := range t.Partitions {
			rt.Partitions = repeats.add(rt.Partitions, place{t.Topic, index}, func() kmsg.DescribeProducersResponseTopicPartition {
				rp := kmsg.NewDescribeProducersResponseTopicPartition()
				rp.Partition = index
				p, err := b.topics.partition(topic, index)
				if wrong := checkTopicName(t.Topic); wrong != nil {
					err = wrong
				}
				if err != nil {
					text := errorMessage(err)
					rp.ErrorCode, rp.ErrorMessage = errorCode(err), &text
				} else {
					rp.ActiveProducers = activeProducers(p)
				}
				return rp
			})
		}
		resp.Topics = append(resp.Topics, rt)
	}
	r.respond(resp)
}

func activeProducers(p *partition) []kmsg.DescribeProducersResponseTopicPartitionActiveProducer {
	out := []kmsg.DescribeProducersResponseTopicPartitionActiveProducer{}
	for _, s := range p.log.Producers() {
		a := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		a.ProducerID, a.ProducerEpoch, a.LastSequence = s.ProducerID, int32(s.Epoch), s.LastSequence
		a.LastTimestamp, a.CoordinatorEpoch, a.CurrentTxnStartOffset = s.LastTimestamp, s.CoordinatorEpoch, s.TxnFirstOffset
		out = append(out, a)
	}
	return out
}
