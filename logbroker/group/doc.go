// Package group is the classic consumer group protocol (KIP-62, KIP-345,
// KIP-394, KIP-814) as a state machine without goroutines, clocks or I/O: a call
// is an event with its time, and what comes back are the answers that the event
// releases. The broker keeps the requests that wait, the timers, and the rows.
//
// Nothing depends on the order of a map: the same events give the same answers.
//
// It leaves out offsets, but tells whether a member may commit them (Check), and
// KIP-848 groups.
package group
