package run

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/levada/levada/connectors/builtin"
	"github.com/levada/levada/connectors/host"
	"github.com/levada/levada/connectors/sdk"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/pipelines"
	"github.com/levada/levada/runtime/launch"
)

// pluginEnv makes the test binary play a built-in plugin.
const pluginEnv = "LEVADA_TEST_PLUGIN"

func TestMain(m *testing.M) {
	if name := os.Getenv(pluginEnv); name != "" {
		plugin, ok := builtin.Find(name, "test")
		if !ok {
			fmt.Fprintln(os.Stderr, "no such plugin")
			os.Exit(3)
		}
		sdk.Serve(plugin)
		return
	}
	goleak.VerifyTestMain(m)
}

// command starts the test binary as a plugin. A sink takes its time, so that
// the topology has done before it begins.
func command(plugin string) (host.Command, error) {
	path, err := os.Executable()
	c := host.Command{Path: path, Env: []string{pluginEnv + "=" + plugin}}
	if plugin == "sqlite" {
		c.Path, c.Args = "/bin/sh", []string{"-c", `sleep 0.5; exec "$0"`, path}
	}
	return c, err
}

// place is a log and a directory for one test.
type place struct {
	*launch.Log
	dir string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{dir: t.TempDir()}
	log, err := launch.OpenLog(t.Context(), launch.LogConfig{Dir: filepath.Join(p.dir, "log"), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	p.Log = log
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// load makes a plan of a file in which DIR stands for the directory.
func (p *place) load(t *testing.T, text string) *pipelines.Plan {
	t.Helper()
	plan, faults := pipelines.Parse("test.yaml", []byte(strings.ReplaceAll(text, "DIR", p.dir)), pipelines.Options{Connectors: builtin.Plugins("test")})
	if plan == nil {
		t.Fatal(faults)
	}
	return plan
}

func (p *place) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *place) run(t *testing.T, plan *pipelines.Plan) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := Pipeline(ctx, plan, Options{Log: p.Log, Dir: p.dir, Command: command, UntilEnd: true, LeaveOnClose: true, Logger: quiet()})
	if err == nil && ctx.Err() != nil {
		t.Fatal("the pipeline did not end by itself")
	}
	return err
}

// records lists a topic: key=value, sorted, with the header that says why a
// dead letter is one.
func (p *place) records(t *testing.T, topic string) []string {
	t.Helper()
	var out []string
	err := launch.Read(t.Context(), p.Log, topic, func(_ int32, r *recordbatch.Record) error {
		out = append(out, fmt.Sprintf("%s=%s", r.Key, r.Value))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

const wordCount = `
version: 1
name: words
sources:
  book:
    connector: file
    config: { path: DIR/book.txt, format: text, follow: false }
    topics: lines
    value: text
flows:
  - name: count
    from: { source: book }
    steps:
      - flat_map: words(value)
      - rekey: value
      - aggregate: { store: counts, fields: { count: { count: true } } }
    to: counts
settings: { workers: 2, partitions: 3 }
`

func TestWordCount(t *testing.T) {
	p := newPlace(t)
	p.write(t, "book.txt", strings.Repeat("To be, or not to be\nThat is the question\n", 50))
	plan := p.load(t, wordCount)
	for range 2 { // the second run continues, and changes nothing
		if err := p.run(t, plan); err != nil {
			t.Fatal(err)
		}
		got := p.records(t, "counts")
		if len(got) != 500 {
			t.Fatalf("%d results, want one for each of 500 words", len(got))
		}
		for word, n := range map[string]int{"to": 100, "be": 100, "question": 50} {
			for i := range n {
				if want := fmt.Sprintf(`%s={"count":%d}`, word, i+1); !slices.Contains(got, want) {
					t.Fatalf("%s is not among the results", want)
				}
			}
		}
	}
}

const orders = `
version: 1
name: shop
sources:
  orders:
    connector: file
    config: { path: DIR/orders.jsonl, key: id, follow: false }
    value: { fields: { id: string, customer: string, amount: float, status: string } }
tables:
  customers: { topic: shop.customers, value: { fields: { name: string } } }
sinks:
  db: { connector: sqlite, config: { path: DIR/shop.db, mode: upsert, primary_key: [customer] } }
  log: { connector: sqlite, config: { path: DIR/shop.db, mode: insert } }
flows:
  - name: settled
    from: { source: orders }
    steps:
      - filter: value.status == "settled"
      - set: { cents: int(value.amount * 100) }
      - rekey: value.customer
      - join: { table: customers, kind: left, select: { id: value.id, customer: key, known: table != nil, cents: value.cents } }
    to: { sink: log, table: settled }
  - name: totals
    from: settled
    steps:
      - aggregate: { store: totals, fields: { orders: { count: true }, cents: { sum: value.cents } } }
      - set: { customer: key }
    to: { sink: db, table: totals }
errors: { on_error: dead_letter, topic: shop.dead }
settings: { partitions: 2, commit_interval: 20ms }
`

const orderCount = 300

func TestFileToDatabase(t *testing.T) {
	p := newPlace(t)
	var lines []string
	for i := range orderCount {
		status := "settled"
		if i%3 == 0 {
			status = "open"
		}
		lines = append(lines, fmt.Sprintf(`{"id":"o%d","customer":"c%d","amount":%d.5,"status":"%s"}`, i, i%4, i, status))
	}
	lines = append(lines, "this is not JSON", `{"id":"bad","customer":7,"amount":1,"status":"settled"}`)
	p.write(t, "orders.jsonl", strings.Join(lines, "\n")+"\n")
	plan := p.load(t, orders)
	if err := ensureTopics(t.Context(), p.Admin(), plan.Topics); err != nil {
		t.Fatal(err)
	}
	err := launch.Write(t.Context(), p.Log, "customers", "shop.customers", func(yield func(k, v []byte) bool) {
		_ = yield([]byte("c0"), []byte(`{"name":"Ada"}`)) && yield([]byte("c1"), []byte(`{"name":"Bob"}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.run(t, plan); err != nil {
		t.Fatal(err)
	}
	want := map[string][2]int{}
	var wantRows []string
	for i := range orderCount {
		if i%3 == 0 {
			continue
		}
		c := fmt.Sprintf("c%d", i%4)
		want[c] = [2]int{want[c][0] + 1, want[c][1] + i*100 + 50}
		known := 0
		if i%4 < 2 {
			known = 1
		}
		wantRows = append(wantRows, fmt.Sprintf("o%d %s %d %d", i, c, known, i*100+50))
	}
	var wantTotals []string
	for c, n := range want {
		wantTotals = append(wantTotals, fmt.Sprintf("%s %d %d", c, n[0], n[1]))
	}
	p.compare(t, "select customer || ' ' || orders || ' ' || cents from totals", wantTotals)
	p.compare(t, "select id || ' ' || customer || ' ' || known || ' ' || cents from settled", wantRows)
	dead := p.records(t, "shop.dead")
	if len(dead) != 2 || !strings.Contains(dead[0], "this is not JSON") || !strings.Contains(dead[1], `"id":"bad"`) {
		t.Errorf("dead letters: %q", dead)
	}
}

// compare compares the rows of a query as a multiset.
func (p *place) compare(t *testing.T, query string, want []string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(p.dir, "shop.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %d rows, want %d:\n got %.300q\nwant %.300q", query, len(got), len(want), got, want)
	}
}

func TestFailures(t *testing.T) {
	p := newPlace(t)
	p.write(t, "book.txt", "to be\n")
	plan := p.load(t, wordCount)
	if err := Pipeline(t.Context(), plan, Options{}); err == nil || !strings.Contains(err.Error(), "no log") || !strings.Contains(err.Error(), "no directory") {
		t.Errorf("no options: %v", err)
	}
	nowhere := errors.New("nowhere to be found")
	err := Pipeline(t.Context(), plan, Options{Log: p.Log, Dir: p.dir, Logger: quiet(), Command: func(string) (host.Command, error) { return host.Command{}, nowhere }})
	if !errors.Is(err, nowhere) || !strings.Contains(err.Error(), `"words"`) {
		t.Errorf("no plugin: %v", err)
	}
	err = Pipeline(t.Context(), plan, Options{
		Log: p.Log, Dir: p.dir, Logger: quiet(), Restart: host.Restart{MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond, Budget: 1},
		Command: func(string) (host.Command, error) {
			return host.Command{Path: filepath.Join(p.dir, "no-such-program")}, nil
		},
	})
	if err == nil || !strings.Contains(err.Error(), "words-book") {
		t.Errorf("a plugin that does not start: %v", err)
	}
}

func TestStopsWhenTold(t *testing.T) {
	p := newPlace(t)
	p.write(t, "book.txt", "to be\n")
	plan := p.load(t, strings.ReplaceAll(wordCount, "follow: false", "follow: true"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last Progress
	err := Pipeline(ctx, plan, Options{
		Log: p.Log, Dir: p.dir, Command: command, LeaveOnClose: true, Logger: quiet(),
		Progress: func(now Progress) {
			if last = now; now.Topology.RecordsIn >= 3 {
				cancel()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := last.Sources["words-book"]; s.Records != 1 {
		t.Errorf("progress of the source: %+v", s)
	}
	if got := p.records(t, "counts"); !slices.Equal(got, []string{`be={"count":1}`, `to={"count":1}`}) {
		t.Errorf("results: %q", got)
	}
}

// TestSaysWhyItWaits: a run that is to end and cannot says which source it
// waits for, once.
func TestSaysWhyItWaits(t *testing.T) {
	p := newPlace(t)
	p.write(t, "book.txt", "to be\n")
	plan := p.load(t, strings.ReplaceAll(wordCount, "follow: false", "follow: true"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	said := make(chan string, 8)
	logger := slog.New(slog.NewTextHandler(lineWriter(said), &slog.HandlerOptions{Level: slog.LevelWarn}))
	ended := make(chan error, 1)
	go func() {
		ended <- Pipeline(ctx, plan, Options{Log: p.Log, Dir: p.dir, Command: command, UntilEnd: true, LeaveOnClose: true, Logger: logger})
	}()
	select {
	case line := <-said:
		if !strings.Contains(line, "words-book") || !strings.Contains(line, "follow: false") {
			t.Errorf("said %q", line)
		}
	case err := <-ended:
		t.Fatalf("ended: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// lineWriter hands on what is written.
type lineWriter chan<- string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}
