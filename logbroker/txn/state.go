package txn

import (
	"math"
	"time"
)

// Phase is where a transactional id stands.
type Phase int8

// The phases, as Kafka names them. In a Prepare phase the decision is being
// made durable, and every request but the one that caused it is told to retry.
const (
	Empty Phase = iota
	Ongoing
	PrepareCommit
	PrepareAbort
	CompleteCommit
	CompleteAbort
)

// String is Kafka's name of the phase.
func (p Phase) String() string {
	names := [...]string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"}
	if p < 0 || int(p) >= len(names) {
		return "Unknown"
	}
	return names[p]
}

// Partition names one partition of one incarnation of a topic.
type Partition struct {
	Topic [16]byte
	Index int32
}

// Producer is a producer id with its epoch.
type Producer struct {
	ID    int64
	Epoch int16
}

// NoProducer is the absence of a producer.
var NoProducer = Producer{ID: -1, Epoch: -1}

// maxEpoch is never given to a producer: it is left for the markers that
// fence the last epoch.
const maxEpoch = math.MaxInt16

// State is all that is known of one transactional id.
type State struct {
	Producer Producer
	// Last is what the holder of Producer had before; a request under it is a
	// retry whose answer was lost, or a producer whose transaction the broker
	// ended by itself. NoProducer if nobody may come back so.
	Last Producer
	// Next is what Producer becomes when the Prepare phase ends, and NextLast
	// what Last becomes.
	Next, NextLast Producer

	Phase   Phase
	Timeout time.Duration
	// Started is when the open transaction, or the one that ended last, began; zero
	// after an Init.
	Started time.Time
	Updated time.Time

	Partitions map[Partition]struct{}
	Groups     map[string]struct{}
}

// New is the state of an id never seen before.
func New() State {
	return State{Producer: NoProducer, Last: NoProducer, Next: NoProducer, NextLast: NoProducer}
}

// Completed is the state after the Prepare phase: what the row written with
// the decision says. In any other phase it is the state itself.
func (s State) Completed() State {
	switch s.Phase {
	case PrepareCommit:
		s.Phase = CompleteCommit
	case PrepareAbort:
		s.Phase = CompleteAbort
	default:
		return s
	}
	s.Producer, s.Last = s.Next, s.NextLast
	s.Next, s.NextLast = NoProducer, NoProducer
	s.Partitions, s.Groups = nil, nil
	return s
}

// NeedsID tells whether an event that bumps the epoch of s takes a new producer id:
// there is none yet, or its epochs are used up.
func (s State) NeedsID() bool { return s.Producer.usedUp() }

// Deadline is when the open transaction is aborted; ok is false without one.
func (s State) Deadline() (at time.Time, ok bool) {
	if s.Phase != Ongoing {
		return time.Time{}, false
	}
	return s.Started.Add(s.Timeout), true
}

// Touches tells whether a topic takes part in the open transaction.
func (s State) Touches(topic [16]byte) bool {
	for p := range s.Partitions {
		if p.Topic == topic {
			return true
		}
	}
	return false
}

// usedUp tells that there is no producer, or that no epoch comes after its own.
func (p Producer) usedUp() bool { return p.ID < 0 || p.Epoch >= maxEpoch-1 }

// bumped is the producer after p; fresh is a new id, used if needed.
func (p Producer) bumped(fresh int64) Producer {
	if p.usedUp() {
		return Producer{ID: fresh, Epoch: 0}
	}
	return Producer{ID: p.ID, Epoch: p.Epoch + 1}
}
