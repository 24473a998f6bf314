package host

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// playEnv makes the test binary play a plugin.
const playEnv = "LEVADA_TEST_PLAY"

func TestMain(m *testing.M) {
	if part := os.Getenv(playEnv); part != "" {
		play(part)
		return
	}
	goleak.VerifyTestMain(m)
}

// playing is the command that plays a part.
func playing(part string, env ...string) Command {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Command{Path: exe, Env: append([]string{playEnv + "=" + part}, env...)}
}

// testConfig is a connector with small limits.
func testConfig(t testing.TB, log *memLog, name, part, settings string) Config {
	return Config{
		Name: name, Command: playing(part), Settings: []byte(settings), Log: log,
		Logger:          slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
		DeadLetterTopic: "dead",
		Limits:          Limits{Start: 10 * time.Second, Hang: 5 * time.Second, Stop: 5 * time.Second, CommitInterval: 2 * time.Millisecond},
		Restart:         Restart{MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond, Budget: 1},
	}
}

// testWriter logs by t.Log.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func newSource(t testing.TB, c Config) *Source {
	t.Helper()
	s, err := NewSource(SourceConfig{Config: c, Topic: "in", Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// running runs a connector in the background; stop ends it and returns what
// Run returned.
func running(t testing.TB, run func(context.Context) error) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1) // so that the goroutine ends even if nobody asks
	go func() { done <- run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return stop
}

// eventually polls a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	ctx := bounded(t)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// bounded is a context for what must end by itself.
func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// mustFail runs a connector that fails for good.
func mustFail(t *testing.T, run func(context.Context) error) *Error {
	t.Helper()
	err := run(bounded(t))
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v, want an *Error", err)
	}
	return e
}
