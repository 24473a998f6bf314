package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/levada/levada/connectors/file"
	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/connectors/sdk"
	"github.com/levada/levada/connectors/sqlite"
)

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
		untilHostGone()
	case "flood":
		repeat(strings.Repeat("x", 1000) + "\n")
	case "longline":
		repeat(strings.Repeat("x", 1<<16))
	case "mute":
		untilHostGone()
	case "version":
		h := sdk.Handshake()
		h.ProtocolVersion = 99
		serveRaw(h, proto.UnimplementedConnectorServer{})
	case "huge":
		serveRaw(sdk.Handshake(), rawSource{batch: &proto.SourceBatch{Position: []byte("p"), Records: make([]byte, proto.MaxMessageBytes)}})
	default:
		if raw, ok := rawParts[part]; ok {
			serveRaw(sdk.Handshake(), raw)
			return
		}
		playSource(part)
	}
}

// repeat prints without end, until nobody reads.
func repeat(text string) {
	for {
		if _, err := os.Stdout.WriteString(text); err != nil {
			return
		}
	}
}

// untilHostGone waits for the end of the lifeline.
func untilHostGone() { _, _ = io.Copy(io.Discard, os.Stdin) }

// playSource serves sources of the sdk that misbehave after a good start.
func playSource(part string) {
	type settings struct{}
	next, ok := map[string]func(s *scripted, out *sdk.Batch) error{
		"hangs": func(s *scripted, out *sdk.Batch) error {
			if s.start.Position != nil {
				untilKilled()
			}
			out.Append(0, nil, []byte("one"))
			out.Position, s.start.Position = []byte("1"), []byte("1")
			return nil
		},
		"panics": func(*scripted, *sdk.Batch) error { panic("index out of reach") },
		"crashes": func(*scripted, *sdk.Batch) error {
			fmt.Fprintln(os.Stderr, "about to crash")
			go func() { panic("in another goroutine") }()
			untilKilled()
			return nil
		},
		"suicide": func(*scripted, *sdk.Batch) error {
			fmt.Fprintln(os.Stderr, "farewell")
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		},
		"prints": func(_ *scripted, out *sdk.Batch) error {
			fmt.Println("this went to standard output")
			out.Append(0, nil, []byte("one"))
			out.Position = []byte("1")
			return sdk.Permanent(errors.New("no more paper"), "buy some")
		},
		"environment": func(_ *scripted, out *sdk.Batch) error {
			out.Append(0, nil, []byte(strings.Join(os.Environ(), "\n")))
			out.Position = []byte("1")
			return io.EOF
		},
	}[part]
	if !ok {
		panic("unknown part " + part)
	}
	sdk.Serve(sdk.Plugin{Name: part, Source: sdk.SourceOf(func(_ context.Context, _ settings, start sdk.SourceStart) (sdk.Source, error) {
		return &scripted{start: start, next: next}, nil
	})})
}

func untilKilled() { select {} }

type scripted struct {
	start sdk.SourceStart
	next  func(s *scripted, out *sdk.Batch) error
}

func (s *scripted) Next(_ context.Context, out *sdk.Batch) error { return s.next(s, out) }
func (s *scripted) Close() error                                 { return nil }

// serveRaw serves the protocol without the sdk.
func serveRaw(h goplugin.HandshakeConfig, s proto.ConnectorServer) {
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: h, GRPCServer: goplugin.DefaultGRPCServer,
		Plugins: goplugin.PluginSet{proto.PluginName: rawEndpoint{server: s}},
	})
}

type rawEndpoint struct {
	goplugin.NetRPCUnsupportedPlugin
	server proto.ConnectorServer
}

func (e rawEndpoint) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	proto.RegisterConnectorServer(s, e.server)
	return nil
}

func (rawEndpoint) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("not a client")
}
