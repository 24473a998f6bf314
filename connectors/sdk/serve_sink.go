package sdk

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/levada/levada/connectors/proto"
)

// Limits of what a sink process holds.
const (
	// sinkCreditBytes is what the host may send beyond what is durable.
	sinkCreditBytes = 8 << 20
	// deliveryBytes is about how much one Write is given.
	deliveryBytes = 1 << 20
	// maxQueuedWrites bounds the messages within the credit; every message
	// counts as at least writeOverheadBytes.
	maxQueuedWrites = sinkCreditBytes / writeOverheadBytes
	// writeOverheadBytes is added to the records of a message.
	writeOverheadBytes = 1 << 10
)

// sinkStream drives one Sink. Two goroutines: receive queues commands, run
// calls the Sink and sends.
type sinkStream struct {
	server *server
	stream grpc.BidiStreamingServer[proto.SinkCommand, proto.SinkEvent]
	ctx    context.Context // ends with the stream; not with Stop, which lets the queue drain
	wake   chan struct{}   // capacity 1: "look at the shared state again"

	mu     sync.Mutex // guards what follows
	queue  []*proto.WriteRecords
	credit int64 // what the host may still send
	stored int   // RejectionsStored not yet taken by run
	ended  bool  // Stop, or no more commands
	err    error // of receive

	next map[TopicPartition]int64 // owned by run: what the target holds
}

// RunSink reads commands and writes records until Stop, an error, or the end
// of the stream.
func (s *server) RunSink(stream grpc.BidiStreamingServer[proto.SinkCommand, proto.SinkEvent]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	open := first.GetOpen()
	if open == nil {
		return sendSinkError(stream, fmt.Errorf("%w: the first command is not open", errProtocol))
	}
	if s.plugin.Sink == nil {
		return sendSinkError(stream, noRole(s.plugin.Name, proto.Kind_KIND_SINK))
	}
	r := &sinkStream{
		server: s, stream: stream, ctx: stream.Context(), wake: make(chan struct{}, 1),
		credit: sinkCreditBytes, next: map[TopicPartition]int64{},
	}
	go r.receive() // ends with the stream's context, which ends when this returns
	if err := r.run(open); err != nil {
		return sendSinkError(stream, err)
	}
	return nil
}

func sendSinkError(stream grpc.BidiStreamingServer[proto.SinkCommand, proto.SinkEvent], err error) error {
	return stream.Send(&proto.SinkEvent{Event: &proto.SinkEvent_Error{Error: errorMessage(err)}})
}

