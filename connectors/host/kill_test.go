package host

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	_ "modernc.org/sqlite" // reads what the sink wrote

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

// kills is how often a plugin is killed in one test.
const kills = 6

// killNext kills a plugin process that is not the one killed before.
func killNext(t *testing.T, status func() Status, last int) (pid int) {
	t.Helper()
	eventually(t, "the plugin to be started", func() bool {
		pid = status().PID
		return pid != 0 && pid != last
	})
	// It may have ended by itself meanwhile; nobody else can have its number,
	// for it is reaped only when its session ends.
	_ = syscall.Kill(pid, syscall.SIGKILL)
	return pid
}

// TestKilledSource asserts that every line of a growing file is in the log
// once, whenever the plugin dies, and when the answer to a commit is lost.
func TestKilledSource(t *testing.T) {
	log := newMemLog()
	path := filepath.Join(t.TempDir(), "lines.txt")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c := testConfig(t, log, "lines", "file", fmt.Sprintf(`{"path": %q, "format": "text", "poll_interval": "1ms"}`, path))
	c.Restart.Budget = 1000
	s, err := NewSource(SourceConfig{Config: c, Topic: "in", Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, s.Run)
	var want []string
	last := 0
	for round := range kills {
		for range 200 {
			line := fmt.Sprintf("line %d", len(want))
			want = append(want, line)
			fmt.Fprintln(file, line)
		}
		if round%2 == 1 {
			eventually(t, "progress", func() bool { return len(log.all("in")) > len(want)-200 })
		}
		if round == kills/2 {
			log.mu.Lock()
			log.loseAnswers = 2
			log.mu.Unlock()
		}
		last = killNext(t, s.Status, last)
	}
	eventually(t, "all lines", func() bool { return len(log.all("in")) >= len(want) })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range log.all("in") {
		got = append(got, string(r.Value))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d lines in the log, %d in the file; some are lost or doubled", len(got), len(want))
	}
	if starts := s.Status().Starts; starts < kills {
		t.Errorf("%d starts after %d kills", starts, kills)
	}
}

// TestKilledSink asserts that every record is one row of a table without a key,
// whenever the plugin dies.
func TestKilledSink(t *testing.T) {
	log := newMemLog()
	log.create("out", 2)
	path := filepath.Join(t.TempDir(), "rows.sqlite")
	c := testConfig(t, log, "rows", "sqlite", fmt.Sprintf(`{"path": %q, "table": "rows", "mode": "insert"}`, path))
	c.Restart.Budget = 1000
	s, err := NewSink(SinkConfig{Config: c, Topics: []string{"out"}})
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, s.Run)
	n, last := 0, 0
	for range kills {
		for range 200 {
			log.produce(logclient.TopicPartition{Topic: "out", Partition: int32(n % 2)}, recordbatch.Record{Value: fmt.Appendf(nil, `{"n": %d}`, n)})
			n++
		}
		last = killNext(t, s.Status, last)
	}
	eventually(t, "all rows", func() bool { return len(rows(t, path)) >= n })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	got := rows(t, path)
	slices.Sort(got)
	for i := range n {
		if len(got) != n || got[i] != i {
			t.Fatalf("%d rows for %d records, or not the same", len(got), n)
		}
	}
}

// rows reads the column of numbers, nil while there is no table.
func rows(t *testing.T, path string) []int {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	found, err := db.QueryContext(t.Context(), "SELECT n FROM rows")
	if err != nil {
		return nil // not there, or locked: asked again
	}
	defer found.Close()
	var all []int
	for found.Next() {
		var n int
		if err := found.Scan(&n); err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

// TestGreedySource asserts that a plugin that sends without credit makes no
// transaction larger, nor the host hold more.
func TestGreedySource(t *testing.T) {
	log := newMemLog()
	log.forget = true
	c := testConfig(t, log, "greedy", "greedy", `{}`)
	c.Limits.InFlightBytes = 1 << 20
	s, err := NewSource(SourceConfig{Config: c, Topic: "in"})
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, s.Run)
	passed := func() (largest, total int64) {
		log.mu.Lock()
		defer log.mu.Unlock()
		return log.largest, log.total
	}
	eventually(t, "16 MiB to pass", func() bool { _, total := passed(); return total > 16<<20 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if largest, _ := passed(); largest > c.Limits.InFlightBytes {
		t.Errorf("a transaction of %d bytes, %d may be in flight", largest, c.Limits.InFlightBytes)
	}
}

// TestDeadLettersOfASource asserts that a bad line goes to the dead letters with
// its reason and place, and that the rest goes on.
func TestDeadLettersOfASource(t *testing.T) {
	log := newMemLog()
	path := filepath.Join(t.TempDir(), "in.jsonl")
	if err := os.WriteFile(path, []byte("{\"n\": 1}\nno JSON\n{\"n\": 2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := NewSource(SourceConfig{Config: testConfig(t, log, "in", "file", fmt.Sprintf(`{"path": %q, "follow": false}`, path)), Topic: "in"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := log.all("in"); len(got) != 2 || !bytes.Contains(got[1].Value, []byte("2")) {
		t.Errorf("records %v", got)
	}
	letters := log.all("dead")
	if len(letters) != 1 || string(letters[0].Value) != "no JSON" {
		t.Fatalf("dead letters %v", letters)
	}
	headers := map[string]string{}
	hs, err := letters[0].Headers.Decode()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hs {
		headers[h.Key] = string(h.Value)
	}
	if headers[HeaderErrorStage] != "source" || headers[HeaderErrorOrigin] == "" || headers[HeaderErrorMessage] == "" || headers[HeaderErrorConnector] != "in" {
		t.Errorf("headers %v", headers)
	}
}
