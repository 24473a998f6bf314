package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/levada/levada/connectors/proto"
)

// aliveInterval is how long one call of Next may wait for records.
const aliveInterval = time.Second

// sourceStream drives one Source. Two goroutines: receive takes commands and
// changes the shared state, run calls the Source and sends.
type sourceStream struct {
	server *server
	stream grpc.BidiStreamingServer[proto.SourceCommand, proto.SourceEvent]
	ctx    context.Context // ends with the stream or with Stop
	stop   context.CancelFunc
	wake   chan struct{} // capacity 1: "look at the shared state again"

	mu        sync.Mutex // guards what follows
	credit    int64
	committed []byte // newest position not yet told to the source
	err       error  // of receive
}

// RunSource reads commands and sends batches until Stop, an error, or the end
// of the stream.
func (s *server) RunSource(stream grpc.BidiStreamingServer[proto.SourceCommand, proto.SourceEvent]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	open := first.GetOpen()
	if open == nil {
		return sendSourceError(stream, fmt.Errorf("%w: the first command is not open", errProtocol))
	}
	if s.plugin.Source == nil {
		return sendSourceError(stream, noRole(s.plugin.Name, proto.Kind_KIND_SOURCE))
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	r := &sourceStream{server: s, stream: stream, ctx: ctx, stop: cancel, wake: make(chan struct{}, 1), credit: open.CreditBytes}
	go r.receive() // ends with the stream's context, which ends when this returns
	err = r.run(open)
	if ctx.Err() != nil {
		if err != nil {
			s.logger.Warn("closing the source", "err", err)
		}
		return nil
	}
	return sendSourceError(stream, err)
}

func sendSourceError(stream grpc.BidiStreamingServer[proto.SourceCommand, proto.SourceEvent], err error) error {
	return stream.Send(&proto.SourceEvent{Event: &proto.SourceEvent_Error{Error: errorMessage(err)}})
}

func (r *sourceStream) receive() {
	for {
		c, err := r.stream.Recv()
		if err != nil {
			r.stop() // the host half-closed or is gone
			return
		}
		r.mu.Lock()
		switch {
		case c.GetCredit() != nil:
			r.credit += c.GetCredit().Bytes
		case c.GetCommitted() != nil:
			r.committed = c.GetCommitted().Position
		case c.GetStop() != nil:
			r.stop()
		default:
			r.err = fmt.Errorf("%w: unexpected command %T", errProtocol, c.Command)
		}
		r.mu.Unlock()
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

func (r *sourceStream) run(open *proto.OpenSource) error {
	start := SourceStart{Connector: open.Connector, Epoch: open.Epoch, MaxBatchBytes: open.MaxBatchBytes}
	if open.HasPosition {
		start.Position = append([]byte{}, open.Position...)
	}
	var source Source
	err := r.server.guard(func() (err error) {
		source, err = r.server.plugin.Source.open(r.ctx, open.ConfigJson, start)
		if err == nil && source == nil {
			err = Permanent(errors.New("the connector opened no source, and gave no error"), mendConnector)
		}
		return err
	})
	if err != nil {
		return err
	}
	err = r.pump(source, open.MaxBatchBytes)
	if closeErr := r.server.guard(source.Close); err == nil {
		err = closeErr
	}
	return err
}

// pump moves batches from the source to the host.
func (r *sourceStream) pump(source Source, maxBatchBytes int64) error {
	if err := r.stream.Send(&proto.SourceEvent{Event: &proto.SourceEvent_Opened{Opened: &proto.SourceOpened{}}}); err != nil {
		return err
	}
	var batch Batch
	finished := false
	for {
		if err := r.tell(source); err != nil {
			return err
		}
		ready, err := r.awaitCredit(finished)
		if err != nil {
			return err
		}
		if r.ctx.Err() != nil {
			return nil
		}
		if ready && !finished {
			batch.reset(maxBatchBytes)
			if finished, err = r.next(source, &batch); err != nil {
				return err
			}
			if err := r.send(&batch, finished); err != nil {
				return err
			}
			continue
		}
		if err := r.stream.Send(&proto.SourceEvent{Event: &proto.SourceEvent_Alive{Alive: &proto.Alive{}}}); err != nil {
			return err
		}
	}
}

// tell reports a durable position to a source that wants to know.
func (r *sourceStream) tell(source Source) error {
	r.mu.Lock()
	position, err := r.committed, r.err
	r.committed = nil
	r.mu.Unlock()
	c, ok := source.(Committer)
	if err != nil || position == nil || !ok {
		return err
	}
	return r.server.guard(func() error { return c.Committed(r.ctx, position) })
}

// awaitCredit waits until something may be sent, at most aliveInterval. A
// finished source only waits.
func (r *sourceStream) awaitCredit(finished bool) (ready bool, err error) {
	r.mu.Lock()
	ready, err = r.credit > 0, r.err
	told := r.committed == nil
	r.mu.Unlock()
	if err != nil || (ready && !finished) || !told {
		return ready, err
	}
	timer := time.NewTimer(aliveInterval)
	defer timer.Stop()
	select {
	case <-r.wake:
	case <-timer.C:
	case <-r.ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.credit > 0, r.err
}

func (r *sourceStream) next(source Source, batch *Batch) (finished bool, err error) {
	ctx, cancel := context.WithTimeout(r.ctx, aliveInterval)
	defer cancel()
	err = r.server.guard(func() error { return source.Next(ctx, batch) })
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	if err != nil {
		batch.reset(batch.maxBytes) // what came with an error does not count
	}
	if ctx.Err() != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return false, nil
	}
	return false, err
}

// send sends what Next gave: a batch, a sign of life, the end.
func (r *sourceStream) send(batch *Batch, finished bool) error {
	if batch.Len() > 0 || batch.Position != nil {
		size := batch.SizeBytes()
		if len(batch.Position) == 0 {
			return Permanent(errors.New("the source gave records without a position"), "set Batch.Position in Next to what is not empty")
		}
		if size > batch.maxBytes {
			return Permanent(fmt.Errorf("the source gave a batch of %d bytes, the host takes %d", size, batch.maxBytes), "ask Batch.Full before Batch.Append")
		}
		r.mu.Lock()
		r.credit -= size
		r.mu.Unlock()
		err := r.stream.Send(&proto.SourceEvent{Event: &proto.SourceEvent_Batch{Batch: &proto.SourceBatch{
			Records: batch.encode(), Errors: batch.errors, Position: batch.Position,
		}}})
		if err != nil {
			return err
		}
	} else if !finished {
		return r.stream.Send(&proto.SourceEvent{Event: &proto.SourceEvent_Alive{Alive: &proto.Alive{}}})
	}
	if finished {
		return r.stream.Send(&proto.SourceEvent{Event: &proto.SourceEvent_Done{Done: &proto.Done{}}})
	}
	return nil
}
