package host

import (
	"maps"
	"sync"

	"github.com/levada/levada/runtime/logclient"
)

// State is what a connector is doing.
type State string

// The states of a connector.
const (
	Starting State = "starting"
	Running  State = "running"
	Backoff  State = "backoff" // failed, waiting to start again
	Stopped  State = "stopped" // by the caller, or because a source is done
	Failed   State = "failed"  // for good
)

// Status is a snapshot of a connector.
type Status struct {
	State       State
	PID         int   // of the plugin; 0: none runs
	Starts      int64 // of the plugin
	Records     int64 // durable on the other side, since the host began
	DeadLetters int64 // written, or skipped
	LastError   error // of the last failure; nil: none
	// Positions of a sink: what the target holds.
	Positions map[logclient.TopicPartition]int64
	// Position of a source: the last that is durable.
	Position []byte
}

// tracker holds the status of a connector; any goroutine may read it.
type tracker struct {
	mu sync.Mutex // guards s
	s  Status
}

func (t *tracker) update(change func(*Status)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.s)
}

func (t *tracker) snapshot() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.s
	s.Positions = maps.Clone(t.s.Positions)
	return s
}
