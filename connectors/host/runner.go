package host

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/levada/levada/connectors/sdk"
)

// drainTime is how long after the end of a process its output is still read:
// a grandchild may hold the pipes open for ever.
const drainTime = time.Second

// firstLineBytes is how much of the first output is kept for messages.
const firstLineBytes = 256

// processRunner starts one process and owns its pipes; it is go-plugin's
// runner.Runner. The process leads a group of its own, holds the reading end
// of a pipe as its standard input and exits when the host's end is gone.
type processRunner struct {
	cmd            *exec.Cmd
	lifeline       *os.File // the writing end of the plugin's standard input
	stdout, stderr *os.File
	first          firstBytes
	done           chan struct{} // closed when the process is reaped
	err            error         // of Wait, once done is closed

	mu     sync.Mutex // guards what follows
	pid    int        // 0: not started
	killed bool       // by Kill; a process not started yet will not be
	ended  bool       // by Kill, while it ran
}

func newRunner(command Command) *processRunner {
	cmd := exec.Command(command.Path, command.Args...)
	cmd.Env = append(pluginEnv(os.Environ()), command.Env...)
	cmd.Env = append(cmd.Env, sdk.LifelineEnv+"=1")
	cmd.SysProcAttr = processAttributes()
	return &processRunner{cmd: cmd, done: make(chan struct{})}
}

// Start starts the process. One goroutine starts it and waits for it, locked
// to its thread: the kernel sends the parent-death signal when that thread
// ends, and it must not end earlier than the process.
func (r *processRunner) Start(context.Context) error {
	started := make(chan error) // unbuffered: Start waits for it
	go func() {
		goruntime.LockOSThread()
		defer goruntime.UnlockOSThread()
		err := r.start()
		started <- err
		if err == nil {
			r.wait()
		}
	}()
	return <-started
}

func (r *processRunner) start() error {
	in, lifeline, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	stdout, out, err := os.Pipe()
	if err != nil {
		return closeAll(err, lifeline)
	}
	defer out.Close()
	stderr, errOut, err := os.Pipe()
	if err != nil {
		return closeAll(err, lifeline, stdout)
	}
	defer errOut.Close()
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = in, out, errOut
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.killed {
		return closeAll(context.Canceled, lifeline, stdout, stderr)
	}
	if err := r.cmd.Start(); err != nil {
		return closeAll(err, lifeline, stdout, stderr)
	}
	r.lifeline, r.stdout, r.stderr, r.pid = lifeline, stdout, stderr, r.cmd.Process.Pid
	return nil
}

func closeAll(err error, files ...*os.File) error {
	for _, f := range files {
		_ = f.Close()
	}
	return err
}

func (r *processRunner) wait() {
	r.err = r.cmd.Wait()
	killGroup(r.cmd.Process.Pid) // what it left behind
	_ = r.lifeline.Close()
	deadline := time.Now().Add(drainTime)
	_ = r.stdout.SetReadDeadline(deadline)
	_ = r.stderr.SetReadDeadline(deadline)
	close(r.done)
}

// Wait waits for the end of the process.
func (r *processRunner) Wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Kill sends SIGKILL to the process and its children and returns when it is
// reaped. Only a process in an uninterruptible wait can delay it.
func (r *processRunner) Kill(context.Context) error {
	r.mu.Lock()
	r.killed = true
	pid := r.pid
	r.mu.Unlock()
	if pid == 0 {
		return nil
	}
	select {
	case <-r.done:
		return nil
	default:
	}
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	killGroup(pid)
	<-r.done
	return nil
}

// close releases the pipes, after all readers are done.
func (r *processRunner) close() {
	if r.stdout != nil {
		_ = closeAll(nil, r.stdout, r.stderr)
	}
}

// Stdout is read by go-plugin for the handshake.
func (r *processRunner) Stdout() io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.TeeReader(r.stdout, &r.first), r.stdout}
}

// Stderr is read by go-plugin and passed on to Config.Stderr.
func (r *processRunner) Stderr() io.ReadCloser { return r.stderr }

// Name is the program.
func (r *processRunner) Name() string { return r.cmd.Path }

// ID is the process id. It is never empty: go-plugin would not clean up.
func (r *processRunner) ID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strconv.Itoa(r.pid)
}

// Diagnose adds nothing: startError tells what is known.
func (r *processRunner) Diagnose(context.Context) string { return "" }

// PluginToHost is the identity: both share one file system.
func (r *processRunner) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin is the identity.
func (r *processRunner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// exit describes how the process ended by itself; "" if it did not.
func (r *processRunner) exit() string {
	select {
	case <-r.done:
	default:
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if status, ok := r.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		if r.ended && status.Signal() == syscall.SIGKILL {
			return ""
		}
		return fmt.Sprintf("was ended by signal %v", status.Signal())
	}
	return fmt.Sprintf("exited with status %d", r.cmd.ProcessState.ExitCode())
}

// firstBytes keeps the start of what passes through it.
type firstBytes struct {
	mu  sync.Mutex // guards buf
	buf []byte
}

func (f *firstBytes) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buf = append(f.buf, p[:min(len(p), firstLineBytes-len(f.buf))]...)
	return len(p), nil
}

func (f *firstBytes) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.buf)
}
