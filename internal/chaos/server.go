package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startTimeout is how long a start may take, with what has to be recovered.
const startTimeout = 30 * time.Second

// server is the process under test. It is owned by one goroutine.
type server struct {
	binary    string
	env       []string
	data      string
	address   string // where it listens; port 0 until it was started once
	advertise string // what its clients are told
	log       *os.File
	cmd       *exec.Cmd
	exited    chan struct{} // closed when cmd has ended

	mu       sync.Mutex  // guards what follows, which the goroutine that waits reads
	expected bool        // it was told to end
	died     func(error) // told when it was not
}

// start starts the process and waits until it listens.
func (s *server) start() error {
	cmd := exec.Command(s.binary, "server", "--data", s.data, "--listen", s.address+"="+s.advertise, "--output", "json", "--default-partitions", "3")
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Stderr = s.log
	// It must not outlive whoever tests it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.exited = cmd, make(chan struct{})
	s.setExpected(false)
	said := make(chan string, 1) // one line, so that its sender never waits
	go func() {
		reader := bufio.NewReader(out)
		line, _ := reader.ReadString('\n')
		said <- line
		_, _ = io.Copy(io.Discard, reader)
	}()
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case line := <-said:
		go s.wait(cmd, s.exited)
		var told struct{ Listening string }
		if err := json.Unmarshal([]byte(line), &told); err != nil || told.Listening == "" {
			s.setExpected(true)
			<-s.exited
			return fmt.Errorf("the server ended at its start, with %v; it said %q", cmd.ProcessState, line)
		}
		s.address = told.Listening
		return nil
	case <-timeout.C:
		go s.wait(cmd, s.exited)
		_ = s.end(syscall.SIGKILL)
		return fmt.Errorf("the server did not listen within %v", startTimeout)
	}
}

func (s *server) wait(cmd *exec.Cmd, exited chan struct{}) {
	err := cmd.Wait()
	s.mu.Lock()
	expected, died := s.expected, s.died
	s.mu.Unlock()
	close(exited)
	if !expected {
		died(fmt.Errorf("the server ended by itself: %v (%v)", cmd.ProcessState, err))
	}
}

func (s *server) setExpected(is bool) {
	s.mu.Lock()
	s.expected = is
	s.mu.Unlock()
}

func (s *server) setDied(f func(error)) {
	s.mu.Lock()
	s.died = f
	s.mu.Unlock()
}

// alive says that the process has not ended.
func (s *server) alive() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// signal sends a signal that does not end the process.
func (s *server) signal(sig syscall.Signal) error { return s.cmd.Process.Signal(sig) }

// freeze stops the process and waits until none of its threads can run: each is
// stopped, or in the kernel, waiting for a disk, and will be stopped there.
func (s *server) freeze(ctx context.Context) error {
	if err := s.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.cmd.Process.Pid))
		if err != nil {
			return err
		}
		running := 0
		for _, path := range stats {
			stat, err := os.ReadFile(path)
			if err != nil {
				continue // the thread has ended
			}
			_, state, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
			if !strings.ContainsAny(state[:1], "TtDZX") {
				running++
			}
		}
		if running == 0 {
			return nil
		}
		if !tick(ctx, time.Millisecond) {
			return fmt.Errorf("the server did not stop: %d threads run", running)
		}
	}
}

// end ends the process and waits for it; one that does not end is killed, and
// that is an error.
func (s *server) end(sig syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	s.setExpected(true)
	if !s.alive() {
		return nil
	}
	_ = s.cmd.Process.Signal(sig) // it may have ended meanwhile
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-s.exited:
		return nil
	case <-timeout.C:
		_ = s.cmd.Process.Kill()
		<-s.exited
		return fmt.Errorf("the server did not end within %v of signal %v", startTimeout, sig)
	}
}
