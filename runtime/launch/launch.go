package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/runtime"
	"github.com/levada/levada/runtime/embedded"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/kafka"
	"github.com/levada/levada/statestore"
)

// LogConfig says which log to open.
type LogConfig struct {
	// Brokers are the addresses of a cluster, HOST:PORT. Empty: a broker in
	// this process, with its data in Dir.
	Brokers []string
	// Dir is the data directory of the embedded broker.
	Dir string
	// Broker configures the embedded broker further; Dir and Logger are set
	// from here.
	Broker logbroker.Config
	Logger *slog.Logger
}

// Log is an open log and, if it is embedded, its broker.
type Log struct {
	logclient.Log
	// Broker is the embedded broker; nil with a cluster.
	Broker *logbroker.Broker
}

// OpenLog opens a log. With a cluster it returns once a broker has answered;
// ErrUnreachable names the addresses that did not.
func OpenLog(ctx context.Context, cfg LogConfig) (*Log, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if len(cfg.Brokers) > 0 {
		l, err := kafka.Open(ctx, kafka.Config{Brokers: cfg.Brokers, Logger: cfg.Logger})
		if err != nil {
			return nil, err
		}
		return &Log{Log: l}, nil
	}
	if cfg.Dir == "" {
		return nil, errors.New("launch: neither brokers nor a data directory: set one")
	}
	bc := cfg.Broker
	bc.Dir, bc.Logger = cfg.Dir, cfg.Logger
	broker, err := logbroker.Open(bc)
	if err != nil {
		return nil, err
	}
	return &Log{Log: embedded.New(broker), Broker: broker}, nil
}

// Close closes the log and the embedded broker.
func (l *Log) Close() error {
	err := l.Log.Close()
	if l.Broker != nil {
		err = errors.Join(err, l.Broker.Close())
	}
	return err
}

// Process is one running application in this process.
type Process struct {
	App    *runtime.App
	Engine *statestore.Engine
}

// Open opens the state of an application under dir, and makes the App. cfg
// needs App, Topology and Log; Engine and ProcessID are set here.
func Open(dir string, cfg runtime.Config) (*Process, error) {
	dir = filepath.Join(dir, cfg.App)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	id, err := runtime.ProcessID(dir)
	if err != nil {
		return nil, err
	}
	engine, err := statestore.Open(statestore.Config{Dir: filepath.Join(dir, "state"), Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	cfg.ProcessID, cfg.Engine = id, engine
	app, err := runtime.New(cfg)
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	return &Process{App: app, Engine: engine}, nil
}

// Run works until ctx ends.
func (p *Process) Run(ctx context.Context) error { return p.App.Run(ctx) }

// endPoll is how often RunToEnd looks whether the input is used up.
const endPoll = 50 * time.Millisecond

// RunToEnd works until all that was in the input topics has been processed and
// more, if given, agrees that nothing will follow; progress, if given, is
// called each time it looks.
func (p *Process) RunToEnd(ctx context.Context, more func() bool, progress func(runtime.Stats)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ran := make(chan error, 1)
	started := make(chan struct{})
	go func() { ran <- p.App.RunStarted(ctx, func() { close(started) }) }()
	select {
	case err := <-ran:
		return err
	case <-started:
	}
	tick := time.NewTicker(endPoll)
	defer tick.Stop()
	for {
		select {
		case err := <-ran:
			return err
		case <-tick.C:
		}
		if progress != nil {
			progress(p.App.Stats())
		}
		if more != nil && more() {
			continue
		}
		lag, err := p.App.Lag(ctx)
		if err != nil && ctx.Err() == nil {
			cancel()
			return errors.Join(fmt.Errorf("launch: %w", err), <-ran)
		}
		if lag == 0 && err == nil {
			cancel()
			return <-ran
		}
	}
}

// Close flushes and closes the state.
func (p *Process) Close() error { return p.Engine.Close() }
