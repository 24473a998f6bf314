package host

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

// TestBadPlugins asserts that a plugin that cannot be worked with is told in
// plain words, in bounded time, and that nothing of it is left.
func TestBadPlugins(t *testing.T) {
	const twice, once = 2, 1 // starts: a failure that may pass is tried again
	tests := []struct {
		part   string
		limits Limits
		starts int64
		want   []string
	}{
		{part: "dies", starts: twice, want: []string{"exited with status 3 before it was ready", "loading\n  cannot find the licence", "gave up after 2 starts"}},
		{part: "garbage", starts: once, want: []string{"is no connector of Levada", `"hello, I am no plugin"`, "serves the plugin protocol"}},
		{part: "flood", starts: once, want: []string{"is no connector of Levada"}},
		{part: "longline", limits: Limits{Start: 2 * time.Second}, starts: once, want: []string{"is no connector of Levada"}},
		{part: "mute", limits: Limits{Start: 300 * time.Millisecond}, starts: twice, want: []string{"did not answer within 300ms", "gave up after 2 starts"}},
		{part: "version", starts: once, want: []string{"speaks version 99 of the plugin protocol, this host speaks 1", "build the connector"}},
		{part: "panics", starts: twice, want: []string{"panic: index out of reach"}},
		{part: "crashes", starts: twice, want: []string{"exited with status 2", "about to crash", "panic: in another goroutine"}},
		{part: "suicide", starts: twice, want: []string{"the plugin was ended by signal killed", "farewell"}},
		{part: "prints", starts: once, want: []string{"no more paper; buy some", "this went to standard output"}},
		// The first life makes progress, which begins the count of failures anew.
		{part: "hangs", limits: Limits{Hang: 500 * time.Millisecond}, starts: twice, want: []string{"hangs: it said nothing for 500ms, and was killed", "gave up after 2 starts"}},
		{part: "greedy", limits: Limits{InFlightBytes: greedyBatchBytes / 2}, starts: once, want: []string{"ignores its credit: of 524288 bytes none was left", "a batch of 1048640 bytes more", "mend the connector", os.Args[0]}},
	}
	for _, tt := range tests {
		t.Run(tt.part, func(t *testing.T) {
			t.Parallel()
			c := testConfig(t, newMemLog(), "bad", tt.part, `{}`)
			orDefault(&tt.limits.Start, c.Limits.Start)
			orDefault(&tt.limits.Hang, c.Limits.Hang)
			c.Limits = tt.limits
			s := newSource(t, c)
			got := mustFail(t, s.Run).Error()
			for _, w := range append(tt.want, "connector bad: ") {
				if !strings.Contains(got, w) {
					t.Errorf("the error lacks %q:\n%s", w, got)
				}
			}
			if len(got) > 20_000 {
				t.Errorf("the error has %d bytes", len(got))
			}
			if st := s.Status(); st.State != Failed || st.PID != 0 || st.Starts != tt.starts {
				t.Errorf("the status is %+v, want failed after %d starts", st, tt.starts)
			}
		})
	}
}

// TestBadRecords asserts that what cannot go into the log is refused at once.
func TestBadRecords(t *testing.T) {
	for part, want := range map[string]string{
		"compressed": "the batch is compressed, which the plugin protocol does not allow",
		"control":    "the batch claims to be part of a transaction",
		"torn":       "bytes end inside the batch",
		"headers":    "headers: recordbatch: corrupt",
		"huge":       "sent a message larger than 33554432 bytes",
		"nowhere":    "a batch without a position",
	} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			log := newMemLog()
			s := newSource(t, testConfig(t, log, "bad", part, `{}`))
			if e := mustFail(t, s.Run); !strings.Contains(e.Error(), want) || e.Stage != "read" || e.Mend == "" {
				t.Errorf("got %v, want %q with a mend", e, want)
			}
			if st := s.Status(); st.Starts != 1 || len(log.all("in")) != 0 {
				t.Errorf("%d starts, %d records in the log", st.Starts, len(log.all("in")))
			}
		})
	}
}

