package sdk

import (
	"errors"
	"fmt"

	"github.com/levada/levada/connectors/proto"
)

// ErrFenced says that a newer instance owns the target. A sink returns it,
// wrapped or not, when its fencing epoch is older than the target's; the host
// stops that connector and does not start it again.
var ErrFenced = errors.New("a newer instance of this connector owns the target")

// Permanent marks an error that starting again cannot mend; mend tells a
// person what would. An error that is not marked is retried with back-off.
func Permanent(err error, mend string) error {
	return &permanentError{err: err, mend: mend}
}

// mendConnector is what mends a mistake of the connector's author.
const mendConnector = "mend the connector"

type permanentError struct {
	err  error
	mend string
}

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// configError carries the faults of a configuration.
type configError struct{ faults []Fault }

func (e *configError) Error() string {
	return fmt.Sprintf("the configuration is refused: %v", e.faults)
}

// panicError carries a panic of the connector's own code.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// errProtocol is wrapped by errors that the host causes.
var errProtocol = errors.New("the host broke the plugin protocol")

// errorMessage turns err into the message that ends a stream.
func errorMessage(err error) *proto.Error {
	m := &proto.Error{Code: proto.Error_CODE_EXTERNAL, Retryable: true, Message: err.Error()}
	if p, ok := errors.AsType[*permanentError](err); ok {
		m.Retryable, m.Mend = false, p.mend
	}
	if c, ok := errors.AsType[*configError](err); ok {
		m.Code, m.Retryable = proto.Error_CODE_CONFIG, false
		m.Faults = faultMessages(c.faults)
	}
	if _, ok := errors.AsType[*panicError](err); ok {
		m.Code = proto.Error_CODE_INTERNAL
	}
	switch {
	case errors.Is(err, ErrFenced):
		m.Code, m.Retryable = proto.Error_CODE_FENCED, false
	case errors.Is(err, errProtocol):
		m.Code, m.Retryable = proto.Error_CODE_PROTOCOL, false
	}
	return m
}

func faultMessages(faults []Fault) []*proto.Fault {
	out := make([]*proto.Fault, len(faults))
	for i, f := range faults {
		out[i] = &proto.Fault{Field: f.Field, Message: f.Message, Mend: f.Mend}
	}
	return out
}
