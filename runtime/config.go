package runtime

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// Guarantee is what a crash may do to results.
type Guarantee string

const (
	// ExactlyOnce commits outputs, state and input offsets in one transaction.
	ExactlyOnce Guarantee = "exactly_once"
	// AtLeastOnce writes outputs first and commits offsets after: a crash
	// repeats some records.
	AtLeastOnce Guarantee = "at_least_once"
)

// OnError is what happens to a record that cannot be processed.
type OnError string

const (
	// Fail stops the application with the error.
	Fail OnError = "fail"
	// Skip drops the record and logs it.
	Skip OnError = "skip"
	// DeadLetter writes the record to Config.DeadLetterTopic with the reason.
	DeadLetter OnError = "dead_letter"
)

// Config describes an App. The zero value of a field takes the default.
type Config struct {
	// App is the application id: the group, and the prefix of internal topics
	// and transactional ids. Required; letters, digits, '.', '_' and '-'.
	App      string
	Log      logclient.Log      // required
	Topology *topology.Topology // required
	// Engine keeps the state. Required if the topology has stores.
	Engine *statestore.Engine
	// ProcessID names this process among those of the application, and must be
	// the same after a restart (see ProcessID). Required.
	ProcessID string
	// Workers is the number of members in this process. Default 1.
	Workers int
	// Guarantee defaults to ExactlyOnce.
	Guarantee Guarantee
	// CommitInterval is the time between commits. Default 100 ms.
	CommitInterval time.Duration
	// UncommittedBytes bounds the changes of state and the outputs of one
	// worker's transaction; at the bound it commits early. Default 64 MiB.
	UncommittedBytes int64
	// OnError defaults to Fail.
	OnError OnError
	// DeadLetterTopic is required with DeadLetter; it is created if missing.
	DeadLetterTopic string
	// PurgeInterval is how often committed records of repartition topics are
	// deleted. Default 30 s.
	PurgeInterval time.Duration
	// MaxBufferedBytes bounds what a worker keeps of inputs that wait for
	// others in stream-time order. Default 32 MiB.
	MaxBufferedBytes int64
	// SessionTimeout is after how long the group gives up a silent worker.
	// Default 10 s.
	SessionTimeout time.Duration
	// LeaveOnClose makes workers leave the group when the App stops, so that
	// others take over at once; without it their place is kept for a restart,
	// for SessionTimeout.
	LeaveOnClose bool
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

var validApp = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,150}$`)

// withDefaults fills in the defaults and reports all faults.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	if !validApp.MatchString(c.App) {
		errs = append(errs, fmt.Errorf("application id %q: use 1 to 150 letters, digits, '.', '_' or '-'", c.App))
	}
	if c.Log == nil {
		errs = append(errs, errors.New("no log: set Config.Log"))
	}
	if c.Topology == nil {
		errs = append(errs, errors.New("no topology: set Config.Topology"))
	}
	if c.ProcessID == "" {
		errs = append(errs, errors.New("no process id: set Config.ProcessID, for example with runtime.ProcessID(dir)"))
	}
	c.Workers = defaultTo(c.Workers, 1)
	c.Guarantee = defaultTo(c.Guarantee, ExactlyOnce)
	c.CommitInterval = defaultTo(c.CommitInterval, 100*time.Millisecond)
	c.UncommittedBytes = defaultTo(c.UncommittedBytes, 64<<20)
	c.OnError = defaultTo(c.OnError, Fail)
	c.PurgeInterval = defaultTo(c.PurgeInterval, 30*time.Second)
	c.MaxBufferedBytes = defaultTo(c.MaxBufferedBytes, 32<<20)
	c.SessionTimeout = defaultTo(c.SessionTimeout, 10*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Workers < 0 || c.Workers > 1024 {
		errs = append(errs, fmt.Errorf("%d workers: use 1 to 1024", c.Workers))
	}
	if c.Guarantee != ExactlyOnce && c.Guarantee != AtLeastOnce {
		errs = append(errs, fmt.Errorf("guarantee %q: use %q or %q", c.Guarantee, ExactlyOnce, AtLeastOnce))
	}
	switch c.OnError {
	case Fail, Skip:
	case DeadLetter:
		if c.DeadLetterTopic == "" {
			errs = append(errs, errors.New("dead letters without a topic: set Config.DeadLetterTopic"))
		}
	default:
		errs = append(errs, fmt.Errorf("on error %q: use %q, %q or %q", c.OnError, Fail, Skip, DeadLetter))
	}
	if c.Topology != nil && c.Engine == nil && hasStores(c.Topology) {
		errs = append(errs, errors.New("the topology keeps state, but there is no engine: set Config.Engine"))
	}
	return c, errors.Join(errs...)
}

func defaultTo[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

func hasStores(t *topology.Topology) bool {
	for _, s := range t.Subtopologies {
		if len(s.Stores) > 0 {
			return true
		}
	}
	return false
}
