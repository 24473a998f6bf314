package peers

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
	"syscall"
	"testing"
	"time"
)

// binary is the server, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	if os.Getenv("LEVADA_E2E") == "" {
		os.Exit(m.Run()) // all are skipped
	}
	dir, err := os.MkdirTemp("", "levada-peers-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "levada")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/levada")
	build.Stderr = os.Stderr
	code := 1
	if build.Run() == nil {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// server starts a server for one peer, and returns its address and data directory.
func server(t *testing.T, needs ...string) (addr, dir string) {
	t.Helper()
	if os.Getenv("LEVADA_E2E") == "" {
		t.Skip("runs clients of others against a real server: run it with make e2e")
	}
	for _, program := range needs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: make deps installs it", program)
		}
	}
	dir = t.TempDir()
	addr, _ = launch(t, dir)
	return addr, dir
}

// launch starts a server on a data directory. It ends with the test, or before by a signal.
func launch(t *testing.T, dir string) (addr string, end func(os.Signal)) {
	t.Helper()
	cmd := exec.Command(binary, "server", "--data", dir, "--listen", "127.0.0.1:0", "--output", "json")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func(by os.Signal) {
		if ended {
			return
		}
		ended = true
		_ = cmd.Process.Signal(by)
		if err := cmd.Wait(); err != nil && by != os.Kill {
			t.Errorf("the server ended with %v", err)
		}
	}
	t.Cleanup(func() { end(syscall.SIGTERM) })
	reader := bufio.NewReader(out)
	line, err := reader.ReadBytes('\n')
	var said struct{ Listening string }
	if err == nil {
		err = json.Unmarshal(line, &said)
	}
	if err != nil {
		t.Fatalf("the server said %q: %v", line, err)
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	return said.Listening, end
}

// run runs a program to its end and returns what it printed.
func run(t *testing.T, dir, stdin, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// says runs a peer, which prints ok when all was as it should be.
func says(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	if out := run(t, dir, "", program, args...); !strings.HasSuffix(strings.TrimSpace(out), "ok") {
		t.Errorf("%s %s printed\n%s", program, strings.Join(args, " "), out)
	}
}

func testdata(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfluentPython(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's, which has Debian's packages
	addr, dir := server(t, python)
	if err := exec.Command(python, "-c", "import confluent_kafka").Run(); err != nil {
		t.Skip("python3-confluent-kafka is not installed: make deps installs it")
	}
	says(t, dir, python, testdata(t, "confluent.py"), addr)
}

func TestNode(t *testing.T) {
	addr, dir := server(t, "node", "npm")
	if version := run(t, dir, "", "node", "--version"); strings.TrimLeft(version, "v") < "20" {
		t.Skipf("node is %s; @platformatic/kafka needs 20", strings.TrimSpace(version))
	}
	for _, name := range []string{"package.json", "kafkajs.mjs", "platformatic.mjs"} {
		b, err := os.ReadFile(testdata(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, "", "npm", "install", "--no-package-lock", "--no-audit", "--no-fund")
	says(t, dir, "node", "kafkajs.mjs", addr)
	says(t, dir, "node", "platformatic.mjs", addr)
}

func TestGoClients(t *testing.T) {
	addr, _ := server(t)
	says(t, testdata(t, "gopeers"), "go", "run", ".", addr)
}

// classPath is what Maven fetches for a project, kept under the user's cache.
func classPath(t *testing.T, name, pom string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(cache, "levada", name, "classpath")
	if b, err := os.ReadFile(file); err == nil && len(b) > 0 {
		if first, _, _ := strings.Cut(string(b), ":"); exists(first) {
			return string(b)
		}
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "", "", "mvn", "-q", "-B", "-f", pom, "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath", "-Dmdep.outputFile="+file)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestJava runs Java's clients, of both group protocols, and Kafka Streams with
// exactly_once_v2.
func TestJava(t *testing.T) {
	addr, dir := server(t, "java", "javac", "mvn")
	says(t, dir, "java", "-Xmx512m", "-cp", classPath(t, "java-clients-4.3.1", testdata(t, "java/pom.xml")), testdata(t, "java/Peer.java"), addr)
}

// TestFencedOnApacheKafka has Java's producer that was replaced be told the same by
// Apache Kafka.
func TestFencedOnApacheKafka(t *testing.T) {
	addr := os.Getenv("LEVADA_KAFKA")
	if addr == "" {
		t.Skip("LEVADA_KAFKA names no broker of Apache Kafka: make kafka starts one")
	}
	says(t, t.TempDir(), "java", "-Xmx512m", "-cp", classPath(t, "java-clients-4.3.1", testdata(t, "java/pom.xml")), testdata(t, "java/Peer.java"), addr, "fenced")
}
