package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/runtime/logclient"
)

// DefaultPositionsTopic holds the positions of all connectors of a log.
const DefaultPositionsTopic = "levada-connect-positions"

// Command says how to start a plugin: a program that ends in sdk.Serve. The
// built-in ones are this binary with the arguments plugin NAME.
type Command struct {
	Path string
	Args []string
	// Env adds to the few variables that a plugin is given.
	Env []string
}

// OnError says what becomes of a record that cannot go further.
type OnError string

const (
	// OnErrorFail stops the connector.
	OnErrorFail OnError = "fail"
	// OnErrorSkip counts it and goes on.
	OnErrorSkip OnError = "skip"
	// OnErrorDeadLetter writes it to DeadLetterTopic and goes on.
	OnErrorDeadLetter OnError = "dead_letter"
)

// Config is what sources and sinks have in common.
type Config struct {
	// Name names the instance: its transactional id and its positions derive
	// from it. It must stay the same from start to start.
	Name    string
	Command Command
	// Settings are the connector's own, a JSON object.
	Settings json.RawMessage
	Log      logclient.Log
	// Logger gets what the host does and what the plugin prints. Default
	// slog.Default().
	Logger *slog.Logger

	// OnError defaults to dead_letter if DeadLetterTopic is set, else to fail.
	OnError         OnError
	DeadLetterTopic string
	// PositionsTopic defaults to DefaultPositionsTopic.
	PositionsTopic string

	Limits  Limits
	Restart Restart
}

// Limits bound what a plugin may take, in time and bytes. Zero means default.
type Limits struct {
	// Start is for the process to answer. Default 15 s.
	Start time.Duration
	// Open is for the connector to open its origin or target. Default 1 min.
	Open time.Duration
	// Hang is how long a plugin may be silent: a source always, a sink while
	// it has something to write. Default 1 min.
	Hang time.Duration
	// Stop is for an orderly end. Default 10 s.
	Stop time.Duration
	// InFlightBytes bounds what is not yet durable on the other side. One batch
	// may exceed it. Default 8 MiB.
	InFlightBytes int64
	// BatchBytes bounds a batch of a source. Default 16 MiB, at most 24 MiB.
	BatchBytes int64
	// CommitInterval is the least time between commits of a source. Default
	// 100 ms.
	CommitInterval time.Duration
	// Log is how long the log may take for one answer. Default 1 min.
	Log time.Duration
}

// Restart says how a failed connector is started again. Zero means default.
type Restart struct {
	// MinBackoff is the wait after the first failure; it doubles up to
	// MaxBackoff. Defaults 200 ms and 30 s.
	MinBackoff, MaxBackoff time.Duration
	// Budget is how many starts in a row may fail without progress. A failure
	// after progress begins anew. Default 8; negative: none.
	Budget int
}

func (c Config) withDefaults() (Config, error) {
	var errs []error
	if c.Name == "" {
		errs = append(errs, errors.New("Name is empty"))
	}
	if c.Command.Path == "" {
		errs = append(errs, errors.New("no program to start: set Command.Path"))
	}
	if c.Log == nil {
		errs = append(errs, errors.New("no log: set Log"))
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = c.Logger.With("connector", c.Name)
	orDefault(&c.PositionsTopic, DefaultPositionsTopic)
	if c.OnError == "" && c.DeadLetterTopic != "" {
		c.OnError = OnErrorDeadLetter
	}
	orDefault(&c.OnError, OnErrorFail)
	switch {
	case c.OnError == OnErrorDeadLetter && c.DeadLetterTopic == "":
		errs = append(errs, errors.New("OnError is dead_letter, but DeadLetterTopic is empty"))
	case c.OnError != OnErrorFail && c.OnError != OnErrorSkip && c.OnError != OnErrorDeadLetter:
		errs = append(errs, fmt.Errorf("OnError %q is none of fail, skip, dead_letter", c.OnError))
	}
	c.Limits = c.Limits.withDefaults()
	errs = append(errs, c.Limits.check()...)
	orDefault(&c.Restart.MinBackoff, 200*time.Millisecond)
	orDefault(&c.Restart.MaxBackoff, 30*time.Second)
	orDefault(&c.Restart.Budget, 8)
	c.Restart.Budget = max(c.Restart.Budget, 0)
	if err := errors.Join(errs...); err != nil {
		return c, fmt.Errorf("host: connector %q: %w", c.Name, err)
	}
	return c, nil
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.Start, 15*time.Second)
	orDefault(&l.Open, time.Minute)
	orDefault(&l.Hang, time.Minute)
	orDefault(&l.Stop, 10*time.Second)
	orDefault(&l.InFlightBytes, 8<<20)
	orDefault(&l.BatchBytes, 16<<20)
	orDefault(&l.CommitInterval, 100*time.Millisecond)
	orDefault(&l.Log, time.Minute)
	return l
}

// maxBatchBytes leaves room in a message for what a batch has beside records.
const maxBatchBytes = proto.MaxMessageBytes * 3 / 4

// check finds limits under which no plugin could live.
func (l Limits) check() (errs []error) {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Start", l.Start}, {"Open", l.Open}, {"Hang", l.Hang}, {"Stop", l.Stop}, {"CommitInterval", l.CommitInterval}, {"Log", l.Log}} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("set Limits.%s to a time above 0, or to 0 for the default; it is %v", d.name, d.value))
		}
	}
	if l.InFlightBytes < 0 {
		errs = append(errs, fmt.Errorf("set Limits.InFlightBytes above 0, or to 0 for the default; it is %d", l.InFlightBytes))
	}
	if l.BatchBytes < 0 || l.BatchBytes > maxBatchBytes {
		errs = append(errs, fmt.Errorf("set Limits.BatchBytes to at most %d, or to 0 for the default; it is %d", int64(maxBatchBytes), l.BatchBytes))
	}
	return errs
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
