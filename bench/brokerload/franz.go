package brokerload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// bufferedRecords are in the client at most, and bufferedBytes of them.
	bufferedRecords = 1 << 20
	bufferedBytes   = 64 << 20
	linger          = 5 * time.Millisecond
)

// counter counts the batches that a client sends.
type counter struct{ batches atomic.Int64 }

func (c *counter) OnProduceBatchWritten(kgo.BrokerMetadata, string, int32, kgo.ProduceBatchMetrics) {
	c.batches.Add(1)
}

func (l Load) producer(c *counter, opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(l.Brokers...), kgo.ClientID(clientID),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(int32(l.batchBytes())), kgo.MaxBufferedRecords(bufferedRecords), kgo.MaxBufferedBytes(bufferedBytes),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.WithHooks(c),
	}, opts...)...)
}

func produceFranz(ctx context.Context, l Load) (Result, error) {
	count := &counter{}
	client, err := l.producer(count, kgo.ProducerLinger(linger))
	if err != nil {
		return Result{}, err
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return Result{}, err
	}
	m, err := newMeter(l.PID)
	if err != nil {
		return Result{}, err
	}
	s := &sender{load: l, client: client, payload: newPayload(l.RecordBytes), pool: sync.Pool{New: func() any { return new(kgo.Record) }}}
	if err := s.run(ctx); err != nil {
		return Result{}, err
	}
	return m.result(l, count.batches.Load())
}

// sender hands records to a client.
type sender struct {
	load    Load
	client  *kgo.Client
	payload *payload
	pool    sync.Pool
	failed  atomic.Pointer[error]
	acked   atomic.Int64
}

func (s *sender) run(ctx context.Context) error {
	stamp := time.Now().Truncate(time.Millisecond)
	run := max(s.load.BatchRecords, 1) // in a row for a partition
	partition := int32(0)
	for i := int64(0); i < s.load.Records && s.failed.Load() == nil; i++ {
		if i%int64(run) == 0 {
			partition = (partition + 1) % s.load.Partitions
		}
		r := s.pool.Get().(*kgo.Record)
		*r = kgo.Record{Topic: s.load.Topic, Partition: partition, Timestamp: stamp}
		r.Key, r.Value = s.payload.next(s.load.RecordBytes)
		s.client.Produce(ctx, r, s.done)
	}
	if err := s.client.Flush(ctx); err != nil {
		return err
	}
	if err := s.failed.Load(); err != nil {
		return *err
	}
	if n := s.acked.Load(); n != s.load.Records {
		return fmt.Errorf("%d records were acknowledged", n)
	}
	return nil
}

func (s *sender) done(r *kgo.Record, err error) {
	if err != nil {
		s.failed.CompareAndSwap(nil, &err)
		return
	}
	s.acked.Add(1)
	s.pool.Put(r)
}

func consumeFranz(ctx context.Context, l Load) (Result, error) {
	offsets := map[int32]kgo.Offset{}
	for p := range l.Partitions {
		offsets[p] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(l.Brokers...), kgo.ClientID(clientID), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.Topic: offsets}),
		kgo.FetchMaxWait(fetchWaitMillis*time.Millisecond), kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(partitionBytes),
	)
	if err != nil {
		return Result{}, err
	}
	defer client.Close()
	m, err := newMeter(l.PID)
	if err != nil {
		return Result{}, err
	}
	var n, bytes int64
	for n < l.Records {
		fetches := client.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err0()); err != nil {
			return Result{}, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			bytes += int64(len(r.Key) + len(r.Value))
		})
	}
	if n != l.Records || bytes != n*int64(l.RecordBytes) {
		return Result{}, fmt.Errorf("%d records of %d bytes came", n, bytes)
	}
	return m.result(l, 0)
}
