package sdk

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/levada/levada/connectors/proto"
)

// LifelineEnv is set by a host that holds the other end of the plugin's
// standard input open for as long as it lives.
const LifelineEnv = "LEVADA_PLUGIN_LIFELINE"

// Serve runs the plugin until the host ends it, and does not return before.
// It is the last call of main. When the host dies, however it dies, the
// process exits: nobody would stop it otherwise.
//
// Standard output belongs to the protocol. Log to os.Stderr, or with the
// Logger of this package; the host passes it on.
func Serve(p Plugin) {
	stderr := os.Stderr
	if os.Getenv(LifelineEnv) != "" {
		go exitWithParent(os.Stdin)
	}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: Handshake(),
		Plugins:         goplugin.PluginSet{proto.PluginName: &Endpoint{server: newServer(p, Logger(stderr))}},
		GRPCServer:      func(opts []grpc.ServerOption) *grpc.Server { return newGRPCServer(append(opts, keepOutput(stderr)...)) },
		Logger:          hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: stderr, JSONFormat: true}),
	})
}

// keepOutput points standard output and error at the process's own standard
// error, before the first call is served. go-plugin has put pipes in their
// place by then, whose content goes to the host by gRPC: what a connector says
// just before it crashes would be lost.
func keepOutput(stderr *os.File) []grpc.ServerOption {
	keep := sync.OnceFunc(func() { os.Stdout, os.Stderr = stderr, stderr })
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			keep()
			return handle(ctx, request)
		}),
		grpc.ChainStreamInterceptor(func(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			keep()
			return handle(service, stream)
		}),
	}
}

// Logger writes lines that the host understands: it logs them again with
// their level.
func Logger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// exitWithParent ends the process when the host's end of the pipe is gone.
// The host writes nothing into it.
func exitWithParent(lifeline io.Reader) {
	_, _ = io.Copy(io.Discard, lifeline)
	os.Exit(1)
}

// Handshake is what plugin and host agree on before anything else.
func Handshake() goplugin.HandshakeConfig {
	return goplugin.HandshakeConfig{
		ProtocolVersion: proto.Version, MagicCookieKey: proto.CookieKey, MagicCookieValue: proto.CookieValue,
	}
}

func newGRPCServer(opts []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(
		opts,
		grpc.MaxRecvMsgSize(proto.MaxMessageBytes),
		grpc.MaxSendMsgSize(proto.MaxMessageBytes),
		grpc.InitialWindowSize(windowBytes),
		grpc.InitialConnWindowSize(windowBytes),
	)...)
}

// windowBytes is how much HTTP/2 lets pile up unread on a stream, beside the
// credit of the protocol.
const windowBytes = 1 << 20

// Endpoint joins the protocol to go-plugin, on both sides.
type Endpoint struct {
	goplugin.NetRPCUnsupportedPlugin
	server proto.ConnectorServer
}

// GRPCServer registers the connector; go-plugin calls it in the plugin.
func (e *Endpoint) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	proto.RegisterConnectorServer(s, e.server)
	return nil
}

// GRPCClient makes the client; go-plugin calls it in the host.
func (e *Endpoint) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return proto.NewConnectorClient(conn), nil
}

// NewServer makes the service of a plugin without a process around it, for
// tests such as connectortest.
func NewServer(p Plugin) proto.ConnectorServer {
	return newServer(p, slog.New(slog.DiscardHandler))
}

type server struct {
	proto.UnimplementedConnectorServer
	plugin Plugin
	logger *slog.Logger
}

func newServer(p Plugin, logger *slog.Logger) *server {
	return &server{plugin: p, logger: logger}
}

// Describe tells what the plugin is.
func (s *server) Describe(context.Context, *proto.DescribeRequest) (*proto.DescribeResponse, error) {
	return s.plugin.describe(), nil
}

// Validate checks a configuration.
func (s *server) Validate(_ context.Context, r *proto.ValidateRequest) (*proto.ValidateResponse, error) {
	var faults []Fault
	switch {
	case r.Kind == proto.Kind_KIND_SOURCE && s.plugin.Source != nil:
		faults = s.plugin.Source.validate(r.ConfigJson)
	case r.Kind == proto.Kind_KIND_SINK && s.plugin.Sink != nil:
		faults = s.plugin.Sink.validate(r.ConfigJson)
	default:
		faults = []Fault{{Message: noRole(s.plugin.Name, r.Kind).Error()}}
	}
	return &proto.ValidateResponse{Faults: faultMessages(faults)}, nil
}

func noRole(plugin string, kind proto.Kind) error {
	if kind == proto.Kind_KIND_SINK {
		return Permanent(fmt.Errorf("connector %q cannot be a sink", plugin), "use it under sources, or take another connector")
	}
	return Permanent(fmt.Errorf("connector %q cannot be a source", plugin), "use it under sinks, or take another connector")
}

// guard runs the author's code and turns a panic into an error; the stack goes
// to the log.
func (s *server) guard(call func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.logger.Error("the connector panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = &panicError{v}
		}
	}()
	return call()
}
