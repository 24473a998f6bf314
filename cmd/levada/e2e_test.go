package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// binary is the program under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "levada-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "levada")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Stderr = os.Stderr
	code := 1
	if err := build.Run(); err == nil {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// needsE2E skips tests that start many processes unless they are asked for.
func needsE2E(t *testing.T) {
	t.Helper()
	if os.Getenv("LEVADA_E2E") == "" {
		t.Skip("starts and kills real processes for a long time: run it with make e2e")
	}
}

// outcome is what a command did.
type outcome struct {
	code           int
	stdout, stderr string
}

// levada runs the binary to its end.
func levada(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Args[0] = "levada" // as where it is in the PATH
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("levada %s: %v", strings.Join(args, " "), err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// mustLevada runs a command that must succeed and returns its output.
func mustLevada(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out := levada(t, stdin, args...)
	if out.code != 0 {
		t.Fatalf("levada %s: exit %d\n%s%s", strings.Join(args, " "), out.code, out.stdout, out.stderr)
	}
	return out.stdout
}

// server is a levada server process.
type server struct {
	t         *testing.T
	cmd       *exec.Cmd
	dir       string
	address   string
	listeners []string // all of them, with their schemes
}

// startServer starts a broker on dir; address "127.0.0.1:0" takes a free port.
func startServer(t *testing.T, dir, address string) *server {
	t.Helper()
	cmd := exec.Command(binary, "server", "--data", dir, "--listen", address, "--output", "json")
	cmd.Stderr = os.Stderr
	s := startCommand(t, cmd)
	s.dir = dir
	return s
}

// startCommand starts a command that ends up as a server, which prints where it
// listens.
func startCommand(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, cmd: cmd}
	t.Cleanup(func() { s.signal(syscall.SIGKILL) })
	reader := bufio.NewReader(out)
	line, err := reader.ReadBytes('\n')
	if err != nil {
		t.Fatalf("the server did not say where it listens: %v", err)
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	var said struct {
		Listening string
		Listeners []string
	}
	if err := json.Unmarshal(line, &said); err != nil || said.Listening == "" {
		t.Fatalf("the server said %q: %v", line, err)
	}
	s.address, s.listeners = said.Listening, said.Listeners
	return s
}

// signal ends the server and waits for it.
func (s *server) signal(sig syscall.Signal) error {
	if s.cmd.ProcessState != nil {
		return nil
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		return err
	}
	return s.cmd.Wait()
}
