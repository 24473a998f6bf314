package main

import (
	"bufio"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// follower is a consume --follow that runs.
type follower struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr *bufio.Reader
}

func follow(t *testing.T, args ...string) *follower {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"topic", "consume", "t", "--follow", "-f", `%v\n`}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	diagnosis, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &follower{t, cmd, bufio.NewReader(out), bufio.NewReader(diagnosis)}
}

func (f *follower) expect(from *bufio.Reader, want string) {
	f.t.Helper()
	if line, err := from.ReadString('\n'); err != nil || !strings.Contains(line, want) {
		f.t.Fatalf("%q, %v; want %q", line, err, want)
	}
}

// TestFollowersSayWhatIsWrong: who waits for records is told what keeps them from coming, and
// does not wait for what will not come.
func TestFollowersSayWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	writeFile(t, users, "admin:adminpass\n")
	server := func(address string) *server {
		return startCommand(t, exec.Command(binary, "server", "--data", filepath.Join(dir, "data"), "--listen", "sasl://"+address, "--users", users, "--output", "json",
			"--authorize", "--super-user", "User:admin", "--reauthenticate", "1s"))
	}
	s := server("127.0.0.1:0")
	as := func(user, pass string, args ...string) []string {
		return append(args, "-b", s.address, "-X", "user="+user, "-X", "pass="+pass)
	}
	admin := func(stdin string, args ...string) { mustLevada(t, stdin, as("admin", "adminpass", args...)...) }
	admin("", "topic", "create", "t", "-p", "1")
	for _, user := range []string{"eve", "bob"} {
		admin("secretpass\n", "user", "set", user)
		admin("", "acl", "create", "--allow", "User:"+user, "--operation", "read", "--topic", "t")
	}
	eve, bob, boss := follow(t, as("eve", "secretpass")...), follow(t, as("bob", "secretpass")...), follow(t, as("admin", "adminpass")...)
	all := []*follower{eve, bob, boss}
	admin("one\n", "topic", "produce", "t")
	for _, f := range all {
		f.expect(f.stdout, "one")
	}
	admin("", "user", "delete", "eve")
	eve.expect(eve.stderr, "the credentials are not valid (-X user and the password in LEVADA_PASS")
	admin("", "acl", "delete", "--allow", "User:bob", "--operation", "read", "--topic", "t")
	bob.expect(bob.stderr, `topic "t": TOPIC_AUTHORIZATION_FAILED: the right to read is missing`)
	for _, f := range all[:2] {
		if _ = f.cmd.Wait(); f.cmd.ProcessState.ExitCode() != exitInput {
			t.Errorf("%q ended with %v", f.cmd.Args, f.cmd.ProcessState)
		}
	}

	if err := s.signal(syscall.SIGKILL); err == nil {
		t.Fatal("the server has ended by itself")
	}
	boss.expect(boss.stderr, "the broker at "+s.address+" cannot be reached, and is tried on: ")
	s = server(s.address)
	admin("two\n", "topic", "produce", "t")
	boss.expect(boss.stdout, "two")
	if err := boss.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(boss.stderr)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(rest)), "\n")
	if !slices.Contains(lines, "levada: connected to the broker at "+s.address+" again") || strings.Count(string(rest), "connection refused") > 1 {
		t.Errorf("it said\n%s", rest)
	}
	_ = boss.cmd.Wait() // it says that it was interrupted
}
