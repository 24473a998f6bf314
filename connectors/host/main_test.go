package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/levada/levada/connectors/file"
	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/connectors/sdk"
	"github.com/levada/levada/connectors/sqlite"
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

// play is a plugin process, good or bad.
func play(part string) {
	switch part {
	case "file":
		sdk.Serve(file.Plugin("test"))
	case "sqlite":
		sdk.Serve(sqlite.Plugin("test"))
	case "dies":
		fmt.Fprintln(os.Stderr, "loading")
		fmt.Fprintln(os.Stderr, "cannot find the licence")
		os.Exit(3)
	case "garbage":
		fmt.Println("hello, I am no plugin")
		wait()
	case "flood":
		line := strings.Repeat("x", 1000)
		for {
			if _, err := fmt.Println(line); err != nil {
				return
			}
		}
	case "longline":
		for {
			if _, err := os.Stdout.WriteString(strings.Repeat("x", 1<<16)); err != nil {
				return
			}
		}
	case "mute":
		wait()
	case "version":
		h := sdk.Handshake()
		h.ProtocolVersion = 99
		goplugin.Serve(&goplugin.ServeConfig{
			HandshakeConfig: h, GRPCServer: goplugin.DefaultGRPCServer,
			Plugins: goplugin.PluginSet{proto.PluginName: &sdk.Endpoint{}},
		})
	default:
		playSource(part)
	}
}

// wait waits for the lifeline to break, or for a signal.
func wait() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
}

// playSource serves sources that misbehave after a good start.
func playSource(part string) {
	type settings struct{}
	serve := func(next func(ctx context.Context, n int, out *sdk.Batch) error) {
		sdk.Serve(sdk.Plugin{Name: part, Source: sdk.SourceOf(func(_ context.Context, _ settings, start sdk.SourceStart) (sdk.Source, error) {
			s := &scripted{next: next}
			if start.Position != nil {
				s.n = 1
			}
			return s, nil
		})})
	}
	switch part {
	case "hangs":
		serve(func(_ context.Context, n int, out *sdk.Batch) error {
			if n > 0 {
				wait()
			}
			out.Append(0, nil, []byte("one"))
			out.Position = []byte("1")
			return nil
		})
	case "panics":
		serve(func(context.Context, int, *sdk.Batch) error { panic("index out of reach") })
	case "crashes":
		serve(func(context.Context, int, *sdk.Batch) error {
			go func() { panic("in another goroutine") }()
			wait()
			return nil
		})
	case "environment":
		serve(func(_ context.Context, _ int, out *sdk.Batch) error {
			out.Append(0, nil, []byte(strings.Join(os.Environ(), "\n")))
			out.Position = []byte("1")
			return io.EOF
		})
	case "greedy", "large": // ignore their credit, and the size of a batch
		size := 1 << 18
		if part == "large" {
			size = 2 << 20
		}
		goplugin.Serve(&goplugin.ServeConfig{
			HandshakeConfig: sdk.Handshake(), GRPCServer: goplugin.DefaultGRPCServer,
			Plugins: goplugin.PluginSet{proto.PluginName: greedyEndpoint{size: size}},
		})
	default:
		panic("unknown part " + part)
	}
}

type scripted struct {
	n    int
	next func(ctx context.Context, n int, out *sdk.Batch) error
}

func (s *scripted) Next(ctx context.Context, out *sdk.Batch) error {
	s.n++
	return s.next(ctx, s.n-1, out)
}
func (s *scripted) Close() error { return nil }

type greedyEndpoint struct {
	goplugin.NetRPCUnsupportedPlugin
	size int
}

func (g greedyEndpoint) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	proto.RegisterConnectorServer(s, greedy{size: g.size})
	return nil
}

func (greedyEndpoint) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("not a client")
}

// greedy sends as fast as it can, without end.
type greedy struct {
	proto.UnimplementedConnectorServer
	size int
}

func (g greedy) RunSource(s grpc.BidiStreamingServer[proto.SourceCommand, proto.SourceEvent]) error {
	batch := &proto.SourceBatch{Position: []byte("p"), Errors: []*proto.ErrorRecord{{Value: make([]byte, g.size)}}}
	for {
		if err := s.Send(&proto.SourceEvent{Event: &proto.SourceEvent_Batch{Batch: batch}}); err != nil {
			return err
		}
	}
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
		Limits:          Limits{Start: 10 * time.Second, Hang: 3 * time.Second, Stop: 3 * time.Second, CommitInterval: 5 * time.Millisecond},
		Restart:         Restart{MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond, Budget: 3},
	}
}

// testWriter logs only while the test fails or is verbose, by t.Log.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// eventually polls a condition, at most 15 s.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		<-tick.C
	}
}

// running runs a connector in the background; stop ends it and returns what
// Run returned.
func running(t testing.TB, run func(context.Context) error) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1) // the result, whether or not anybody asks
	go func() { done <- run(ctx) }()
	stopped := false
	var result error
	stop = func() error {
		cancel()
		if !stopped {
			stopped = true
			result = <-done
		}
		return result
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

// mustFail runs a connector that fails for good.
func mustFail(t *testing.T, run func(context.Context) error) *Error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := run(ctx)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v, want an *Error", err)
	}
	return e
}
