package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestLogOfAServer looks at the data of a server while it runs and after a SIGKILL,
// prints it, and finds a byte that was changed.
func TestLogOfAServer(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir, "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "orders", "--partitions", "2", "-b", s.address)
	mustLevada(t, "a=one\nb=two\nc=three\n", "topic", "produce", "orders", "--key-separator", "=", "-b", s.address)
	if out := mustLevada(t, "", "log", "verify", dir); !strings.Contains(out, "orders-1") || !strings.Contains(out, "in use by a broker") {
		t.Errorf("of a running server:\n%s", out)
	}
	_ = s.signal(syscall.SIGKILL) // it says that it was killed
	var report struct {
		Partitions []verifiedRow `json:"partitions"`
		Notes      []string      `json:"notes"`
	}
	out := mustLevada(t, "", "log", "verify", dir, "-o", "json")
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	records := int64(0)
	for _, p := range report.Partitions {
		records += p.Records
		if len(p.Damage) > 0 {
			t.Errorf("%s is damaged: %q", p.Partition, p.Damage)
		}
	}
	if len(report.Partitions) != 2 || records != 3 || !strings.Contains(strings.Join(report.Notes, " "), "rows, all can be read") {
		t.Errorf("report\n%s", out)
	}

	dump := mustLevada(t, "", "log", "dump", filepath.Join(dir, "logs", "orders-0"), filepath.Join(dir, "logs", "orders-1"), "--records")
	for _, want := range []string{"a=one", "b=two", "c=three", "offsets 0-"} {
		if !strings.Contains(dump, want) {
			t.Errorf("the dump has no %q:\n%s", want, dump)
		}
	}
	segments, err := filepath.Glob(filepath.Join(dir, "logs", "orders-*", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range segments {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(whole) == 0 {
			continue
		}
		one := mustLevada(t, "", "log", "dump", path, "-o", "json", "--records")
		var b dumpedBatch
		if err := json.Unmarshal([]byte(strings.SplitN(one, "\n", 2)[0]), &b); err != nil || !b.CRCValid || len(b.RecordsOfTheLine) == 0 || b.RecordsOfTheLine[0].Value == nil {
			t.Errorf("%v of\n%s", err, one)
		}
		whole[len(whole)-1] ^= 1
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"log", "verify", dir}, {"log", "dump", path}} {
			if r := levada(t, "", args...); r.code != 1 || !strings.Contains(r.stdout+r.stderr, filepath.Base(path)) || !strings.Contains(r.stdout+r.stderr, "restore the file") {
				t.Errorf("%v of a damaged segment: exit %d\n%s%s", args, r.code, r.stdout, r.stderr)
			}
		}
		whole[len(whole)-1] ^= 1
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := levada(t, "", "log", "verify", filepath.Join(dir, "none")); r.code != exitInput {
		t.Errorf("of nothing: exit %d\n%s", r.code, r.stderr)
	}
}
