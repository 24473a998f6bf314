package logbroker

import (
	"fmt"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleWriteTxnMarkers answers WriteTxnMarkers, versions 1 and 2 (KIP-98,
// KIP-664): an administrator aborts a transaction that hangs in a partition.
// Only the coordinator, which is this broker, may commit. A partition where no
// such transaction is open is left as it is. The answer comes when the markers
// are durable.
func (b *Broker) handleWriteTxnMarkers(r *request) {
	req := r.msg.(*kmsg.WriteTxnMarkersRequest)
	resp := req.ResponseKind().(*kmsg.WriteTxnMarkersResponse)
	var left atomic.Int64
	left.Store(1)
	one := func() {
		if left.Add(-1) == 0 {
			r.respond(resp)
		}
	}
	for _, m := range req.Markers {
		rm := kmsg.NewWriteTxnMarkersResponseMarker()
		rm.ProducerID = m.ProducerID
		for _, t := range m.Topics {
			rt := kmsg.NewWriteTxnMarkersResponseMarkerTopic()
			rt.Topic = t.Topic
			rt.Partitions = make([]kmsg.WriteTxnMarkersResponseMarkerTopicPartition, len(t.Partitions))
			for i, n := range t.Partitions {
				rp := &rt.Partitions[i]
				rp.Partition = n
				left.Add(1)
				b.spawn(func() {
					b.abortIn(t.Topic, n, m, func(err error) {
						if err != nil {
							rp.ErrorCode = errorCode(err)
						}
						one()
					})
				})
			}
			if len(rt.Partitions) > 0 {
				rm.Topics = append(rm.Topics, rt)
			}
		}
		if len(rm.Topics) > 0 { // Kafka leaves out what names no partition
			resp.Markers = append(resp.Markers, rm)
		}
	}
	one()
}

// abortIn aborts the transaction of a producer in one partition.
func (b *Broker) abortIn(topic string, index int32, m kmsg.WriteTxnMarkersRequestMarker, done func(error)) {
	p, err := b.topics.partition(b.topics.byName(topic), index)
	switch {
	case err != nil:
		done(err)
		return
	case m.Committed:
		done(fmt.Errorf("%w: only the coordinator commits", kerr.InvalidRequest))
		return
	}
	offset, appended, err := p.log.AppendMarker(m.ProducerID, m.ProducerEpoch, false, b.epoch)
	if err != nil || !appended {
		done(err)
		return
	}
	b.log.Info("transaction aborted by an administrator", "topic", topic, "partition", index, "producer_id", m.ProducerID, "epoch", m.ProducerEpoch)
	p.syncTo(offset+1, func(err error) {
		p.notify()
		done(err)
	})
}
