package host

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

// killConfig is a connector that may be killed as often as it takes.
func killConfig(t testing.TB, log *memLog, part, settings string) Config {
	c := testConfig(t, log, "killed", part, settings)
	c.Limits.InFlightBytes, c.Limits.BatchBytes = 16<<10, 8<<10
	c.Restart.Budget = 100
	return c
}

// newRandom is a source of numbers whose seed the test tells.
func newRandom(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

func kill(pid int) {
	if pid > 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func writeLines(t testing.TB, path string, from, to int) (lines []string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := from; i < to; i++ {
		lines = append(lines, fmt.Sprintf("line %d", i))
		if _, err := fmt.Fprintln(f, lines[len(lines)-1]); err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

func valuesOf(records []recordbatch.Record) []string {
	var out []string
	for _, r := range records {
		out = append(out, string(r.Value))
	}
	return out
}

// sameMultiset compares what was stored with what should be, in any order.
func sameMultiset(t *testing.T, what string, got, want []string) {
	t.Helper()
	counts := map[string]int{}
	for _, w := range want {
		counts[w]++
	}
	for _, g := range got {
		counts[g]--
	}
	wrong := 0
	for value, n := range counts {
		if n != 0 {
			wrong++
			if wrong <= 5 {
				t.Errorf("%s: %q is there %+d times too often", what, value, -n)
			}
		}
	}
	if wrong > 0 || len(got) != len(want) {
		t.Errorf("%s: %d values differ; got %d, want %d", what, wrong, len(got), len(want))
	}
}

// TestKilledSource asserts that each line of a file is in the log once, though
// the plugin is killed and answers of the log are lost at random moments.
func TestKilledSource(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	path := filepath.Join(t.TempDir(), "lines")
	want := writeLines(t, path, 0, 30_000)
	log := newMemLog()
	s := newSource(t, killConfig(t, log, "file", fmt.Sprintf(`{"path": %q, "format": "text", "follow": false, "max_line": "1KiB"}`, path)))
	var killers sync.WaitGroup
	log.onCommit = func() (lost bool) { // called with the log's lock held, which guards random
		switch random.IntN(8) {
		case 0:
			pid, delay := s.Status().PID, time.Duration(random.Int64N(int64(4*time.Millisecond)))
			killers.Add(1)
			time.AfterFunc(delay, func() { defer killers.Done(); kill(pid) })
		case 1:
			return true
		}
		return false
	}
	if err := s.Run(bounded(t)); err != nil {
		t.Fatal(err)
	}
	killers.Wait()
	sameMultiset(t, "the log", valuesOf(log.all("in")), want)
	st := s.Status()
	if st.Starts < 4 || st.State != Stopped {
		t.Errorf("the status is %+v: want stopped after some starts", st)
	}
}

// TestPositionHandedOver asserts that a new instance goes on where the last
// one stood, and that it fences one that still runs.
func TestPositionHandedOver(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lines")
	log := newMemLog()
	config := testConfig(t, log, "moved", "file", fmt.Sprintf(`{"path": %q, "format": "text", "poll_interval": "5ms"}`, path))
	want := writeLines(t, path, 0, 100)
	first := newSource(t, config)
	stop := running(t, first.Run)
	eventually(t, "the first lines", func() bool { return len(log.all("in")) == len(want) })
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	want = append(want, writeLines(t, path, 100, 200)...)
	second := newSource(t, config)
	stopSecond := running(t, second.Run)
	eventually(t, "the lines after a stop", func() bool { return len(log.all("in")) == len(want) })
	third := newSource(t, config)
	stopThird := running(t, third.Run)
	eventually(t, "the third instance", func() bool { return third.Status().State == Running })
	want = append(want, writeLines(t, path, 200, 300)...)
	eventually(t, "the second to be fenced", func() bool { return second.Status().State == Failed })
	eventually(t, "the last lines", func() bool { return len(log.all("in")) == len(want) })
	if err := stopSecond(); !errors.Is(err, ErrFenced) {
		t.Errorf("the second instance ended with %v, want %v", err, ErrFenced)
	}
	if err := stopThird(); err != nil {
		t.Error(err)
	}
	sameMultiset(t, "the log", valuesOf(log.all("in")), want)
}

// TestSourceDeadLetters asserts that input which is no record is stored with
// its reason and counted.
func TestSourceDeadLetters(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(path, []byte("{\"a\": 1}\nno json\n{\"a\": 2}\n[\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := newMemLog()
	s := newSource(t, testConfig(t, log, "letters", "file", fmt.Sprintf(`{"path": %q, "follow": false}`, path)))
	if err := s.Run(bounded(t)); err != nil {
		t.Fatal(err)
	}
	sameMultiset(t, "the log", valuesOf(log.all("in")), []string{`{"a": 1}`, `{"a": 2}`})
	letters := log.all("dead")
	sameMultiset(t, "the dead letters", valuesOf(letters), []string{"no json", "["})
	if st := s.Status(); st.Records != 2 || st.DeadLetters != 2 {
		t.Errorf("the status counts %d records and %d dead letters, want 2 and 2", st.Records, st.DeadLetters)
	}
	headers := map[string]string{}
	decoded, err := letters[0].Headers.Decode()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range decoded {
		headers[h.Key] = string(h.Value)
	}
	if headers[HeaderErrorStage] != "source" || headers[HeaderErrorConnector] != "letters" || headers[HeaderErrorMessage] == "" || headers[HeaderErrorOrigin] != path+":2" {
		t.Errorf("the headers are %q", headers)
	}
}

// TestKilledSink asserts that each record is a row once, and each record that
// the target refuses a dead letter once, though the plugin is killed at random
// moments.
func TestKilledSink(t *testing.T) {
	t.Parallel()
	const total, partitions = 6000, 2
	random := newRandom(t)
	log := newMemLog()
	log.create("rows", partitions)
	var rows, letters []string
	for i := range total {
		value := fmt.Sprintf(`{"id": %d}`, i)
		if i%97 == 5 {
			value = fmt.Sprintf("no json %d", i)
			letters = append(letters, value)
		} else {
			rows = append(rows, fmt.Sprint(i))
		}
		log.produce(logclient.TopicPartition{Topic: "rows", Partition: int32(i % partitions)}, recordbatch.Record{Value: []byte(value)})
	}
	path := filepath.Join(t.TempDir(), "out.db")
	c := killConfig(t, log, "sqlite", fmt.Sprintf(`{"path": %q, "table": "rows", "mode": "insert"}`, path))
	s, err := NewSink(SinkConfig{Config: c, Topics: []string{"rows"}})
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, s.Run)
	kills, killed := 0, 0
	eventually(t, "all records in the target", func() bool {
		st := s.Status()
		if st.PID != 0 && st.PID != killed && kills < 12 && random.IntN(30) == 0 {
			kills, killed = kills+1, st.PID
			kill(st.PID)
		}
		return kills >= 4 && !slices.ContainsFunc([]int32{0, 1}, func(p int32) bool {
			return st.Positions[logclient.TopicPartition{Topic: "rows", Partition: p}] < total/partitions
		})
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	sameMultiset(t, "the table", storedIDs(t, path), rows)
	sameMultiset(t, "the dead letters", valuesOf(log.all("dead")), letters)
	if s.Status().Starts < 4 {
		t.Errorf("the plugin was started %d times after %d kills", s.Status().Starts, kills)
	}
}

func storedIDs(t *testing.T, path string) (ids []string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r, err := db.Query(`SELECT id FROM rows`)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for r.Next() {
		var id string
		if err := r.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return ids
}
