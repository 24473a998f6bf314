package orders

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite"
)

// killsEach is how often each kind of process is killed.
const killsEach = 5

// rig is the pipeline with its processes: a broker, a host, and the plugins
// that the host starts.
type rig struct {
	t       *testing.T
	rng     *rand.Rand
	dir     string
	binary  string
	address string
	broker  *exec.Cmd
	host    *exec.Cmd
	orders  *os.File
	next    int
	rows    map[string]int      // expected rows of the table orders, as a multiset
	totals  map[string][2]int64 // expected orders and cents by country
	bad     int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{
		t: t, rng: rand.New(rand.NewPCG(11, uint64(os.Getpid()))), dir: t.TempDir(), address: "127.0.0.1:0",
		rows: map[string]int{}, totals: map[string][2]int64{},
	}
	r.binary = filepath.Join(r.dir, "levada")
	build := exec.Command("go", "build", "-o", r.binary, "github.com/levada/levada/cmd/levada")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	var err error
	if r.orders, err = os.Create(r.path("orders.jsonl")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.orders.Close() })
	customers, err := os.ReadFile("testdata/customers.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path("customers.jsonl"), customers, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(r.host); kill(r.broker) })
	r.startBroker()
	r.startHost()
	return r
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func kill(cmd *exec.Cmd) {
	if cmd != nil && cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func (r *rig) startBroker() {
	r.t.Helper()
	r.broker = exec.Command(r.binary, "server", "--data", r.path("log"), "--listen", r.address, "--output", "json", "--default-partitions", "4")
	r.broker.Stderr = os.Stderr
	out, err := r.broker.StdoutPipe()
	if err == nil {
		err = r.broker.Start()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var said struct{ Listening string }
	if err := errors.Join(err, json.Unmarshal(line, &said)); err != nil {
		r.t.Fatalf("the broker said %q: %v", line, err)
	}
	r.address = said.Listening
}

func (r *rig) startHost() {
	r.t.Helper()
	r.host = exec.Command(r.binary, "run", "pipeline.yaml", "--brokers", r.address, "--data", r.path("state"))
	r.host.Env = append(os.Environ(), "ORDERS="+r.path("orders.jsonl"), "CUSTOMERS="+r.path("customers.jsonl"), "DATABASE="+r.path("orders.sqlite"))
	log, err := os.OpenFile(r.path("host.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	r.host.Stdout, r.host.Stderr = io.Discard, log
	if err := r.host.Start(); err != nil {
		r.t.Fatal(err)
	}
}

// plugins lists the plugin processes of a kind that the host has started.
func (r *rig) plugins(kind string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		r.t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cmdline, err1 := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		stat, err2 := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err1 != nil || err2 != nil {
			continue // it has just ended
		}
		var parent int
		_, _ = fmt.Sscan(string(stat[strings.LastIndexByte(string(stat), ')')+4:]), &parent)
		if parent == r.host.Process.Pid && strings.HasPrefix(string(cmdline), r.binary+"\x00plugin\x00"+kind) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// grow appends orders to the input, and what they must become to what is
// expected.
func (r *rig) grow(n int) {
	r.t.Helper()
	var b strings.Builder
	countries := []string{"pt", "de", "fr", "no", "jp"}
	for range n {
		id := r.next
		r.next++
		customer := r.rng.IntN(22) // two of them are not known
		cents := 100 + r.rng.IntN(20_000)
		status := []string{"new", "paid", "paid", "cancelled"}[r.rng.IntN(4)]
		fmt.Fprintf(&b, `{"id":%d,"customer":"c%d","amount":%d.%02d,"status":%q}`+"\n", id, customer, cents/100, cents%100, status)
		if r.rng.IntN(50) == 0 {
			b.WriteString("{ this line is not JSON\n")
			r.bad++
		}
		if status == "cancelled" {
			continue
		}
		name, country := "unknown", "unknown"
		if customer < 20 {
			name, country = fmt.Sprint("Customer ", customer), countries[customer%5]
		}
		r.rows[fmt.Sprint(id, "|", name, "|", country, "|", cents)]++
		total := r.totals[country]
		r.totals[country] = [2]int64{total[0] + 1, total[1] + int64(cents)}
	}
	if _, err := r.orders.WriteString(b.String()); err != nil {
		r.t.Fatal(err)
	}
}

// query reads the database, nil while it has no such table.
func (r *rig) query(q string, scan func(*sql.Rows) error) error {
	db, err := sql.Open("sqlite", "file:"+r.path("orders.sqlite")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := db.Query(q)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (r *rig) count() int {
	n := 0
	if err := r.query("select count(*) from orders", func(rows *sql.Rows) error { return rows.Scan(&n) }); err != nil {
		return 0
	}
	return n
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.After(90 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			log, _ := os.ReadFile(r.path("host.log"))
			r.t.Fatalf("waited in vain: %s\nthe host said, at the end:\n%s", what, log[max(0, len(log)-6000):])
		}
	}
}

// strike kills one process with SIGKILL and starts it again, if nobody else
// does.
func (r *rig) strike(victim string) {
	r.t.Helper()
	switch victim {
	case "broker":
		kill(r.broker)
		r.startBroker()
	case "host":
		kill(r.host)
		r.startHost()
	default:
		var pids []int
		r.eventually("a plugin "+victim+" runs", func() bool {
			pids = r.plugins(victim)
			return len(pids) > 0
		})
		_ = syscall.Kill(pids[r.rng.IntN(len(pids))], syscall.SIGKILL) // it may have ended meanwhile
	}
}

// TestEveryRowArrivesOnce kills the broker, the host, the source and the sink
// while the input grows, and compares both tables with what the input says.
func TestEveryRowArrivesOnce(t *testing.T) {
	if os.Getenv("LEVADA_E2E") == "" {
		t.Skip("starts and kills real processes for a minute: run it with make e2e")
	}
	r := newRig(t)
	r.eventually("the customers are read", func() bool {
		out, err := exec.Command(r.binary, "group", "describe", "orders", "-b", r.address, "-o", "json").Output()
		var g struct {
			Lag []struct {
				Topic     string
				Committed int64
				Lag       int64
			}
		}
		if err != nil || json.Unmarshal(out, &g) != nil {
			return false
		}
		committed, lag := int64(0), int64(0)
		for _, l := range g.Lag {
			if l.Topic == "customers" {
				committed += max(0, l.Committed)
				lag += l.Lag
			}
		}
		return committed >= 20 && lag == 0
	})
	var victims []string
	for _, v := range []string{"broker", "host", "file", "sqlite"} {
		victims = append(victims, slices.Repeat([]string{v}, killsEach)...)
	}
	r.rng.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	for i, victim := range victims {
		before := r.count()
		r.grow(200)
		r.eventually(fmt.Sprintf("progress before kill %d", i+1), func() bool { return r.count() > before })
		r.grow(200)
		moment := time.NewTimer(time.Duration(r.rng.IntN(120)) * time.Millisecond)
		<-moment.C
		t.Logf("kill %d: %s, at %d rows", i+1, victim, r.count())
		r.strike(victim)
	}
	want := 0
	for _, n := range r.rows {
		want += n
	}
	r.eventually(fmt.Sprintf("all %d rows", want), func() bool { return r.count() >= want })
	r.compare()
	r.eventually("the totals", func() bool { return cmp.Equal(r.readTotals(), r.totals) })
}

// compare holds the table of orders, as a multiset, against the expectation.
func (r *rig) compare() {
	got := map[string]int{}
	err := r.query("select id, customer, country, cents from orders", func(rows *sql.Rows) error {
		var id, cents int64
		var customer, country string
		err := rows.Scan(&id, &customer, &country, &cents)
		got[fmt.Sprint(id, "|", customer, "|", country, "|", cents)]++
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if diff := cmp.Diff(r.rows, got); diff != "" {
		r.t.Errorf("orders (-want +got):\n%s", diff)
	}
}

func (r *rig) readTotals() map[string][2]int64 {
	got := map[string][2]int64{}
	err := r.query("select country, orders, cents from countries", func(rows *sql.Rows) error {
		var country string
		var orders, cents int64
		err := rows.Scan(&country, &orders, &cents)
		got[country] = [2]int64{orders, cents}
		return err
	})
	if err != nil {
		return nil
	}
	return got
}
