package main

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/levada/levada/runtime/launch"
)

// build builds a program of this module.
func build(t *testing.T, pkg string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if out, err := exec.Command("go", "build", "-o", binary, pkg).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return binary
}

// countsOverTCP runs the program twice, as its own process, against a cluster
// and compares each result with a plain loop.
func countsOverTCP(t *testing.T, address string) {
	t.Helper()
	program, data := build(t, "github.com/levada/levada/examples/wordcount"), t.TempDir()
	want := plainCounts(t, "testdata/opticks.txt")
	for round := range 2 {
		cmd := exec.Command(program, "--brokers", address, "--data", data, "--text", "testdata/opticks.txt", "--top", "3")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("run %d: %v\n%s", round+1, err, out)
		}
		if _, err := os.Stat(filepath.Join(data, "log")); err == nil {
			t.Fatal("the program opened a log of its own")
		}
		if diff := cmp.Diff(want, tableOf(t, launch.LogConfig{Brokers: []string{address}})); diff != "" {
			t.Fatalf("run %d (-want +got):\n%s", round+1, diff)
		}
	}
}

func TestOnAServer(t *testing.T) {
	server := exec.Command(build(t, "github.com/levada/levada/cmd/levada"), "server", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--output", "json")
	server.Stderr = os.Stderr
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := server.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	}()
	var said struct{ Listening string }
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&said); err != nil {
		t.Fatal(err)
	}
	countsOverTCP(t, said.Listening)
}

func TestOnApacheKafka(t *testing.T) {
	address := os.Getenv("LEVADA_KAFKA")
	if address == "" {
		t.Skip("LEVADA_KAFKA is not set: bench/kafka.sh run go test -run ApacheKafka ./examples/wordcount")
	}
	countsOverTCP(t, address)
}
