package logbroker

// fault is a promise broken on purpose, so that a test can show that the
// simulation notices.
type fault int

const (
	// faultNoDataSync takes a decision before the data it decides is durable.
	faultNoDataSync fault = iota
	// faultForgetEarly deletes a decision before its markers are durable.
	faultForgetEarly
)

// faults are those planted in a broker; nil plants none.
type faults struct{ planted fault }

func (f *faults) has(kind fault) bool { return f != nil && f.planted == kind }
