package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/levada/levada/connectors/proto"
)

type noSettings struct{}

// numbers is a source of 100-byte values; its position is the next number.
type numbers struct {
	start     SourceStart
	n, end    int
	next      func(ctx context.Context, out *Batch) error // if set, instead
	committed []string
	closed    int
}

func (s *numbers) Next(ctx context.Context, out *Batch) error {
	if s.next != nil {
		return s.next(ctx, out)
	}
	if s.n == s.end {
		return io.EOF
	}
	out.Append(0, nil, fmt.Appendf(nil, "%0100d", s.n))
	s.n++
	out.Position = fmt.Append(nil, s.n)
	return nil
}

func (s *numbers) Committed(_ context.Context, position []byte) error {
	s.committed = append(s.committed, string(position))
	return nil
}

func (s *numbers) Close() error { s.closed++; return nil }

func numbersPlugin(s *numbers) Plugin {
	return Plugin{Name: "numbers", Source: SourceOf(func(_ context.Context, _ noSettings, start SourceStart) (Source, error) {
		s.start = start
		return s, nil
	})}
}

// inBubble runs a test of a source under a fake clock.
func inBubble(t *testing.T, s *numbers, open *proto.SourceCommand, test func(t *testing.T, h *sourceHost)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := serve(t, quietServer(numbersPlugin(s)).RunSource)
		h.commands <- open
		if e := <-h.events; e.GetOpened() == nil {
			t.Fatalf("got %v, want opened", e)
		}
		test(t, h)
		h.cancel()
		synctest.Wait()
		if s.closed != 1 {
			t.Errorf("the source was closed %d times", s.closed)
		}
	})
}

// TestSourceCredit asserts that a source sends while there is credit, at most
// one batch more, then only signs of life, and goes on when it is paid.
func TestSourceCredit(t *testing.T) {
	inBubble(t, &numbers{end: 1000}, openSource(500, 1<<20, nil), func(t *testing.T, h *sourceHost) {
		for round := range 3 {
			sent, batches := int64(0), 0
			began := time.Now()
			for e := range h.events {
				if e.GetAlive() != nil {
					break
				}
				sent += int64(len(e.GetBatch().Records))
				batches++
			}
			size := sent / int64(batches)
			if sent < 500 || sent-size >= 500 {
				t.Fatalf("round %d: %d bytes in %d batches were sent for a credit of 500", round, sent, batches)
			}
			if wait := time.Since(began); wait > aliveInterval {
				t.Errorf("round %d: the sign of life came after %v", round, wait)
			}
			h.commands <- sourceCredit(sent)
		}
	})
}

