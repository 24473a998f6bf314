package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/levada/levada/connectors/host"
	"github.com/levada/levada/pipelines"
	"github.com/levada/levada/runtime"
	"github.com/levada/levada/runtime/launch"
	"github.com/levada/levada/runtime/logclient"
)

// Options say where and how a plan runs.
type Options struct {
	// Log is where the topics are. Required; it stays open.
	Log logclient.Log
	// Dir keeps state, in a folder named by the pipeline. Required.
	Dir string
	// Command says how a plugin is started. Default: this program with the
	// arguments plugin NAME.
	Command func(plugin string) (host.Command, error)
	// Workers is used instead of the plan's if it is not zero.
	Workers int
	// LeaveOnClose gives the partitions to other processes at once when this
	// one stops. Without it its place is kept for a restart.
	LeaveOnClose bool
	// UntilEnd returns once all sources have ended and everything has been
	// processed and written by the sinks. A source that follows its input does
	// not end.
	UntilEnd bool
	// Restart and Limits are for all connectors.
	Restart host.Restart
	Limits  host.Limits
	// Progress, if given, is told twice a second how far things are. It is
	// called by one goroutine at a time.
	Progress func(Progress)
	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// Progress is a snapshot of a running pipeline.
type Progress struct {
	Topology runtime.Stats
	// Sources and Sinks are by the name of the instance.
	Sources, Sinks map[string]host.Status
}

// progressInterval is the time between calls of Progress.
const progressInterval = 500 * time.Millisecond

func (o Options) withDefaults() (Options, error) {
	var errs []error
	if o.Log == nil {
		errs = append(errs, errors.New("no log: set Options.Log"))
	}
	if o.Dir == "" {
		errs = append(errs, errors.New("no directory for state: set Options.Dir"))
	}
	if o.Command == nil {
		o.Command = self
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, errors.Join(errs...)
}

// self starts a built-in connector: this program as `levada plugin NAME`.
func self(plugin string) (host.Command, error) {
	path, err := os.Executable()
	if err != nil {
		return host.Command{}, fmt.Errorf("plugin %q: where is this program? %w", plugin, err)
	}
	return host.Command{Path: path, Args: []string{"plugin", plugin}}, nil
}

// Pipeline runs a plan until ctx ends, or with UntilEnd until nothing is left
// to do, and then returns nil; or until a part of it fails for good. Then it
// stops the others and returns what went wrong.
func Pipeline(ctx context.Context, plan *pipelines.Plan, opts Options) error {
	opts, err := opts.withDefaults()
	if err != nil {
		return fmt.Errorf("pipeline %q: %w", plan.Name, err)
	}
	if err := ensureTopics(ctx, opts.Log.Admin(), plan.Topics); err != nil {
		return fmt.Errorf("pipeline %q: %w", plan.Name, err)
	}
	p := &pipeline{plan: plan, Options: opts}
	if err := p.open(); err != nil {
		return fmt.Errorf("pipeline %q: %w", plan.Name, err)
	}
	err = p.run(ctx)
	if closeErr := p.process.Close(); closeErr != nil {
		err = errors.Join(err, closeErr)
	}
	if err != nil {
		return fmt.Errorf("pipeline %q: %w", plan.Name, err)
	}
	return nil
}

// pipeline is one run of a plan.
type pipeline struct {
	Options
	plan    *pipelines.Plan
	process *launch.Process
	sources []*host.Source
	sinks   []*host.Sink
	ended   []atomic.Bool // by source
}

// open makes all parts; nothing runs yet.
func (p *pipeline) open() (err error) {
	for _, c := range p.plan.Sources {
		common, err := p.hostConfig(c)
		if err != nil {
			return err
		}
		s, err := host.NewSource(host.SourceConfig{Config: common, Topic: c.Topic, Partitions: c.Partitions})
		if err != nil {
			return err
		}
		p.sources = append(p.sources, s)
	}
	for _, c := range p.plan.Sinks {
		common, err := p.hostConfig(c)
		if err != nil {
			return err
		}
		s, err := host.NewSink(host.SinkConfig{Config: common, Topics: []string{c.Topic}})
		if err != nil {
			return err
		}
		p.sinks = append(p.sinks, s)
	}
	workers := p.plan.Workers
	if p.Workers > 0 {
		workers = p.Workers
	}
	p.process, err = launch.Open(p.Dir, runtime.Config{
		App: p.plan.Name, Log: p.Log, Topology: p.plan.Topology, Workers: workers, Guarantee: p.plan.Guarantee,
		CommitInterval: p.plan.CommitInterval, OnError: p.plan.OnError, DeadLetterTopic: p.plan.DeadLetterTopic,
		LeaveOnClose: p.LeaveOnClose, Logger: p.Logger,
	})
	return err
}

func (p *pipeline) hostConfig(c pipelines.Connector) (host.Config, error) {
	command, err := p.Command(c.Plugin)
	if err != nil {
		return host.Config{}, err
	}
	return host.Config{
		Name: c.Name, Command: command, Settings: c.Config, Log: p.Log, Logger: p.Logger,
		OnError: host.OnError(c.OnError), DeadLetterTopic: c.DeadLetterTopic, Limits: p.Limits, Restart: p.Restart,
	}, nil
}

// run starts every part in a goroutine of its own and waits for all. The first
// that fails stops the others.
func (p *pipeline) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := []func(context.Context) error{}
	p.ended = make([]atomic.Bool, len(p.sources))
	for i, s := range p.sources {
		parts = append(parts, func(ctx context.Context) error {
			defer p.ended[i].Store(true)
			return s.Run(ctx)
		})
	}
	for _, s := range p.sinks {
		parts = append(parts, s.Run)
	}
	parts = append(parts, func(ctx context.Context) error {
		if !p.UntilEnd {
			return p.process.Run(ctx)
		}
		defer cancel()
		return p.untilEnd(ctx)
	})
	if p.UntilEnd {
		parts = append(parts, p.sayWaiting)
	}
	if p.Progress != nil {
		parts = append(parts, p.report)
	}
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		wg.Go(func() {
			if errs[i] = part(ctx); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// untilEnd processes all there is and waits until the sinks have it.
func (p *pipeline) untilEnd(ctx context.Context) error {
	if err := p.process.RunToEnd(ctx, func() bool { return len(p.reading()) > 0 }, nil); err != nil || ctx.Err() != nil {
		return err
	}
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for {
		done, err := p.drained(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case done:
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (p *pipeline) report(ctx context.Context) error {
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.Progress(p.snapshot())
			return nil
		case <-tick.C:
			p.Progress(p.snapshot())
		}
	}
}

func (p *pipeline) snapshot() Progress {
	now := Progress{Topology: p.process.App.Stats(), Sources: map[string]host.Status{}, Sinks: map[string]host.Status{}}
	for i, s := range p.sources {
		now.Sources[p.plan.Sources[i].Name] = s.Status()
	}
	for i, s := range p.sinks {
		now.Sinks[p.plan.Sinks[i].Name] = s.Status()
	}
	return now
}
