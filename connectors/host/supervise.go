package host

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// supervise runs sessions, each with one process, until one ends well, ctx
// ends, or starting again makes no sense. A session reports whether it made
// progress.
func supervise(ctx context.Context, c *Config, t *tracker, session func(context.Context) (progress bool, err error)) error {
	backoff, failures := c.Restart.MinBackoff, 0
	for {
		t.update(func(s *Status) { s.State, s.PID = Starting, 0; s.Starts++ })
		progress, err := session(ctx)
		if err == nil || ctx.Err() != nil {
			t.update(func(s *Status) { s.State, s.PID = Stopped, 0 })
			return nil
		}
		e, ok := errors.AsType[*Error](err)
		if !ok {
			e = c.fail("run", err)
		}
		if progress {
			backoff, failures = c.Restart.MinBackoff, 0
		}
		failures++
		if !e.Retryable || failures > c.Restart.Budget {
			if e.Retryable {
				e.Err = fmt.Errorf("gave up after %d starts in a row without progress: %w", failures, e.Err)
				e.Retryable = false
			}
			t.update(func(s *Status) { s.State, s.PID, s.LastError = Failed, 0, e })
			return e
		}
		c.Logger.Warn("connector failed, starting it again", "err", e, "in", backoff, "failures", failures, "budget", c.Restart.Budget)
		t.update(func(s *Status) { s.State, s.PID, s.LastError = Backoff, 0, e })
		if !pause(ctx, backoff) {
			t.update(func(s *Status) { s.State = Stopped })
			return nil
		}
		backoff = min(2*backoff, c.Restart.MaxBackoff)
	}
}

// pause waits; it returns false if ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// watch is how long the plugin may be silent.
type watch struct {
	limits Limits
	timer  *time.Timer
	limit  time.Duration
	stage  string
}

// newWatch begins with the time to open.
func newWatch(l Limits) watch {
	return watch{limits: l, timer: time.NewTimer(l.Open), limit: l.Open, stage: "open"}
}

// heard notes a sign of life; stage is what the plugin does from now on.
func (w *watch) heard(stage string) {
	if w.stage != "stop" {
		w.stage, w.limit = stage, w.limits.Hang
		w.timer.Reset(w.limit)
	}
}

// again begins anew after the host was busy: that was no silence of the
// plugin. The time for an orderly end is not made longer.
func (w *watch) again() {
	if w.stage != "stop" {
		w.timer.Reset(w.limit)
	}
}

// late kills a plugin whose time is over.
func (w *watch) late(c *Config, p *process) error {
	err := fmt.Errorf("the plugin hangs: it said nothing for %v, and was killed", w.limit)
	if w.stage == "stop" {
		err = fmt.Errorf("the plugin did not end within %v after it was told to, and was killed", w.limit)
	}
	return p.lastWords(c.fail(w.stage, err))
}

// stopping notes that the plugin was told to stop.
func (w *watch) stopping() {
	w.stage, w.limit = "stop", w.limits.Stop
	w.timer.Reset(w.limit)
}

// event is what a stream of the plugin brings: a message or its end.
type event[E any] struct {
	message E
	err     error // io.EOF: an orderly end
}

// receive turns a stream into a channel, which is closed after the stream's
// end. It has no buffer: what is not taken stays with the plugin, by HTTP/2's
// windows. It ends when the stream's context does.
func receive[E any](ctx context.Context, recv func() (E, error)) <-chan event[E] {
	events := make(chan event[E])
	go func() {
		defer close(events)
		for {
			message, err := recv()
			select {
			case events <- event[E]{message, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return events
}
