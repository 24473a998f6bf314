package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestOfflinePartitionHidesNoOther: of a topic with a partition whose log is damaged the
// commands show, read and name the others, and say which one they cannot.
func TestOfflinePartitionHidesNoOther(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir, "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "orders", "--partitions", "3", "-b", s.address)
	mustLevada(t, "0 a\n1 b\n2 c\n", "topic", "produce", "orders", "-f", "%p %v\n", "-b", s.address)
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	damage(t, filepath.Join(dir, "logs", "orders-1", "*.log"))
	s = startServer(t, dir, "127.0.0.1:0")
	const fault = `topic "orders", partition 1: KAFKA_STORAGE_ERROR`
	both := []string{"0-a.", "2-c."}
	for _, c := range []struct {
		line string
		has  []string // nothing is printed where there is nothing
		code int
	}{
		{"topic consume orders -f %p-%v.", both, exitEnvironment},
		{"topic consume orders -f %p-%v. --offset -1", both, exitEnvironment},
		{"topic consume orders -f %p-%v. --offset 0", both, exitEnvironment},
		{"topic consume orders -f %p-%v. --offset @-1h", both, exitEnvironment},
		{"topic consume orders -f %p-%v. -g readers", both, exitEnvironment},
		{"topic consume orders -f %p-%v. -p 2", both[1:], 0},
		{"topic consume orders -f %p-%v. -p 1", nil, exitEnvironment},
		{"topic describe orders -o table", []string{"0 0 2 0 1 1\n1 0 2 - - -\n2 0 2 0 1 1\n" + fault}, 0},
		{"topic describe orders", []string{`"partition":1,"leader":0,"start_offset":-1,"last_stable_offset":-1,"high_watermark":-1,"leader_epoch":2,"error":"KAFKA_STORAGE_ERROR`}, 0},
		{"group describe readers -o table", []string{"orders 0 1 1 0 - -\norders 2 1 1 0 - -\n"}, 0},
		{"group seek readers --to start --topic orders", nil, exitEnvironment},
		{"txn producers orders -o table", []string{"OPEN SINCE\n0 ", " -\n2 "}, exitEnvironment},
		{"txn abort orders --partition 1 --producer 0", nil, exitEnvironment},
	} {
		got := levada(t, "", append(strings.Fields(c.line), "-b", s.address)...)
		out := ""
		for row := range strings.Lines(got.stdout) {
			out += strings.Join(strings.Fields(row), " ") + "\n" // without what aligns it
		}
		for _, part := range c.has {
			if !strings.Contains(out, part) {
				t.Errorf("%s: %q is missing:\n%s%s", c.line, part, got.stdout, got.stderr)
			}
		}
		if got.code != c.code || len(c.has) == 0 && out != "" {
			t.Errorf("%s: exit %d\n%s%s", c.line, got.code, got.stdout, got.stderr)
		}
		if n := strings.Count(got.stderr, fault); n != 1 && c.code != 0 || n > 0 && c.code == 0 {
			t.Errorf("%s: the fault was told %d times:\n%s", c.line, n, got.stderr)
		}
	}
}

// TestDamagedRecordsEndNoReading: a partition is read up to where its records are damaged,
// that is told, and the others are read whole.
func TestDamagedRecordsEndNoReading(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir, "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "orders", "--partitions", "2", "-c", "segment.bytes=1048576", "-b", s.address)
	large := strings.Repeat("x", 400_000)
	for i := range 4 { // two a segment
		mustLevada(t, fmt.Sprintf("0 a%d%s\n1 b%d%s\n", i, large, i, large), "topic", "produce", "orders", "-z", "none", "-f", "%p %v\n", "-b", s.address)
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	damage(t, filepath.Join(dir, "logs", "orders-0", "00000000000000000000.log"))
	if err := os.MkdirAll(filepath.Join(dir, "logs", "strays-0", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	s = startServer(t, dir, "127.0.0.1:0")
	if r := levada(t, "", "topic", "create", "strays", "-b", s.address); r.code != exitEnvironment || !strings.Contains(r.stderr, "belongs to no topic") || strings.Contains(r.stderr, "has failed") {
		t.Errorf("a topic whose directory is taken: exit %d\n%s", r.code, r.stderr)
	}
	for _, how := range [][]string{{}, {"-g", "readers"}, {"--offset", "2"}} {
		got := levada(t, "", append([]string{"topic", "consume", "orders", "-f", "%p%o ", "-b", s.address}, how...)...)
		read := strings.Fields(got.stdout)
		slices.Sort(read)
		want, told := []string{"00", "10", "11", "12", "13"}, 1
		if len(how) == 2 && how[1] == "2" {
			want, told = []string{"02", "03", "12", "13"}, 0
		}
		if !slices.Equal(read, want) || (got.code == exitEnvironment) != (told == 1) || strings.Count(got.stderr, `topic "orders", partition 0: CORRUPT_MESSAGE`) != told {
			t.Errorf("%v: exit %d, %q\n%s", how, got.code, read, got.stderr)
		}
	}
}
