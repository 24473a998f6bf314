package sdk

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"google.golang.org/grpc"

	"github.com/levada/levada/connectors/proto"
)

// hostSide is the host's end of a stream in memory; it also is the stream that
// the server is given.
type hostSide[C, E any] struct {
	grpc.ServerStream // not called
	ctx               context.Context
	cancel            context.CancelFunc
	commands          chan *C
	events            chan *E
	done              chan error // capacity 1: what the server returned
}

type (
	sourceHost = hostSide[proto.SourceCommand, proto.SourceEvent]
	sinkHost   = hostSide[proto.SinkCommand, proto.SinkEvent]
)

// serve runs a call of the server until the test ends.
func serve[C, E any](t *testing.T, call func(grpc.BidiStreamingServer[C, E]) error) *hostSide[C, E] {
	ctx, cancel := context.WithCancel(t.Context())
	h := &hostSide[C, E]{ctx: ctx, cancel: cancel, commands: make(chan *C), events: make(chan *E), done: make(chan error, 1)}
	go func() {
		defer cancel() // as gRPC does
		h.done <- call(h)
		close(h.events)
	}()
	t.Cleanup(cancel)
	return h
}

func (h *hostSide[C, E]) Context() context.Context { return h.ctx }

func (h *hostSide[C, E]) Recv() (*C, error) {
	select {
	case c, ok := <-h.commands:
		if !ok {
			return nil, io.EOF
		}
		return c, nil
	case <-h.ctx.Done():
		return nil, h.ctx.Err()
	}
}

func (h *hostSide[C, E]) Send(e *E) error {
	select {
	case h.events <- e:
		return nil
	case <-h.ctx.Done():
		return h.ctx.Err()
	}
}

func quietServer(p Plugin) *server { return newServer(p, slog.New(slog.DiscardHandler)) }

func openSource(credit, maxBatch int64, position []byte) *proto.SourceCommand {
	return &proto.SourceCommand{Command: &proto.SourceCommand_Open{Open: &proto.OpenSource{
		Connector: "test", CreditBytes: credit, MaxBatchBytes: maxBatch, HasPosition: position != nil, Position: position,
	}}}
}

func sourceCredit(n int64) *proto.SourceCommand {
	return &proto.SourceCommand{Command: &proto.SourceCommand_Credit{Credit: &proto.Credit{Bytes: n}}}
}

func sourceCommitted(position string) *proto.SourceCommand {
	return &proto.SourceCommand{Command: &proto.SourceCommand_Committed{Committed: &proto.Committed{Position: []byte(position)}}}
}

func sourceStop() *proto.SourceCommand {
	return &proto.SourceCommand{Command: &proto.SourceCommand_Stop{Stop: &proto.Stop{}}}
}

func openSink() *proto.SinkCommand {
	return &proto.SinkCommand{Command: &proto.SinkCommand_Open{Open: &proto.OpenSink{Connector: "test"}}}
}

func sinkStop() *proto.SinkCommand {
	return &proto.SinkCommand{Command: &proto.SinkCommand_Stop{Stop: &proto.Stop{}}}
}

func write(partition int32, records []byte, next int64) *proto.SinkCommand {
	return &proto.SinkCommand{Command: &proto.SinkCommand_Write{Write: &proto.WriteRecords{Topic: "t", Partition: partition, Records: records, NextOffset: next}}}
}
