package brokerload

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func produceEncoded(ctx context.Context, l Load) (Result, error) {
	lanes, closeAll, err := l.lanes(ctx)
	if err != nil {
		return Result{}, err
	}
	defer closeAll()
	writers, err := l.writers(lanes)
	if err != nil {
		return Result{}, err
	}
	m, err := newMeter(l.PID)
	if err != nil {
		return Result{}, err
	}
	if err := together(ctx, lanes, closeAll, func(n *lane) error { return writers[n].run() }); err != nil {
		return Result{}, err
	}
	batches := int64(0)
	for _, w := range writers {
		batches += w.batches
	}
	return m.result(l, batches)
}

// writer writes to the partitions of a lane.
type writer struct {
	*lane
	stencil *stencil
	states  []producerState // of each partition
	most    int64           // records of a request
	turn    int             // the partition whose turn it is
	req     *kmsg.ProduceRequest
	buf     []byte
	batches int64
}

// writers are those of the lanes, all of one idempotent producer.
func (l Load) writers(lanes []*lane) (map[*lane]*writer, error) {
	producer, err := lanes[0].newProducer()
	if err != nil {
		return nil, fmt.Errorf("producer id: %w", err)
	}
	all := map[*lane]*writer{}
	s := newStencil(l)
	for _, n := range lanes {
		each := min(len(s.ends), requestBytes/len(n.partitions)/(l.RecordBytes+recordOverhead))
		w := &writer{lane: n, stencil: s, states: slices.Repeat([]producerState{producer}, len(n.partitions)), most: int64(len(n.partitions) * max(1, each))}
		w.req = kmsg.NewPtrProduceRequest()
		if w.req.Version, err = n.version(w.req, latestVersion); err != nil {
			return nil, err
		}
		w.req.Acks, w.req.TimeoutMillis = -1, 30_000
		w.req.Topics = []kmsg.ProduceRequestTopic{{Topic: l.Topic}}
		all[n] = w
	}
	return all, nil
}

// newProducer asks for a producer id, as an idempotent producer does (KIP-98).
func (n *lane) newProducer() (producerState, error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	if err := errors.Join(n.send(req), n.receive(resp)); err != nil {
		return producerState{}, err
	}
	return producerState{id: resp.ProducerID, epoch: resp.ProducerEpoch}, kerr.ErrorForCode(resp.ErrorCode)
}

// write sends the next n records, at most w.most, evenly to the partitions.
func (w *writer) write(n int64) error {
	topic := &w.req.Topics[0]
	topic.Partitions, w.buf = topic.Partitions[:0], w.buf[:0]
	parts := int64(len(w.partitions))
	each, more := n/parts, n%parts
	for i := range parts {
		at := (w.turn + int(i)) % int(parts)
		count := each
		if i < more {
			count++
		}
		if count == 0 {
			break
		}
		from := len(w.buf)
		w.buf = w.stencil.appendBatch(w.buf, int(count), &w.states[at])
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = w.partitions[at], w.buf[from:]
		topic.Partitions = append(topic.Partitions, p)
	}
	w.turn = (w.turn + int(more)) % int(parts)
	w.batches += int64(len(topic.Partitions))
	return w.send(w.req)
}

// acknowledged waits for the answer to the oldest request that has none.
func (w *writer) acknowledged() error {
	resp := w.req.ResponseKind().(*kmsg.ProduceResponse)
	if err := w.receive(resp); err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("partition %d: %w", p.Partition, err)
			}
		}
	}
	return nil
}

// run writes all records as fast as they are acknowledged.
func (w *writer) run() error {
	waiting := 0
	for left := w.records; left > 0 || waiting > 0; {
		if left > 0 && waiting < inFlight {
			n := min(left, w.most)
			if err := w.write(n); err != nil {
				return err
			}
			left -= n
			waiting++
			continue
		}
		if err := w.acknowledged(); err != nil {
			return err
		}
		waiting--
	}
	return nil
}
