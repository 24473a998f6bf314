package main

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallDisk is a shell command that mounts a small file system on a directory,
// in a name space of its own, and goes on as the program that follows.
func smallDisk(t *testing.T, dir string, program ...string) *exec.Cmd {
	t.Helper()
	script := "mount -t tmpfs -o size=80m tmpfs " + dir + ` && exec "$@"`
	args := append([]string{"--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"}, program...)
	if err := exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs tmpfs "+dir).Run(); err != nil {
		t.Skipf("a small disk needs user name spaces: unshare: %v", err)
	}
	return exec.Command("unshare", args...)
}

// lines are n lines that cannot be compressed, with their numbers.
func lines(seed uint64, n int) string {
	rng := rand.NewChaCha8([32]byte{byte(seed)})
	var b strings.Builder
	raw := make([]byte, 750)
	for range n {
		_, _ = rng.Read(raw) // never fails
		b.WriteString(base64.StdEncoding.EncodeToString(raw))
		b.WriteByte('\n')
	}
	return b.String()
}

// TestServerOnAFullDisk fills a disk, reads from it, frees it by deleting a topic, and writes
// again: what was acknowledged is there, nothing else has to be done.
func TestServerOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	cmd := smallDisk(t, dir, binary, "server", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--output", "json")
	var log bytes.Buffer
	cmd.Stderr = &log
	s := startCommand(t, cmd)
	mustLevada(t, "", "topic", "create", "first", "second", "-p", "1", "-b", s.address)
	mustLevada(t, lines(1, 2000), "topic", "produce", "second", "-b", s.address)
	out := levada(t, lines(2, 30_000), "topic", "produce", "first", "-b", s.address, "--timeout", "3s")
	if out.code != exitEnvironment || !strings.Contains(out.stderr, "disk may be full") {
		t.Fatalf("a full disk: exit %d, %s", out.code, out.stderr)
	}
	if got := mustLevada(t, "", "topic", "consume", "second", "--format", `%v\n`, "-b", s.address); got != lines(1, 2000) {
		t.Errorf("%d bytes read while the disk is full, %d were acknowledged", len(got), len(lines(1, 2000)))
	}
	mustLevada(t, "", "topic", "delete", "first", "-b", s.address)
	mustLevada(t, lines(3, 2000), "topic", "produce", "second", "-b", s.address)
	if got, want := mustLevada(t, "", "topic", "consume", "second", "--format", `%v\n`, "-b", s.address), lines(1, 2000)+lines(3, 2000); got != want {
		t.Errorf("%d bytes read, %d were acknowledged", len(got), len(want))
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	for _, want := range []string{"no records are taken", dir, "free some space", "there is room on the disk again"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the server did not say %q:\n%s", want, log.String())
		}
	}
}

// TestRunOnAFullDisk: a pipeline on a broker in its own process ends with the
// reason, and goes on from there once there is room.
func TestRunOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	input, pipeline := filepath.Join(t.TempDir(), "input.txt"), filepath.Join(t.TempDir(), "p.yaml")
	text := lines(4, 40_000)
	writeFile(t, input, text)
	writeFile(t, pipeline, strings.ReplaceAll(`
version: 1
name: full
sources:
  lines:
    connector: file
    config: { path: INPUT, format: text, follow: false }
    topics: lines
    value: { format: text }
flows:
  - name: copy
    from: { source: lines }
    steps:
      - filter: value != ""
    to: { topic: copies }
`, "INPUT", input))
	cmd := smallDisk(t, dir, "sh", "-c", `
"$0" run "$1" --data "$2" --until-end; echo "exit $?"
mount -o remount,size=1g "$2"
"$0" run "$1" --data "$2" --until-end || exit 9
"$0" server --data "$2/log" --listen 127.0.0.1:0 --output json > "$2/address" &
while [ ! -s "$2/address" ]; do sleep 0.05; done
address=$(sed 's/.*"listening":"\([^"]*\)".*/\1/' "$2/address")
"$0" topic consume copies --format '%v\n' -b "$address" > "$3"
kill $!; wait
`, binary, pipeline, dir, input+".out")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"exit 3", "KiB free", "free some space"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "goroutine ") {
		t.Errorf("a stack trace:\n%s", out)
	}
	copied, err := os.ReadFile(input + ".out")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(string(copied), "\n"), strings.Count(text, "\n"); got != want {
		t.Errorf("%d lines copied, want %d", got, want)
	}
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
