package host

import (
	"bytes"

	"google.golang.org/grpc"

	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/internal/recordbatch"
)

const (
	greedyBatchBytes  = 1 << 20
	deafPositionBytes = 64 << 10
)

// rawParts are plugins that break the protocol, as no plugin of the sdk does.
var rawParts = map[string]proto.ConnectorServer{
	// Sends without end, whatever its credit is.
	"greedy": rawSource{endless: true, batch: &proto.SourceBatch{
		Position: []byte("p"), Errors: []*proto.ErrorRecord{{Value: bytes.Repeat([]byte{1}, greedyBatchBytes)}},
	}},
	// Never reads a command.
	"deaf":       rawSource{endless: true, batch: &proto.SourceBatch{Position: make([]byte, deafPositionBytes)}},
	"compressed": rawSource{batch: oddBatch(func(b recordbatch.Batch) { b[22] |= byte(recordbatch.CodecZstd) })},
	"control":    rawSource{batch: oddBatch(func(b recordbatch.Batch) { b[22] |= 1 << 5 })},
	"torn":       rawSource{batch: &proto.SourceBatch{Position: []byte("p"), Records: oddBatch(func(recordbatch.Batch) {}).Records[:70]}},
	"headers":    rawSource{batch: oddBatch(func(b recordbatch.Batch) { b[len(b)-1] = 4 })},
	"nowhere":    rawSource{batch: &proto.SourceBatch{Records: oddBatch(func(recordbatch.Batch) {}).Records}},
	// Tells what it has stored before it has opened.
	"early": rawSink{events: []*proto.SinkEvent{durable("rows", 1)}},
	// Tells more than it was sent.
	"boasts": rawSink{events: []*proto.SinkEvent{opened(), durable("rows", 11)}},
	"others": rawSink{events: []*proto.SinkEvent{opened(), durable("elsewhere", 1)}},
	// Rejects without end and reads no answer.
	"rejects": rawSink{events: []*proto.SinkEvent{opened(), {Event: &proto.SinkEvent_Rejected{Rejected: &proto.Rejected{}}}}, endless: true},
}

// oddBatch is a batch of one record, changed.
func oddBatch(change func(recordbatch.Batch)) *proto.SourceBatch {
	var b recordbatch.Builder
	b.Append(0, nil, []byte("value"), nil)
	batch := b.Batch()
	change(batch)
	batch.SetCRC()
	return &proto.SourceBatch{Position: []byte("p"), Records: batch}
}

func opened() *proto.SinkEvent {
	return &proto.SinkEvent{Event: &proto.SinkEvent_Opened{Opened: &proto.SinkOpened{CreditBytes: 1 << 20}}}
}

func durable(topic string, next int64) *proto.SinkEvent {
	return &proto.SinkEvent{Event: &proto.SinkEvent_Durable{Durable: &proto.Durable{
		Positions: []*proto.Position{{Topic: topic, NextOffset: next}},
	}}}
}

// rawSource sends a batch, once or without end, and reads nothing.
type rawSource struct {
	proto.UnimplementedConnectorServer
	batch   *proto.SourceBatch
	endless bool
}

func (r rawSource) RunSource(s grpc.BidiStreamingServer[proto.SourceCommand, proto.SourceEvent]) error {
	e := &proto.SourceEvent{Event: &proto.SourceEvent_Batch{Batch: r.batch}}
	for {
		if err := s.Send(e); err != nil {
			return err
		}
		if !r.endless {
			<-s.Context().Done()
		}
	}
}

// rawSink sends events, the last of them once or without end, and reads
// nothing.
type rawSink struct {
	proto.UnimplementedConnectorServer
	events  []*proto.SinkEvent
	endless bool
}

func (r rawSink) RunSink(s grpc.BidiStreamingServer[proto.SinkCommand, proto.SinkEvent]) error {
	for i := 0; ; i = min(i+1, len(r.events)-1) {
		if err := s.Send(r.events[i]); err != nil {
			return err
		}
		if !r.endless && i == len(r.events)-1 {
			<-s.Context().Done()
		}
	}
}
