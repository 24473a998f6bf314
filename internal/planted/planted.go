package planted

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
)

// Variable is the environment variable that names the fault.
const Variable = "LEVADA_PLANT"

// Fault is a promise that is broken.
type Fault string

// The faults.
const (
	// SkipSync reports data as durable that was not synced.
	SkipSync Fault = "skip-sync"
	// DropMarker counts the marker of one partition of a transaction as written.
	DropMarker Fault = "drop-marker"
	// ReuseOffset gives the offsets of the batch before to another, in its place.
	ReuseOffset Fault = "reuse-offset"
	// IgnoreEpoch lets a fenced producer write to, and end, the transaction of the
	// one that fenced it.
	IgnoreEpoch Fault = "ignore-epoch"
	// AdmitDuplicate appends a batch again that was sent again.
	AdmitDuplicate Fault = "admit-duplicate"
	// DecideEarly takes a decision before the data it decides is durable.
	DecideEarly Fault = "decide-early"
	// ForgetEarly deletes a decision before its markers are durable.
	ForgetEarly Fault = "forget-early"
	// LateEnd lets the end of an earlier transaction, held up on its way, end the one
	// that is open (KAFKA-17754).
	LateEnd Fault = "late-end"
	// LateProduce lets a batch into a log whose transaction nobody has begun, or has
	// ended already (KAFKA-17754).
	LateProduce Fault = "late-produce"
)

// every says how often a fault acts: at every n-th occasion, so that the broker
// still works. One whose occasions are rare by themselves takes each.
var every = map[Fault]int64{
	SkipSync: 3, DropMarker: 5, ReuseOffset: 20, IgnoreEpoch: 1, AdmitDuplicate: 1, DecideEarly: 1, ForgetEarly: 1,
	LateEnd: 1, LateProduce: 1,
}

// All lists the faults that any load shows.
func All() []Fault {
	return []Fault{SkipSync, DropMarker, ReuseOffset, IgnoreEpoch, AdmitDuplicate, DecideEarly, ForgetEarly}
}

// Late lists those that only requests show which come late.
func Late() []Fault { return []Fault{LateEnd, LateProduce} }

// Plan is the fault planted in one broker. Nil plants none.
type Plan struct {
	fault     Fault
	occasions atomic.Int64
}

// FromEnvironment is the plan that LEVADA_PLANT names; nil without one, and in a
// program that is built without faults.
func FromEnvironment() (*Plan, error) {
	name := os.Getenv(Variable)
	if !Built || name == "" {
		return nil, nil
	}
	p, err := New(Fault(name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Variable, err)
	}
	return p, nil
}

// New plants a fault.
func New(f Fault) (*Plan, error) {
	if every[f] == 0 {
		var names []string
		for _, known := range append(All(), Late()...) {
			names = append(names, string(known))
		}
		return nil, fmt.Errorf("no fault is called %q; there are %s", f, strings.Join(names, ", "))
	}
	return &Plan{fault: f}, nil
}

// Acts is asked at each occasion of a fault, and tells whether it acts this time.
func (p *Plan) Acts(f Fault) bool {
	return Built && p != nil && p.fault == f && p.occasions.Add(1)%every[f] == 0
}

// String names the fault.
func (p *Plan) String() string { return string(p.fault) }
