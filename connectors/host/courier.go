package host

import (
	"context"
	"sync"

	"github.com/levada/levada/connectors/proto"
)

// courier brings commands to a source. A plugin that does not read them holds
// up the courier, not the host: what waits is summed up, so that it needs no
// more room the longer it waits.
type courier struct {
	wake chan struct{} // capacity 1: "there is something to bring"

	mu        sync.Mutex // guards what follows
	credit    int64
	committed []byte // the newest position not yet brought
	stop      bool
}

func newCourier() *courier { return &courier{wake: make(chan struct{}, 1)} }

// paid tells the plugin that so many bytes are durable up to position.
func (c *courier) paid(credit int64, position []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.credit += credit
	c.committed = position
	signal(c.wake)
}

// stopPlugin tells the plugin to end.
func (c *courier) stopPlugin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop = true
	signal(c.wake)
}

// run brings commands until ctx, the stream's, ends. A stream that is broken
// says so when it is read.
func (c *courier) run(ctx context.Context, open *proto.OpenSource, send func(*proto.SourceCommand) error) {
	_ = send(&proto.SourceCommand{Command: &proto.SourceCommand_Open{Open: open}})
	for {
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
		for _, command := range c.take() {
			_ = send(command)
		}
	}
}

// take makes commands of what waits.
func (c *courier) take() (commands []*proto.SourceCommand) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.credit > 0 {
		commands = append(commands, &proto.SourceCommand{Command: &proto.SourceCommand_Credit{Credit: &proto.Credit{Bytes: c.credit}}})
	}
	if c.committed != nil {
		commands = append(commands, &proto.SourceCommand{Command: &proto.SourceCommand_Committed{Committed: &proto.Committed{Position: c.committed}}})
	}
	if c.stop {
		commands = append(commands, &proto.SourceCommand{Command: &proto.SourceCommand_Stop{Stop: &proto.Stop{}}})
	}
	c.credit, c.committed, c.stop = 0, nil, false
	return commands
}
