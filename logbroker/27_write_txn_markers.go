package logbroker

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/commitlog"
)

// bumpsEpochs is the first transaction.version whose markers have a new epoch (KIP-890).
const bumpsEpochs = 2

// handleWriteTxnMarkers answers WriteTxnMarkers, versions 1 and 2 (KIP-98,
// KIP-664): an administrator aborts a transaction that hangs in a partition.
// Only the coordinator, which is this broker, may commit. As with Kafka the marker is
// written also where no such transaction is open. The answer comes when the markers
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
	case m.ProducerID < 0 || m.ProducerEpoch < 0 || m.TransactionVersion == -1:
		done(kerr.UnknownServerError) // as Kafka, which finds no producer, or no version, there
		return
	}
	hangs := slices.ContainsFunc(p.log.OpenTransactions(), func(open commitlog.OpenTxn) bool { return open.ProducerID == m.ProducerID })
	if !hangs {
		if err := b.space.forRecords(markerBytes); err != nil {
			done(err)
			return
		}
	}
	offset, _, err := p.log.AppendMarker(commitlog.Marker{
		ProducerID: m.ProducerID, Epoch: m.ProducerEpoch, CoordinatorEpoch: m.CoordinatorEpoch, Alone: true, Sent: true, Bumped: m.TransactionVersion >= bumpsEpochs,
	})
	if err != nil {
		done(err)
		return
	}
	if hangs { // else nothing was aborted
		b.log.Info("transaction aborted by an administrator", "topic", topic, "partition", index, "producer_id", m.ProducerID, "epoch", m.ProducerEpoch)
	}
	p.syncTo(offset+1, func(err error) {
		p.notify()
		done(err)
	})
}