// TestSourceEnd asserts that a finite source says so once, is told what is
// durable, and ends well when it is stopped.
func TestSourceEnd(t *testing.T) {
	s := &numbers{end: 2}
	inBubble(t, s, openSource(1<<20, 1<<20, []byte("7")), func(t *testing.T, h *sourceHost) {
		var got []string
		for len(got) < 5 {
			got = append(got, strings.TrimPrefix(fmt.Sprintf("%T", (<-h.events).Event), "*proto.SourceEvent_"))
		}
		if want := []string{"Batch", "Batch", "Done", "Alive", "Alive"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		h.commands <- sourceCommitted("1")
		<-h.events
		h.commands <- sourceCommitted("2")
		<-h.events
		h.commands <- sourceStop()
		for range h.events {
		}
		if err := <-h.done; err != nil {
			t.Errorf("a stop ended with %v", err)
		}
		if string(s.start.Position) != "7" || s.start.MaxBatchBytes != 1<<20 || fmt.Sprint(s.committed) != "[1 2]" {
			t.Errorf("the source was started with %+v and told %v", s.start, s.committed)
		}
	})
}

// TestSourceWaits asserts that a source without records shows signs of life,
// and that Next's wait is cut short by a stop.
func TestSourceWaits(t *testing.T) {
	s := &numbers{next: func(ctx context.Context, _ *Batch) error { <-ctx.Done(); return ctx.Err() }}
	inBubble(t, s, openSource(1, 1<<20, nil), func(t *testing.T, h *sourceHost) {
		began := time.Now()
		for range 3 {
			if e := <-h.events; e.GetAlive() == nil {
				t.Fatalf("got %v, want alive", e)
			}
		}
		if took := time.Since(began); took != 3*aliveInterval {
			t.Errorf("three signs of life took %v", took)
		}
		began = time.Now()
		h.commands <- sourceStop()
		for range h.events {
		}
		if err := <-h.done; err != nil || time.Since(began) != 0 {
			t.Errorf("the stop took %v and ended with %v", time.Since(began), err)
		}
	})
}

// TestSourceErrors asserts which error the host is sent, and that it is the
// last event.
func TestSourceErrors(t *testing.T) {
	const external, internal, broken = proto.Error_CODE_EXTERNAL, proto.Error_CODE_INTERNAL, proto.Error_CODE_PROTOCOL
	tests := []struct {
		name      string
		next      func(ctx context.Context, out *Batch) error
		command   *proto.SourceCommand
		code      proto.Error_Code
		retryable bool
		want      string
	}{
		{"fails", func(_ context.Context, out *Batch) error {
			out.Append(0, nil, []byte("lost"))
			return errors.New("no network")
		}, nil, external, true, "no network"},
		{"permanent", func(context.Context, *Batch) error {
			return fmt.Errorf("page 3: %w", Permanent(errors.New("gone"), "buy it"))
		}, nil, external, false, "page 3: gone; buy it"},
		{"panics", func(context.Context, *Batch) error { panic("oops") }, nil, internal, true, "panic: oops"},
		{"no position", func(_ context.Context, out *Batch) error { out.Append(0, nil, nil); return nil }, nil, external, false, "without a position; set Batch.Position"},
		{"empty position", func(_ context.Context, out *Batch) error {
			out.Append(0, nil, nil)
			out.Position = []byte{}
			return nil
		}, nil, external, false, "without a position; set Batch.Position"},
		{"too large", func(_ context.Context, out *Batch) error {
			for range 20 {
				out.Append(0, nil, make([]byte, 100))
			}
			out.Position = []byte("p")
			return nil
		}, nil, external, false, "the host takes 1000; ask Batch.Full"},
		{"opened twice", nil, openSource(1, 1, nil), broken, false, "the host broke the plugin protocol: unexpected command *proto.SourceCommand_Open"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, &numbers{end: 1 << 30, next: tt.next}, openSource(1<<20, 1000, nil), func(t *testing.T, h *sourceHost) {
				if tt.command != nil {
					h.commands <- tt.command
				}
				var last *proto.SourceEvent
				for e := range h.events {
					if last = e; last.GetAlive() != nil || (last.GetBatch() != nil && tt.next != nil) {
						t.Fatalf("it goes on with %T", last.Event)
					}
				}
				m := last.GetError()
				if got := fmt.Sprintf("%s; %s", m.GetMessage(), m.GetMend()); m.GetCode() != tt.code || m.GetRetryable() != tt.retryable || !strings.Contains(got, tt.want) {
					t.Errorf("got %v, want %v, retryable %v, %q", m, tt.code, tt.retryable, tt.want)
				}
			})
		})
	}
}

// TestSourceRefused asserts what is said when no source can be opened.
func TestSourceRefused(t *testing.T) {
	nothing := SourceOf(func(context.Context, noSettings, SourceStart) (Source, error) { return nil, nil })
	fenced := SourceOf(func(context.Context, noSettings, SourceStart) (Source, error) {
		return nil, fmt.Errorf("table x: %w", ErrFenced)
	})
	bad := openSource(1, 1, nil)
	bad.GetOpen().ConfigJson = []byte(`{"colour": 1}`)
	tests := []struct {
		role    *SourceRole
		command *proto.SourceCommand
		code    proto.Error_Code
		want    string
	}{
		{nil, openSource(1, 1, nil), proto.Error_CODE_EXTERNAL, `connector "p" cannot be a source`},
		{nothing, sourceStop(), proto.Error_CODE_PROTOCOL, "the first command is not open"},
		{nothing, openSource(1, 1, nil), proto.Error_CODE_EXTERNAL, "opened no source, and gave no error"},
		{fenced, openSource(1, 1, nil), proto.Error_CODE_FENCED, "table x: a newer instance"},
		{nothing, bad, proto.Error_CODE_CONFIG, "colour: is no setting"},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := serve(t, quietServer(Plugin{Name: "p", Source: tt.role}).RunSource)
				h.commands <- tt.command
				m := (<-h.events).GetError()
				if m.GetCode() != tt.code || m.GetRetryable() || !strings.Contains(m.GetMessage(), tt.want) {
					t.Errorf("got %v, want %v %q", m, tt.code, tt.want)
				}
				if err := <-h.done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
