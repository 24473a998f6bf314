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

// deliver sends what is queued until the stream's context ends, for which done
// waits. Send blocks when a plugin does not read: this goroutine bears that.
func deliver[C any](ctx context.Context, send func(C) error, queue <-chan C) (done func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case c := <-queue:
				_ = send(c) // a broken stream says so when it is read
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { <-ended }
}
