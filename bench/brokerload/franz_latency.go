package brokerload

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// paceFranz uses half of the processors, as it would take them from the broker.
func paceFranz(ctx context.Context, l Load, rate float64) ([]time.Duration, Result, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2)))
	count := &counter{}
	client, err := l.producer(count, kgo.ProducerLinger(0))
	if err != nil {
		return nil, Result{}, err
	}
	defer client.Close()
	t := &timed{load: l, client: client, payload: newPayload(l.RecordBytes), rate: rate}
	if err := t.warm(ctx); err != nil {
		return nil, Result{}, err
	}
	m, err := newMeter(l.PID)
	if err != nil {
		return nil, Result{}, err
	}
	if err := t.run(ctx); err != nil {
		return nil, Result{}, err
	}
	result, err := m.result(l, count.batches.Load())
	return t.took, result, err
}

// timed sends records when they are due.
type timed struct {
	load    Load
	client  *kgo.Client
	payload *payload
	rate    float64

	mu   sync.Mutex
	took []time.Duration
	idle []*dueRecord
	err  error
}

// warm sends one record to every partition, so that the client knows its way.
func (t *timed) warm(ctx context.Context) error {
	for p := range t.load.Partitions {
		r := &kgo.Record{Topic: t.load.Topic, Partition: p}
		r.Key, r.Value = t.payload.next(t.load.RecordBytes)
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
		at := began.Add(due(i, t.rate))
		if early := time.Until(at); early > 0 {
			alarm.Reset(early) // the pace of the schedule
			<-alarm.C
		}
		r := t.take()
		r.due = at
		r.Record = kgo.Record{Topic: t.load.Topic, Partition: int32(i % int64(t.load.Partitions))}
		r.Key, r.Value = t.payload.next(t.load.RecordBytes)
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
