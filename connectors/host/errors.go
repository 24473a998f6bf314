package host

import (
	"errors"
	"fmt"
	"strings"

	"github.com/levada/levada/connectors/proto"
)

// ErrFenced says that a newer instance of the connector has taken over.
var ErrFenced = errors.New("a newer instance of this connector runs")

// Error is the failure of a connector.
type Error struct {
	Connector string
	Stage     string // what was being done: start, open, read, write, commit
	Err       error
	// Mend says what a person could do; it may be empty.
	Mend string
	// Output is what the plugin printed last.
	Output []string
	// Retryable tells whether starting again may help.
	Retryable bool
}

// Error is the failure with its mend and the plugin's last lines.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "connector %s: %s: %v", e.Connector, e.Stage, e.Err)
	if e.Mend != "" {
		fmt.Fprintf(&b, "; %s", e.Mend)
	}
	if len(e.Output) > 0 {
		fmt.Fprintf(&b, "; it printed last:\n  %s", strings.Join(e.Output, "\n  "))
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// fail makes an Error that starting again may mend.
func (c *Config) fail(stage string, err error) *Error {
	return &Error{Connector: c.Name, Stage: stage, Err: err, Retryable: true}
}

// refuse makes an Error that starting again cannot mend.
func (c *Config) refuse(stage, mend string, err error) *Error {
	return &Error{Connector: c.Name, Stage: stage, Err: err, Mend: mend}
}

// reported makes an Error of what the plugin said.
func (c *Config) reported(stage string, m *proto.Error) *Error {
	e := &Error{Connector: c.Name, Stage: stage, Err: errors.New(m.Message), Mend: m.Mend, Retryable: m.Retryable}
	if m.Code == proto.Error_CODE_FENCED {
		e.Err = fmt.Errorf("%s: %w", m.Message, ErrFenced)
	}
	if len(m.Faults) > 0 {
		lines := make([]string, len(m.Faults))
		for i, f := range m.Faults {
			lines[i] = strings.TrimPrefix(fmt.Sprintf("%s: %s; %s", f.Field, f.Message, f.Mend), ": ")
		}
		e.Err = fmt.Errorf("the settings are refused: %s", strings.Join(lines, "; "))
	}
	return e
}
