package brokerload

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Latency is how long records took from the moment they were due to their
// acknowledgement, in milliseconds.
type Latency struct {
	Rate   float64 `json:"rate"` // records a second that were due
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	P999   float64 `json:"p999_ms"`
	Max    float64 `json:"max_ms"`
	Result         // of the same run
}

// MeasureLatency writes records at a fixed rate, without lingering, whether or not
// the broker keeps up: what it delays is counted from the schedule. It uses half of the
// processors: what a client takes from a broker on the same machine would count as the
// broker's delay. For the same reason it collects its garbage only beyond 2 GiB.
func MeasureLatency(ctx context.Context, l Load, rate float64, length time.Duration) (Latency, error) {
	if rate < 1 || rate > maxRate || length <= 0 || length > time.Hour {
		return Latency{}, fmt.Errorf("%v records/s for %v: use 1 to %d records/s and at most an hour", rate, length, maxRate)
	}
	l.Records = max(1, int64(rate*length.Seconds()))
	l, err := l.withDefaults()
	if err != nil {
		return Latency{}, err
	}
	defer withoutCollection(l.Records)()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2)))
	count := &counter{}
	client, err := l.producer(count, kgo.ProducerLinger(0))
	if err != nil {
		return Latency{}, err
	}
	defer client.Close()
	t := &timed{load: l, client: client, payload: newPayload(l.RecordBytes), step: time.Duration(float64(time.Second) / rate)}
	if err := t.warm(ctx); err != nil {
		return Latency{}, err
	}
	m, err := newMeter(l.PID)
	if err != nil {
		return Latency{}, err
	}
	if err := t.run(ctx); err != nil {
		return Latency{}, fmt.Errorf("latency of %s: %w", l.describe(), err)
	}
	result, err := m.result(l, count.batches.Load())
	all := sorted(t.took)
	return Latency{
		Rate: rate, P50: quantile(all, 0.5), P99: quantile(all, 0.99), P999: quantile(all, 0.999), Max: quantile(all, 1), Result: result,
	}, err
}

// garbageBytes is how much memory the client of a latency run may take before it collects
// garbage. On its one processor that would stop it for milliseconds, several times a second.
const garbageBytes = 2 << 30

// withoutCollection has garbage collected only where the memory grows beyond garbageBytes
// and the time of each record, until the function that it returns is called.
func withoutCollection(records int64) (restore func()) {
	runtime.GC()
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(garbageBytes+8*records)
	return func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}
}

// timed sends records when they are due.
type timed struct {
	load    Load
	client  *kgo.Client
	payload *payload
	step    time.Duration

	mu   sync.Mutex
	took []time.Duration
	idle []*dueRecord
	err  error
}

// warm sends one record to every partition, so that the client knows its way.
func (t *timed) warm(ctx context.Context) error {
	for p := range t.load.Partitions {
		r := &kgo.Record{Topic: t.load.Topic, Partition: p}
		t.payload.next(r, t.load.RecordBytes)
		if err := t.client.ProduceSync(ctx, r).FirstErr(); err != nil {
			return err
		}
	}
	return nil
}

func (t *timed) run(ctx context.Context) error {
	t.took = make([]time.Duration, 0, t.load.Records)
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	began := time.Now()
	for i := int64(0); i < t.load.Records; i++ {
		due := began.Add(time.Duration(i) * t.step)
		if early := time.Until(due); early > 0 {
			alarm.Reset(early) // the pace of the schedule
			<-alarm.C
		}
		r := t.take()
		r.due = due
		r.Record = kgo.Record{Topic: t.load.Topic, Partition: int32(i % int64(t.load.Partitions))}
		t.payload.next(&r.Record, t.load.RecordBytes)
		t.client.Produce(ctx, &r.Record, r.done)
	}
	if err := t.client.Flush(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// dueRecord is a record on its way. It is used again: the client's garbage collection
// would count as the broker's delay.
type dueRecord struct {
	kgo.Record
	due  time.Time
	done func(*kgo.Record, error)
}

func (t *timed) take() *dueRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.idle); n > 0 {
		r := t.idle[n-1]
		t.idle = t.idle[:n-1]
		return r
	}
	r := &dueRecord{}
	r.done = func(_ *kgo.Record, err error) {
		took := time.Since(r.due)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.took = append(t.took, took)
		if t.err == nil {
			t.err = err
		}
		t.idle = append(t.idle, r)
	}
	return r
}
