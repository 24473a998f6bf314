package main

import (
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestNobodyElseReads: no file or directory that a server, a backup or a restore makes is
// for others to read, though the umask would let them.
func TestNobodyElseReads(t *testing.T) {
	dir := t.TempDir()
	mine := func(name, what string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		err := filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %s has mode %v", what, path, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		return path
	}
	as := func(args ...string) *exec.Cmd {
		return exec.Command("sh", append([]string{"-c", `umask 022; exec "$0" "$@"`, binary}, args...)...)
	}
	data := filepath.Join(dir, "data")
	s := startCommand(t, as("server", "--data", data, "--listen", "127.0.0.1:0", "--output", "json"))
	mustLevada(t, "", "topic", "create", "orders", "--partitions", "1", "-c", "segment.bytes=1048576", "-b", s.address)
	mustLevada(t, strings.Repeat(strings.Repeat("x", 1000)+"\n", 3000), "topic", "produce", "orders", "-z", "none", "-b", s.address)
	mustLevada(t, "", "topic", "consume", "orders", "--group", "g", "-b", s.address)
	run := func(args ...string) {
		t.Helper()
		if out, err := as(args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run("backup", filepath.Join(dir, "live"), "--data", data)
	mine("data", "running")
	mine("live", "a backup of a running server")
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	mine("data", "stopped")
	run("backup", filepath.Join(dir, "stopped"), "--data", data)
	run("restore", filepath.Join(dir, "live"), filepath.Join(dir, "again"))
	mine("stopped", "a backup of a stopped one")
	mine("again", "restored")
	if logs, err := filepath.Glob(filepath.Join(dir, "*", "logs", "orders-0", "*.log")); err != nil || len(logs) < 8 {
		t.Errorf("the test looks at %q, %v", logs, err)
	}
}
