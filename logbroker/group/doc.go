// Package group is the classic group protocol (Group: KIP-62, KIP-345, KIP-394,
// KIP-814) and the consumer protocol, whose groups the server assigns partitions
// to (Consumer: KIP-848), as state machines without goroutines, clocks or I/O: a call
// is an event with its time, and what comes back are the answers that the event
// releases. The broker keeps the requests that wait, the timers, and the rows.
//
// Nothing depends on the order of a map: the same events give the same answers.
//
// It leaves out offsets, but tells whether a member may commit them (Check). A
// group goes from one protocol to the other while its members are upgraded
// (Upgrade, Downgrade).
package group
