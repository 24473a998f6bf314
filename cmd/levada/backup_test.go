package main

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBackupAndRestore copies the data of a server that runs and of one that was
// killed, goes on writing, restores the copies, and refuses a damaged one.
func TestBackupAndRestore(t *testing.T) {
	dir := t.TempDir()
	data, live, stopped := filepath.Join(dir, "data"), filepath.Join(dir, "live"), filepath.Join(dir, "stopped")
	s := startServer(t, data, "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "orders", "--partitions", "2", "-b", s.address)
	mustLevada(t, "one\ntwo\n", "topic", "produce", "orders", "-b", s.address)
	if out := mustLevada(t, "", "backup", live, "--data", data); !strings.Contains(out, "holds 2 partitions") {
		t.Errorf("backup says %q", out)
	}
	if r := levada(t, "", "backup", filepath.Join(data, "logs", "orders-9"), "--data", data); r.code != exitInput || !strings.Contains(r.stderr, "lies in the data directory") {
		t.Errorf("a backup inside of the data: exit %d\n%s", r.code, r.stderr)
	}
	mustLevada(t, "three\n", "topic", "produce", "orders", "-b", s.address)
	if r := levada(t, "", "backup", live, "--data", data); r.code != exitInput || !strings.Contains(r.stderr, "there already") {
		t.Errorf("a second backup to the same place: exit %d\n%s", r.code, r.stderr)
	}
	_ = s.signal(syscall.SIGKILL) // it says that it was killed
	mustLevada(t, "", "backup", stopped, "--data", data)

	for backup, want := range map[string]string{live: "one two", stopped: "one two three"} {
		again := backup + "-restored"
		if out := mustLevada(t, "", "restore", backup, again); !strings.Contains(out, "all checked") || !strings.Contains(out, again+"/logs/") || strings.Contains(out, ".restoring") {
			t.Errorf("restore says\n%s", out)
		}
		s := startServer(t, again, "127.0.0.1:0")
		out := mustLevada(t, "", "topic", "consume", "orders", "--format", `%v\n`, "-b", s.address)
		for value := range strings.FieldsSeq(want) {
			if !strings.Contains(out, value) {
				t.Errorf("%s has no %q:\n%s", again, value, out)
			}
		}
		if strings.Contains(out, "three") != strings.Contains(want, "three") {
			t.Errorf("%s:\n%s", again, out)
		}
		if err := s.signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if r := levada(t, "", "restore", backup, again); r.code != exitInput || !strings.Contains(r.stderr, "is not empty") {
			t.Errorf("restore over data: exit %d\n%s", r.code, r.stderr)
		}
	}
	before := filesUnder(t, live)
	for _, inside := range []string{filepath.Join(live, "again"), filepath.Join(live, "deleted")} {
		if r := levada(t, "", "restore", live, inside); r.code != exitInput || !strings.Contains(r.stderr, "lies in the backup") {
			t.Errorf("a restore to %s: exit %d\n%s", inside, r.code, r.stderr)
		}
	}
	if after := filesUnder(t, live); !slices.Equal(before, after) {
		t.Errorf("a refused restore left %q in the backup, where %q was", after, before)
	}
	damage(t, filepath.Join(live, "logs", "*", "*.log"))
	damage(t, filepath.Join(stopped, "meta", "*.log"))
	for _, backup := range []string{live, stopped} {
		if r := levada(t, "", "restore", backup, filepath.Join(dir, "never")); r.code != 1 || !strings.Contains(r.stderr, "is damaged") || !strings.Contains(r.stdout+r.stderr, backup) || strings.Contains(r.stdout+r.stderr, ".restoring") {
			t.Errorf("restore of a damaged backup: exit %d\n%s%s", r.code, r.stdout, r.stderr)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "never*")); err != nil || len(left) > 0 {
		t.Errorf("left of a failed restore: %v, %v", left, err)
	}
}

// damage flips the last byte of a file that matches and is not empty.
func damage(t *testing.T, pattern string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(whole) == 0 {
			continue
		}
		whole[len(whole)-1] ^= 1
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no file %s that is not empty", pattern)
}

// TestSignalsEndABackup: who asks a server that does not answer for a backup, copies
// a large one or looks at it, is let go by one signal.
func TestSignalsEndABackup(t *testing.T) {
	data := t.TempDir()
	writeFile(t, filepath.Join(data, "format"), "levada broker data, version 1\n")
	ln, err := net.Listen("unix", filepath.Join(data, controlFile))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cmd := exec.Command(binary, "backup", filepath.Join(t.TempDir(), "copy"), "--data", data)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	asked, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer asked.Close()
	if _, err := bufio.NewReader(asked).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	hangs := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer hangs.Stop()
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("%v\n%s", err, stderr.String())
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := copyTree(ctx, data, filepath.Join(t.TempDir(), "to")); !errors.Is(err, errInterrupted) {
		t.Errorf("the copy says %v", err)
	}
}
