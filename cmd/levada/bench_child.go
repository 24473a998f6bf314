package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

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
	if f.profile != "" {
		out, err := os.Create(f.profile)
		if err != nil {
			return inputError(err)
		}
		defer out.Close()
		if err := pprof.StartCPUProfile(out); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	r, err := workload.Run(c.Context(), cfg, time.Unix(0, started))
	if err != nil {
		return err
	}
	return json.NewEncoder(c.OutOrStdout()).Encode(r)
}

// benchServer is a levada server of its own process, whose CPU counts.
type benchServer struct {
	cmd     *exec.Cmd
	address string
}

func startBenchServer(ctx context.Context, dir string) (*benchServer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "server", "--data", dir, "--listen", "127.0.0.1:0", "--output", "json")
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

// clockTick is the unit of CPU times in /proc, which Linux fixes for users.
const clockTick = 10 * time.Millisecond

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
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return usage{}, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 13 {
		return usage{}, fmt.Errorf("/proc/%d/stat has %d fields", s.cmd.Process.Pid, len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return usage{}, err
		}
		ticks += n
	}
	written, err := workload.WrittenBytes(s.cmd.Process.Pid)
	return usage{time.Duration(ticks) * clockTick, written}, err
}
