package chaos

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/levada/levada/internal/checker"
)

// What the driver itself finds, beside what the checker does.
const (
	// Stalled: nothing was committed, or read to the end, within a long time.
	Stalled checker.Class = "stalled"
	// ServerDied: the server ended, and nobody had ended it.
	ServerDied checker.Class = "server-died"
	// LogWentBack: a reader was told that its position is not in the log.
	LogWentBack checker.Class = "log-went-back"
	// Damaged: a reader was given what cannot be read, or an error that says so.
	Damaged checker.Class = "damaged"
)

// recorder collects what the clients of a round do. Its methods may be called by
// all of them.
type recorder struct {
	began     time.Time
	process   atomic.Int64 // the last one given out
	value     atomic.Int64 // the last one sent
	committed atomic.Int64 // operations that were acknowledged

	mu    sync.Mutex // guards what follows
	ops   []checker.Op
	found []checker.Anomaly
	once  map[string]bool // what was found already
}

func newRecorder() *recorder { return &recorder{began: time.Now(), once: map[string]bool{}} }

func (r *recorder) newProcess() int { return int(r.process.Add(1)) }

func (r *recorder) newValue() int64 { return r.value.Add(1) }

// begin starts an operation; end writes it down.
func (r *recorder) begin(process int, f checker.Function) *checker.Op {
	return &checker.Op{Process: process, F: f, Start: time.Since(r.began).Nanoseconds()}
}

func (r *recorder) end(o *checker.Op, as checker.Type, err error) {
	o.Type, o.End = as, time.Since(r.began).Nanoseconds()
	if err != nil {
		o.Error = err.Error()
	}
	r.mu.Lock()
	r.ops = append(r.ops, *o)
	r.mu.Unlock()
	if as == checker.OK && (o.F == checker.Txn || o.F == checker.Send) {
		r.committed.Add(1)
	}
}

// mark writes down an operation that cannot fail.
func (r *recorder) mark(process int, f checker.Function) { r.end(r.begin(process, f), checker.OK, nil) }

// find notes what the driver has found itself, each text once.
func (r *recorder) find(class checker.Class, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	if key := string(class) + text; !r.once[key] {
		r.once[key] = true
		r.found = append(r.found, checker.Anomaly{Class: class, Offset: checker.NoOffset, Text: text})
	}
}

// add notes what another check has found.
func (r *recorder) add(found []checker.Anomaly) {
	r.mu.Lock()
	r.found = append(r.found, found...)
	r.mu.Unlock()
}

func (r *recorder) anomalies() []checker.Anomaly {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.found
}

// patience is how long to wait for something that may take up to most: less once
// it is known that something is broken.
func (r *recorder) patience(most time.Duration) time.Duration {
	if len(r.anomalies()) > 0 {
		return min(most, 5*time.Second)
	}
	return most
}

func (r *recorder) history() []checker.Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ops
}
