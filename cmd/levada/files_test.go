package main

import (
	"bytes"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestFewOpenFiles: more silent connections than there may be open files do not end
// the server, which says at its start that it takes fewer.
func TestFewOpenFiles(t *testing.T) {
	var stderr bytes.Buffer
	cmd := exec.Command("sh", "-c", `ulimit -n 60 && exec "$0" "$@"`, binary, "server", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--output", "json")
	cmd.Stderr = &stderr
	s := startCommand(t, cmd)
	var silent []net.Conn
	for range 100 {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
	}
	for _, c := range silent {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	mustLevada(t, "", "topic", "create", "t", "--partitions", "1", "-b", s.address)
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	if !strings.Contains(stderr.String(), "limit of open files") {
		t.Errorf("the limit is not told:\n%s", stderr.String())
	}
}

// TestConnectionsFor: half of the files are for the log.
func TestConnectionsFor(t *testing.T) {
	for files, want := range map[uint64]int{60: 30, 20_000: 10_000, 1 << 63: 1 << 30} {
		if got := connectionsFor(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
}