func (r *sinkStream) receive() {
	for {
		c, err := r.stream.Recv()
		r.mu.Lock()
		switch {
		case err != nil || c.GetStop() != nil:
			r.ended = true
		case c.GetWrite() != nil:
			r.enqueue(c.GetWrite())
		case c.GetRejectionsStored() != nil:
			r.stored++
		default:
			r.err = fmt.Errorf("%w: unexpected command %T", errProtocol, c.Command)
		}
		r.mu.Unlock()
		select {
		case r.wake <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (r *sinkStream) enqueue(w *proto.WriteRecords) {
	r.credit -= writeSize(w)
	// One message may overdraw: it can be larger than the credit.
	if r.credit < -proto.MaxMessageBytes || len(r.queue) >= maxQueuedWrites {
		r.err = fmt.Errorf("%w: the host sent %d bytes more than the credit", errProtocol, -r.credit)
		return
	}
	r.queue = append(r.queue, w)
}

// writeSize is what a message takes of the credit.
func writeSize(w *proto.WriteRecords) int64 { return int64(len(w.Records)) + writeOverheadBytes }

func (r *sinkStream) run(open *proto.OpenSink) error {
	start := SinkStart{Connector: open.Connector, Epoch: open.Epoch}
	for _, p := range open.Partitions {
		start.Partitions = append(start.Partitions, TopicPartition{p.Topic, p.Partition})
	}
	var sink Sink
	var positions []Position
	err := r.server.guard(func() (err error) {
		sink, positions, err = r.server.plugin.Sink.open(r.ctx, open.ConfigJson, start)
		if err == nil && sink == nil {
			err = Permanent(errors.New("the connector opened no sink, and gave no error"), mendConnector)
		}
		return err
	})
	if err != nil {
		return err
	}
	err = r.pump(sink, positions)
	if closeErr := r.server.guard(sink.Close); err == nil {
		err = closeErr
	}
	return err
}

// pump moves what the host sends into the sink.
func (r *sinkStream) pump(sink Sink, positions []Position) error {
	for _, p := range positions {
		r.next[p.TopicPartition] = p.NextOffset
	}
	err := r.stream.Send(&proto.SinkEvent{Event: &proto.SinkEvent_Opened{Opened: &proto.SinkOpened{
		Positions: positionMessages(positions), CreditBytes: sinkCreditBytes,
	}}})
	for err == nil {
		var d *Delivery
		var size int64
		if d, size, err = r.take(); err != nil || r.ctx.Err() != nil {
			return err
		}
		if d == nil {
			return nil // stopped, and the queue is empty
		}
		if len(d.parts) == 0 {
			err = r.stream.Send(&proto.SinkEvent{Event: &proto.SinkEvent_Alive{Alive: &proto.Alive{}}})
			continue
		}
		if err = r.write(sink, d); err != nil {
			return err
		}
		r.mu.Lock()
		r.credit += size
		r.mu.Unlock()
		err = r.stream.Send(&proto.SinkEvent{Event: &proto.SinkEvent_Durable{Durable: &proto.Durable{
			Positions: positionMessages(d.Positions), CreditBytes: size,
		}}})
	}
	return err
}

// take waits for messages, at most aliveInterval, and makes a delivery of what
// is queued. A nil delivery means the end; an empty one that nothing came.
func (r *sinkStream) take() (*Delivery, int64, error) {
	timer := time.NewTimer(aliveInterval)
	defer timer.Stop()
	for {
		r.mu.Lock()
		if r.err != nil || len(r.queue) > 0 || r.ended {
			break
		}
		r.mu.Unlock()
		select {
		case <-r.wake:
		case <-timer.C:
			return &Delivery{}, 0, nil
		case <-r.ctx.Done():
			return nil, 0, nil
		}
	}
	defer r.mu.Unlock()
	if r.err != nil || len(r.queue) == 0 {
		return nil, 0, r.err
	}
	d := &Delivery{start: r.next}
	size, n := int64(0), 0
	for n < len(r.queue) && (n == 0 || size+writeSize(r.queue[n]) <= deliveryBytes) {
		d.add(r.queue[n])
		size += writeSize(r.queue[n])
		n++
	}
	r.queue = append(r.queue[:0:0], r.queue[n:]...)
	return d, size, nil
}

// write hands the delivery to the sink, again after each round of rejections.
func (r *sinkStream) write(sink Sink, d *Delivery) error {
	for {
		var rejections []Rejection
		err := r.server.guard(func() (err error) {
			rejections, err = sink.Write(r.ctx, d)
			return err
		})
		if err == nil {
			err = d.Err()
		}
		if err != nil {
			return err
		}
		if len(rejections) == 0 {
			for _, p := range d.Positions {
				r.next[p.TopicPartition] = p.NextOffset
			}
			return nil
		}
		if err := r.reject(d, rejections); err != nil {
			return err
		}
	}
}

// reject hands rejections to the host and waits until they are safe there.
func (r *sinkStream) reject(d *Delivery, rejections []Rejection) error {
	messages := make([]*proto.Rejection, len(rejections))
	for i, j := range rejections {
		if d.leftOut(j) {
			return Permanent(fmt.Errorf("the sink rejects %s/%d offset %d, which was left out already", j.Topic, j.Partition, j.Offset), mendConnector)
		}
		messages[i] = &proto.Rejection{Topic: j.Topic, Partition: j.Partition, Offset: j.Offset, Reason: j.Reason}
	}
	err := r.stream.Send(&proto.SinkEvent{Event: &proto.SinkEvent_Rejected{Rejected: &proto.Rejected{Rejections: messages}}})
	if err != nil {
		return err
	}
	d.leaveOut(rejections)
	for {
		r.mu.Lock()
		err, stored, ended := r.err, r.stored > 0, r.ended
		if stored {
			r.stored--
		}
		r.mu.Unlock()
		switch {
		case err != nil || stored:
			return err
		case ended:
			return errors.New("stopped while records were being rejected")
		}
		select {
		case <-r.wake:
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

func positionMessages(positions []Position) []*proto.Position {
	out := make([]*proto.Position, len(positions))
	for i, p := range positions {
		out[i] = &proto.Position{Topic: p.Topic, Partition: p.Partition, NextOffset: p.NextOffset}
	}
	return out
}
