package checker

import (
	"fmt"
	"strings"
)

// Type is what is known of an operation.
type Type string

// An operation that was begun and of which no other line is known counts as
// Info: it may have happened or not.
const (
	Invoke Type = "invoke"
	OK     Type = "ok"
	Fail   Type = "fail"
	Info   Type = "info"
)

// Function is the kind of an operation.
type Function string

// Assign, Subscribe and Crash end what a process has read so far: its next poll
// may start anywhere. After Subscribe partitions may also come and go unseen.
const (
	Send      Function = "send"
	Poll      Function = "poll"
	Txn       Function = "txn"
	Assign    Function = "assign"
	Subscribe Function = "subscribe"
	Crash     Function = "crash"
)

// NoOffset stands where no answer said which offset a record got.
const NoOffset int64 = -1

// Micro is one record that an operation sent or polled. A value is sent at most
// once to a key.
type Micro struct {
	Poll   bool // false: it was sent
	Key    string
	Offset int64 // or NoOffset
	Value  int64
}

// String is the micro-operation in short: > for sent, < for polled.
func (m Micro) String() string {
	sign := ">"
	if m.Poll {
		sign = "<"
	}
	if m.Offset == NoOffset {
		return fmt.Sprintf("%s%s:?=%d", sign, m.Key, m.Value)
	}
	return fmt.Sprintf("%s%s:%d=%d", sign, m.Key, m.Offset, m.Value)
}

// Op is one operation of a process. A process does one thing after another, and
// its operations stand in the history in that order.
type Op struct {
	Process int
	Type    Type
	F       Function
	// Uncommitted marks polls at the isolation level read_uncommitted.
	Uncommitted bool
	Value       []Micro
	// Start and End are nanoseconds of one monotonic clock; nothing is concluded
	// from them, they are for who reads a report.
	Start, End int64
	// Error is why the operation failed or its outcome is unknown.
	Error string
}

// opMicros bounds how much of an operation a report shows.
const opMicros = 8

// String is the operation in short, with its first records.
func (o Op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s %s", o.Process, o.Type, o.F)
	if o.Uncommitted {
		b.WriteString(" uncommitted")
	}
	for i, m := range o.Value {
		if i == opMicros {
			fmt.Fprintf(&b, " and %d more", len(o.Value)-i)
			break
		}
		b.WriteString(" " + m.String())
	}
	if o.Error != "" {
		fmt.Fprintf(&b, " (%s)", o.Error)
	}
	return b.String()
}
