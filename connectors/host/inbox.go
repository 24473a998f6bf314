package host

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	goproto "google.golang.org/protobuf/proto"

	"github.com/levada/levada/connectors/proto"
)

const (
	// eventOverhead is about what an event takes of memory beside its bytes.
	eventOverhead = 256
	// inboxSlack is what may wait beside the records that the credit allows.
	inboxSlack = 4 << 20
	// maxBatchSlack forgives what a batch's own header takes.
	maxBatchSlack = 1 << 10
	// maxPositionBytes bounds a position: it must fit into a record of the
	// positions topic, as base64 in JSON.
	maxPositionBytes = 512 << 10
)

// mendSize mends a plugin that sends too much.
const mendSize = "mend the connector: it must keep to credit_bytes and max_batch_bytes, as the sdk does"

// inbox takes what a source sends while the host is busy with a commit, and
// checks the credit on arrival: only there can it be seen. A host that read
// between its commits alone would find every batch paid for, however early it
// was sent.
//
// The credit bounds the records that wait; what costs no credit is bounded by
// not being read, so that it stays with the plugin.
type inbox struct {
	config *Config
	ready  chan struct{} // capacity 1: "there is something to pop"
	room   chan struct{} // capacity 1: "something was popped"

	mu     sync.Mutex // guards what follows
	queue  []event[*proto.SourceEvent]
	held   int64 // bytes of the queue in memory
	credit int64 // what the plugin may still send; one batch may overdraw it
}

func newInbox(c *Config) *inbox {
	return &inbox{config: c, ready: make(chan struct{}, 1), room: make(chan struct{}, 1), credit: c.Limits.InFlightBytes}
}

// fill reads the stream until it ends, the plugin breaks the protocol, or ctx
// ends. The last event that it queues has an error.
func (in *inbox) fill(ctx context.Context, recv func() (*proto.SourceEvent, error)) {
	for {
		message, err := recv()
		switch {
		case err == nil:
			err = in.charge(message.GetBatch())
		case status.Code(err) == codes.ResourceExhausted:
			err = in.config.refuse("read", mendSize, fmt.Errorf("the plugin %s sent a message larger than %d bytes: %w", in.config.Command.Path, proto.MaxMessageBytes, err))
		}
		e := event[*proto.SourceEvent]{message, err}
		if !in.push(ctx, e) || err != nil {
			return
		}
	}
}

// charge takes a batch off the credit.
func (in *inbox) charge(b *proto.SourceBatch) error {
	if b == nil {
		return nil
	}
	limits, plugin, size := in.config.Limits, in.config.Command.Path, batchSize(b)
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case len(b.Position) > maxPositionBytes:
		return in.config.refuse("read", "mend the connector: a position names a place, it does not hold the input",
			fmt.Errorf("the plugin %s sent a position of %d bytes where %d are allowed", plugin, len(b.Position), maxPositionBytes))
	case size > limits.BatchBytes+maxBatchSlack:
		return in.config.refuse("read", mendSize, fmt.Errorf("the plugin %s sent a batch of %d bytes where %d are allowed", plugin, size, limits.BatchBytes))
	case size > 0 && in.credit <= 0:
		return in.config.refuse("read", mendSize, fmt.Errorf("the plugin %s ignores its credit: of %d bytes none was left, and it sent a batch of %d bytes more",
			plugin, limits.InFlightBytes, size))
	}
	in.credit -= size
	return nil
}

// grant gives credit back to the plugin; it is called before the plugin is
// told.
func (in *inbox) grant(bytes int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.credit += bytes
}

// push queues an event when there is room. It returns false when ctx ends.
func (in *inbox) push(ctx context.Context, e event[*proto.SourceEvent]) bool {
	for !in.tryPush(e) {
		select {
		case <-in.room:
		case <-ctx.Done():
			return false
		}
	}
	signal(in.ready)
	return true
}

func (in *inbox) tryPush(e event[*proto.SourceEvent]) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.held > in.config.Limits.InFlightBytes+in.config.Limits.BatchBytes+inboxSlack {
		return false
	}
	in.queue = append(in.queue, e)
	in.held += eventBytes(e)
	return true
}

// pop takes the oldest event, if there is one.
func (in *inbox) pop() (e event[*proto.SourceEvent], ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.queue) == 0 {
		return e, false
	}
	e, in.queue[0] = in.queue[0], e
	in.queue = in.queue[1:]
	in.held -= eventBytes(e)
	signal(in.room)
	if len(in.queue) > 0 {
		signal(in.ready)
	}
	return e, true
}

func eventBytes(e event[*proto.SourceEvent]) int64 {
	return int64(goproto.Size(e.message)) + eventOverhead
}

// signal leaves a token in a channel of capacity 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// batchSize is what a batch takes of the credit: the bytes of its records, and
// of its errors with a flat charge for each.
func batchSize(b *proto.SourceBatch) int64 {
	n := int64(len(b.Records))
	for _, e := range b.Errors {
		n += int64(len(e.Key)+len(e.Value)+len(e.Reason)+len(e.Origin)) + 64
	}
	return n
}
