package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/connectors/sdk"
)

// windowBytes is how much HTTP/2 lets pile up unread, beside the credit.
const windowBytes = 1 << 20

// process is one running plugin.
type process struct {
	proto.ConnectorClient
	client *goplugin.Client
	runner *processRunner
	output *output
}

// pluginEnv keeps of the environment what a program needs to run at all:
// secrets of the host stay with the host.
func pluginEnv(environ []string) []string {
	var out []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case name == "PATH", name == "HOME", name == "TMPDIR", name == "TZ", name == "LANG", strings.HasPrefix(name, "LC_"),
			name == "SSL_CERT_FILE", name == "SSL_CERT_DIR", name == "USER":
			out = append(out, kv)
		}
	}
	return out
}

func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// startProcess starts the plugin and shakes hands. It is bounded by
// Limits.Start; on an error nothing is left running.
func startProcess(ctx context.Context, c *Config) (*process, error) {
	p := &process{output: &output{logger: c.Logger}, runner: newRunner(c.Command)}
	p.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  sdk.Handshake(),
		Plugins:          goplugin.PluginSet{proto.PluginName: &sdk.Endpoint{}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     2 * c.Limits.Start, // connect is stricter
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Off}),
		Stderr:           p.output.writer(),
		SyncStderr:       p.output.writer(),
		SyncStdout:       p.output.writer(),
		UnixSocketConfig: &goplugin.UnixSocketConfig{},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			p.runner.cmd.Env = append(p.runner.cmd.Env, cmd.Env...)
			return p.runner, nil
		},
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(proto.MaxMessageBytes), grpc.MaxCallSendMsgSize(proto.MaxMessageBytes)),
			grpc.WithInitialWindowSize(windowBytes), grpc.WithInitialConnWindowSize(windowBytes),
		},
	})
	if err := p.connect(ctx, c); err != nil {
		p.kill()
		return nil, p.startError(c, err)
	}
	return p, nil
}

// connect waits for the handshake. go-plugin bounds only a part of it; whoever
// is late is killed, which ends the rest.
func (p *process) connect(ctx context.Context, c *Config) error {
	type result struct {
		client any
		err    error
	}
	done := make(chan result, 1) // so that the goroutine ends even if nobody looks
	go func() {
		client, err := p.dispense()
		done <- result{client, err}
	}()
	timer := time.NewTimer(c.Limits.Start)
	defer timer.Stop()
	var cause error
	select {
	case r := <-done:
		if r.err == nil {
			p.ConnectorClient = r.client.(proto.ConnectorClient)
		}
		return r.err
	case <-timer.C:
		cause = fmt.Errorf("it did not answer within %v", c.Limits.Start)
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	_ = p.runner.Kill(ctx) // go-plugin notices and gives up
	<-done
	return cause
}

func (p *process) dispense() (any, error) {
	client, err := p.client.Client()
	if err != nil {
		return nil, err
	}
	return client.Dispense(proto.PluginName)
}

// startError says in plain words why a plugin did not start.
func (p *process) startError(c *Config, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	path := c.Command.Path
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrPermission) {
		return c.refuse("start", "install the connector, or correct the path", fmt.Errorf("%s cannot be run: %w", path, err))
	}
	e := c.fail("start", err)
	e.Output = p.output.tail()
	line, _, _ := strings.Cut(p.runner.first.String(), "\n")
	fields := strings.Split(line, "|")
	switch {
	case line != "" && (len(fields) < 4 || fields[0] != fmt.Sprint(goplugin.CoreProtocolVersion)):
		e.Err, e.Retryable = fmt.Errorf("%s is no connector of Levada: it printed %q", path, line), false
		e.Mend = "name a program that serves the plugin protocol, and print nothing to standard output"
	case line != "" && fields[1] != fmt.Sprint(proto.Version):
		e.Err, e.Retryable = fmt.Errorf("%s speaks version %s of the plugin protocol, this host speaks %d", path, fields[1], proto.Version), false
		e.Mend = "build the connector with the sdk of this release"
	case line == "" && p.runner.exit() != "":
		e.Err = fmt.Errorf("%s %s before it was ready", path, p.runner.exit())
	}
	return e
}

// kill ends the process and everything go-plugin keeps of it. It may be called
// again.
func (p *process) kill() {
	_ = p.runner.Kill(context.Background())
	p.client.Kill()
	p.runner.close()
}

// lastWords kills the process and adds to an error what it printed last: an
// event may arrive before the lines that were printed before it.
func (p *process) lastWords(e *Error) *Error {
	p.kill()
	e.Output = p.output.tail()
	return e
}

// explain adds to an error of a stream how the process ended and what it
// printed last.
func (p *process) explain(c *Config, stage string, err error) *Error {
	timer := time.NewTimer(drainTime)
	defer timer.Stop()
	select {
	case <-p.runner.done: // the stream breaks a moment before the process is reaped
	case <-timer.C:
	}
	p.kill() // and so all it printed has been read
	if how := p.runner.exit(); how != "" {
		err = fmt.Errorf("the plugin %s", how)
	}
	return p.lastWords(c.fail(stage, err))
}
