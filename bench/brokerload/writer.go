package brokerload

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

func produceEncoded(ctx context.Context, l Load) (Result, error) {
	lanes, closeAll, err := l.lanes(ctx)
	if err != nil {
		return Result{}, err
	}
	defer closeAll()
	writers, err := l.writers(ctx, lanes)
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
	states  []producerState      // of each partition
	most    int64                // records of a request
	turn    int                  // the partition whose turn it is
	req     *kmsg.ProduceRequest // all but what is written
	batches int64

	// A request is sent in pieces, as the records lie in the stencil: own are the others,
	// one after the other, each up to where cuts says, and bodies the records after each.
	own    []byte
	cuts   []int
	bodies [][]byte
	pieces net.Buffers
}

// writers are those of the lanes, all of one idempotent producer.
func (l Load) writers(ctx context.Context, lanes []*lane) (map[*lane]*writer, error) {
	producer, err := lanes[0].newProducer(ctx)
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
		all[n] = w
	}
	return all, nil
}

// newProducer asks for a producer id, as an idempotent producer does (KIP-98): again where
// the broker has just started and is not ready for that.
func (n *lane) newProducer(ctx context.Context) (producerState, error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	for until := time.Now().Add(answerWait); ; {
		if err := errors.Join(n.send(req), n.receive(resp)); err != nil {
			return producerState{}, err
		}
		err := kerr.ErrorForCode(resp.ErrorCode)
		if !kerr.IsRetriable(err) || time.Now().After(until) {
			return producerState{id: resp.ProducerID, epoch: resp.ProducerEpoch}, err
		}
		select {
		case <-ctx.Done():
			return producerState{}, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// write sends the next n records, at most w.most, evenly to the partitions.
func (w *writer) write(n int64) error {
	parts := int64(len(w.partitions))
	each, more := n/parts, n%parts
	asked := parts
	if each == 0 {
		asked = more
	}
	w.begin(asked)
	for i := range asked {
		at := (w.turn + int(i)) % int(parts)
		count := int(each)
		if i < more {
			count++
		}
		w.batch(at, count)
	}
	w.turn = (w.turn + int(more)) % int(parts)
	w.batches += asked
	return w.end()
}

// begin begins a Produce request (KIP-98, KIP-482) of batches for so many partitions.
func (w *writer) begin(partitions int64) {
	w.cuts, w.bodies = w.cuts[:0], w.bodies[:0]
	p := append(w.own[:0], 0, 0, 0, 0) // its size
	p = kbin.AppendInt16(p, w.req.Key())
	p = kbin.AppendInt16(p, w.req.Version)
	p = kbin.AppendInt32(p, w.sent)
	p = kbin.AppendString(p, clientID)
	w.sent++
	var transaction *string
	if w.req.IsFlexible() {
		p = append(p, 0) // no tags
		p = kbin.AppendCompactNullableString(p, transaction)
	} else {
		p = kbin.AppendNullableString(p, transaction)
	}
	p = kbin.AppendInt16(p, w.req.Acks)
	p = kbin.AppendInt32(p, w.req.TimeoutMillis)
	if w.req.IsFlexible() {
		p = kbin.AppendCompactArrayLen(p, 1)
		p = kbin.AppendCompactString(p, w.load.Topic)
		p = kbin.AppendCompactArrayLen(p, int(partitions))
	} else {
		p = kbin.AppendArrayLen(p, 1)
		p = kbin.AppendString(p, w.load.Topic)
		p = kbin.AppendArrayLen(p, int(partitions))
	}
	w.own = p
}

// batch adds a batch of n records for a partition of the lane.
func (w *writer) batch(at, n int) {
	records := w.stencil.first(n)
	size := recordbatch.HeaderSize + len(records)
	p := kbin.AppendInt32(w.own, w.partitions[at])
	if w.req.IsFlexible() {
		p = kbin.AppendUvarint(p, uint32(size)+1)
	} else {
		p = kbin.AppendInt32(p, int32(size))
	}
	p = w.stencil.appendHead(p, n, &w.states[at])
	w.cuts, w.bodies = append(w.cuts, len(p)), append(w.bodies, records)
	if w.req.IsFlexible() {
		p = append(p, 0) // no tags of the partition
	}
	w.own = p
}

// end sends the request.
func (w *writer) end() error {
	if w.req.IsFlexible() {
		w.own = append(w.own, 0, 0) // none of the topic and the request
	}
	size, from := len(w.own), 0
	pieces := w.pieces[:0]
	for i, cut := range w.cuts {
		pieces = append(pieces, w.own[from:cut], w.bodies[i])
		size += len(w.bodies[i])
		from = cut
	}
	if from < len(w.own) {
		pieces = append(pieces, w.own[from:])
	}
	binary.BigEndian.PutUint32(w.own, uint32(size-4))
	w.pieces = pieces // whose memory is used again
	return w.link.write(pieces)
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
