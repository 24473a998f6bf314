package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/levada/levada/bench/brokerload"
	"github.com/levada/levada/bench/workload"
)

// benchChild is the measured process: it runs the topology and prints what it
// measured of itself.
func (a *app) benchChild(c *cobra.Command, name string, f *benchFlags) error {
	started, err := strconv.ParseInt(f.childOf, 10, 64)
	if err != nil {
		return inputError(fmt.Errorf("--child %q: %w", f.childOf, err))
	}
	cfg, err := f.config(a, name)
	if err != nil {
		return err
	}
	stopProfile, err := profileTo(f.profile)
	if err != nil {
		return err
	}
	defer stopProfile()
	r, err := workload.Run(c.Context(), cfg, time.Unix(0, started))
	if err != nil {
		return err
	}
	return json.NewEncoder(c.OutOrStdout()).Encode(r)
}

// profileTo begins a CPU profile if there is a file for it.
func profileTo(file string) (stop func(), err error) {
	if file == "" {
		return func() {}, nil
	}
	out, err := os.Create(file)
	if err != nil {
		return nil, inputError(unreadable("--cpuprofile", file, err))
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = out.Close() // a profile that is cut short says so when it is read
	}, nil
}

// benchServer is a levada server of its own process, whose CPU counts.
type benchServer struct {
	cmd     *exec.Cmd
	address string
}

func startBenchServer(ctx context.Context, dir string, more ...string) (*benchServer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"server", "--data", dir, "--listen", "127.0.0.1:0", "--output", "json"}
	cmd := exec.CommandContext(ctx, self, append(args, more...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &benchServer{cmd: cmd}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("the server did not start: %w", err)
	}
	var said struct{ Listening string }
	if err := json.Unmarshal(line, &said); err != nil {
		s.stop()
		return nil, fmt.Errorf("the server said %q: %w", line, err)
	}
	s.address = said.Listening
	return s, nil
}

func (s *benchServer) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait() // its work is over, however it ends
}

// usage is what a process has used so far.
type usage struct {
	cpu     time.Duration
	written int64 // bytes, to storage
}

// used is what the server has used; nothing without a server.
func (s *benchServer) used() (usage, error) {
	if s == nil {
		return usage{}, nil
	}
	u, err := brokerload.UsageOf(s.cmd.Process.Pid)
	if err != nil {
		return usage{}, err
	}
	written, err := workload.WrittenBytes(s.cmd.Process.Pid)
	return usage{u.CPU, written}, err
}
