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
	seen := map[place]bool{}
	for _, t := range req.Topics {
		rt := kmsg.NewDescribeProducersResponseTopic()
		rt.Topic = t.Topic
		topic := b.topics.byName(t.Topic)
		for _, index := range t.Partitions {
			if seen[place{t.Topic, index}] {
				continue // all of its producers would be told again
			}
			seen[place{t.Topic, index}] = true
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
			rt.Partitions = append(rt.Partitions, rp)
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