// TestBadSinks asserts that a sink which tells what cannot be is refused, and
// that one which does not read cannot hold up the host.
func TestBadSinks(t *testing.T) {
	for part, want := range map[string]string{
		"early":   "says that rows/0 is durable up to offset 1, but it was sent nothing",
		"boasts":  "says that rows/0 is durable up to offset 11, but it was sent nothing from offset",
		"others":  "says that elsewhere/0 is durable up to offset 1, but it was sent nothing",
		"rejects": "does not read what it is sent: 32768 commands wait",
	} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			log := newMemLog()
			log.create("rows", 1)
			for range 10 {
				log.produce(logclient.TopicPartition{Topic: "rows"}, recordbatch.Record{Value: []byte("v")})
			}
			s, err := NewSink(SinkConfig{Config: testConfig(t, log, "bad", part, `{}`), Topics: []string{"rows"}})
			if err != nil {
				t.Fatal(err)
			}
			if e := mustFail(t, s.Run); !strings.Contains(e.Error(), want) {
				t.Errorf("got %v, want %q", e, want)
			}
		})
	}
}

// TestDeafSource asserts that a plugin which reads no command, and always has
// an event ready, holds up neither the commits nor the stop.
func TestDeafSource(t *testing.T) {
	t.Parallel()
	log := newMemLog()
	c := testConfig(t, log, "bad", "deaf", `{}`)
	c.Limits.Stop = 200 * time.Millisecond
	s := newSource(t, c)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	const commits = 30 // far more than the windows of HTTP/2 hold
	eventually(t, "the commits", func() bool { return log.taken() > commits*deafPositionBytes })
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-bounded(t).Done():
		t.Fatal("the host did not stop")
	}
}

// TestGreedyIsBounded asserts, with a real process and a host that takes
// nothing in, that the credit and one batch is all that is ever held.
func TestGreedyIsBounded(t *testing.T) {
	const credit = 4 << 20
	c := testConfig(t, newMemLog(), "bad", "greedy", `{}`)
	c.Limits.InFlightBytes = credit
	c, err := c.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	p, err := startProcess(t.Context(), &c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	stream, err := p.RunSource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in := newInbox(&c)
	in.fill(bounded(t), stream.Recv)
	held := in.held
	events, bytes, err := drain(in)
	if _, ok := errors.AsType[*Error](err); !ok {
		t.Errorf("the inbox ended with %v, want an *Error", err)
	}
	if events != 4 || bytes < credit || bytes > credit+2*greedyBatchBytes || held > credit+2*greedyBatchBytes {
		t.Errorf("%d batches with %d bytes were taken in, %d bytes held", events, bytes, held)
	}
}

func TestMissingProgram(t *testing.T) {
	c := testConfig(t, newMemLog(), "bad", "file", `{}`)
	c.Command = Command{Path: "/nowhere/connector"}
	if got := mustFail(t, newSource(t, c).Run).Error(); !strings.Contains(got, "/nowhere/connector cannot be run") {
		t.Error(got)
	}
}

func TestBadSettings(t *testing.T) {
	s := newSource(t, testConfig(t, newMemLog(), "bad", "file", `{"format": "csv"}`))
	e := mustFail(t, s.Run)
	for _, w := range []string{"path: is not set", `format: "csv" is not known; write one of jsonl, text`} {
		if !strings.Contains(e.Error(), w) {
			t.Errorf("the error lacks %q: %v", w, e)
		}
	}
	if s.Status().Starts != 1 {
		t.Errorf("bad settings were tried %d times", s.Status().Starts)
	}
}

// TestScrubbedEnvironment asserts that secrets of the host do not reach a
// plugin.
func TestScrubbedEnvironment(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hidden")
	log := newMemLog()
	c := testConfig(t, log, "env", "environment", `{}`)
	c.Command = playing("environment", "GIVEN=1")
	// A finite source ends by itself, also under a context that never does.
	if err := newSource(t, c).Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	records := log.all("in")
	if len(records) != 1 {
		t.Fatalf("got %d records", len(records))
	}
	if got := string(records[0].Value); strings.Contains(got, "hidden") || !strings.Contains(got, "GIVEN=1") || !strings.Contains(got, "PATH=") {
		t.Errorf("the plugin's environment is\n%s", got)
	}
}

// TestNoOrphan asserts that a plugin whose host is gone exits by itself.
func TestNoOrphan(t *testing.T) {
	r := newRunner(playing("file", proto.CookieKey+"="+proto.CookieValue))
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Kill(context.Background()); r.close() }()
	_ = r.lifeline.Close() // as the kernel does when the host dies
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.Wait(ctx); err == nil || ctx.Err() != nil {
		t.Fatalf("the plugin did not exit when its lifeline broke: %v", err)
	}
}
