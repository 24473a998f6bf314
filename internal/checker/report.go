package checker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Class is a kind of anomaly.
type Class string

// The classes, named as jepsen.tests.kafka names them where it knows them.
const (
	// InconsistentOffsets: one offset has two values.
	InconsistentOffsets Class = "inconsistent-offsets"
	// Duplicate: one value is at two offsets.
	Duplicate Class = "duplicate"
	// AbortedRead: a value of an operation that failed was read.
	AbortedRead Class = "G1a"
	// PrecommittedRead: a transaction read what it had sent itself.
	PrecommittedRead Class = "precommitted-read"
	// LostWrite: readers went past an acknowledged record that nobody ever saw.
	LostWrite Class = "lost-write"
	// TornTransaction: some records of a transaction were read, others never.
	TornTransaction Class = "torn-transaction"
	// Unseen: an acknowledged record that nobody saw, at the end of its key.
	Unseen Class = "unseen"
	// PhantomRead: a value was read that nobody sent.
	PhantomRead Class = "phantom-read"
	// PollSkip: a reader left a record out, from one poll to the next.
	PollSkip Class = "poll-skip"
	// NonmonotonicPoll: a reader went back, from one poll to the next.
	NonmonotonicPoll Class = "nonmonotonic-poll"
	// IntPollSkip is PollSkip inside one operation.
	IntPollSkip Class = "int-poll-skip"
	// IntNonmonotonicPoll is NonmonotonicPoll inside one operation.
	IntNonmonotonicPoll Class = "int-nonmonotonic-poll"
	// NonmonotonicSend: a later operation of a producer got a lower offset.
	NonmonotonicSend Class = "nonmonotonic-send"
	// IntNonmonotonicSend is NonmonotonicSend inside one operation.
	IntNonmonotonicSend Class = "int-nonmonotonic-send"
	// IntSendSkip: another's record is between two of one operation. Allowed.
	IntSendSkip Class = "int-send-skip"
	// CircularFlow: transactions read from each other in a circle.
	CircularFlow Class = "G1c"
	// WriteCycle: transactions wrote before each other in a circle. Allowed.
	WriteCycle Class = "G0"
	// InvalidHistory: the history is none that can be checked, as when a value
	// was sent twice to one key.
	InvalidHistory Class = "invalid-history"
)

// Anomaly is one finding.
type Anomaly struct {
	Class Class
	// Allowed findings do not make a history bad.
	Allowed bool
	Key     string // empty for cycles
	Offset  int64  // or NoOffset
	// Ops are positions in the history that was given.
	Ops  []int
	Text string
}

// perClass is how many anomalies of a class a report shows; all are counted.
const perClass = 10

// Report is what Check found.
type Report struct {
	Ops, Sent, Polled int
	// Committed is the number of records that are known to be committed.
	Committed int
	// Anomalies are the first of each class.
	Anomalies []Anomaly
	// Counts says how many there are of each class, Allowed how many of them are
	// allowed.
	Counts, Allowed map[Class]int
	// Consumed says how many records were polled how often by subscribers, in
	// operations that were committed: each once, where they process exactly once.
	Consumed map[int]int
}

func newReport() *Report {
	return &Report{Counts: map[Class]int{}, Allowed: map[Class]int{}, Consumed: map[int]int{}}
}

func (r *Report) add(a Anomaly) {
	r.Counts[a.Class]++
	if a.Allowed {
		r.Allowed[a.Class]++
	}
	shown := r.Counts[a.Class]
	if !a.Allowed {
		shown -= r.Allowed[a.Class] // those that are allowed do not hide the others
	} else {
		shown = r.Allowed[a.Class]
	}
	if shown <= perClass {
		r.Anomalies = append(r.Anomalies, a)
	}
}

// Merge adds what another check of the same run has found.
func (r *Report) Merge(anomalies []Anomaly) {
	for _, a := range anomalies {
		r.add(a)
	}
}

// Classes are the classes of what is not allowed, sorted.
func (r *Report) Classes() []Class {
	var out []Class
	for _, class := range slices.Sorted(maps.Keys(r.Counts)) {
		if r.Counts[class] > r.Allowed[class] {
			out = append(out, class)
		}
	}
	return out
}

// OK says that nothing was found that is not allowed.
func (r *Report) OK() bool { return len(r.Classes()) == 0 }

// String is the report for a reader: what was looked at, and each class with its
// first anomalies.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d operations, %d records sent, %d committed, %d polled", r.Ops, r.Sent, r.Committed, r.Polled)
	for _, times := range slices.Sorted(maps.Keys(r.Consumed)) {
		fmt.Fprintf(&b, "; %d consumed %d times by subscribers", r.Consumed[times], times)
	}
	for _, class := range slices.Sorted(maps.Keys(r.Allowed)) {
		fmt.Fprintf(&b, "; %d %s, which is allowed", r.Allowed[class], class)
	}
	for _, class := range r.Classes() {
		n := r.Counts[class] - r.Allowed[class]
		fmt.Fprintf(&b, "\n%s: %d", class, n)
		for _, a := range r.Anomalies {
			if a.Class == class && !a.Allowed {
				fmt.Fprintf(&b, "\n  %s", a.Text)
			}
		}
		if n > perClass {
			fmt.Fprintf(&b, "\n  and %d more", n-perClass)
		}
	}
	return b.String()
}
