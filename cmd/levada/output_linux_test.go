package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTerminalsGetTables: a person at a terminal is shown a table, a program that reads
// a pipe JSON, and who says -o what it says.
func TestTerminalsGetTables(t *testing.T) {
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	t.Setenv("LEVADA_PROFILES", filepath.Join(t.TempDir(), "profiles.json"))
	mustLevada(t, "", "profile", "set", "here", "-X", "brokers="+s.address)
	mustLevada(t, "", "topic", "create", "orders", "-p", "1")
	mustLevada(t, "v\n", "topic", "produce", "orders", "-f", "%v")
	for _, c := range []struct{ args, terminal, pipe string }{
		{"topic list", "TOPIC   PARTITIONS  REPLICAS\n", `{"topics":[`},
		{"topic describe orders", "topic orders  id ", `{"topics":[`},
		{"group list", "no groups\n", `{"groups":[]}`},
		{"cluster info", "BROKER OF ", `{"brokers":[`},
		{"profile list", "PROFILE  CURRENT  BROKERS", `{"profiles":[`},
		{"topic list -o json", `{"topics":[`, `{"topics":[`},
		{"topic list -o table", "TOPIC   PARTITIONS", "TOPIC   PARTITIONS"},
		{"topic consume orders", `{"topic":"orders"`, `{"topic":"orders"`}, // records are no table
		{"version", "VERSION", "VERSION"},                                  // is about no cluster
	} {
		args := strings.Fields(c.args)
		if got := onTerminal(t, args...); !strings.HasPrefix(got, c.terminal) {
			t.Errorf("%s on a terminal: no %q in\n%s", c.args, c.terminal, got)
		}
		if got := mustLevada(t, "", args...); !strings.HasPrefix(got, c.pipe) {
			t.Errorf("%s in a pipe: no %q in\n%s", c.args, c.pipe, got)
		}
	}
}

// onTerminal is what a command shows on one, which must be little: nobody reads meanwhile.
func onTerminal(t *testing.T, args ...string) string {
	t.Helper()
	screen, tty := terminal(t)
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = tty, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("levada %s: %v", strings.Join(args, " "), err)
	}
	const end = 4
	if _, err := tty.Write([]byte{end}); err != nil {
		t.Fatal(err)
	}
	shown, err := bufio.NewReader(screen).ReadString(end)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(shown, "\r\n", "\n")
}
