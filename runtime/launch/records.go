package launch

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/levada/levada/internal/murmur2"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

// batchBytes is the size at which Write hands a batch to the log.
const batchBytes = 512 << 10

// commitBytes bounds what Write keeps in one transaction.
const commitBytes = 64 << 20

// Write writes keys and values to a topic, partitioned as any Kafka producer
// would, records without a key in turns. All of up to 64 MiB is one
// transaction; a larger input is several.
func Write(ctx context.Context, log logclient.Log, transactionalID, topic string, records iter.Seq2[[]byte, []byte]) error {
	infos, err := log.Admin().DescribeTopics([]string{topic}, false).Wait(ctx)
	if err != nil {
		return fmt.Errorf("topic %q: %w", topic, err)
	}
	info, ok := infos[topic]
	if !ok {
		return fmt.Errorf("topic %q: %w", topic, logclient.ErrUnknownTopic)
	}
	w, err := log.NewWriter(logclient.WriterConfig{TransactionalID: transactionalID, TransactionTimeout: time.Minute})
	if err != nil {
		return err
	}
	defer w.Close()
	t := &transfer{ctx: ctx, topic: topic, writer: w, batches: make([]recordbatch.Builder, info.Partitions)}
	nowMs := time.Now().UnixMilli()
	for key, value := range records {
		if err := t.add(nowMs, key, value); err != nil {
			return fmt.Errorf("topic %q: %w", topic, err)
		}
	}
	if err := t.commit(); err != nil {
		return fmt.Errorf("topic %q: %w", topic, err)
	}
	return nil
}

// transfer is one Write under way.
type transfer struct {
	ctx     context.Context
	topic   string
	writer  logclient.Writer
	batches []recordbatch.Builder
	next    int32 // partition of the next record without a key
	bytes   int
}

func (t *transfer) add(timestampMs int64, key, value []byte) error {
	n := int32(len(t.batches))
	p := t.next
	if key != nil {
		p = murmur2.Partition(key, n)
	} else {
		t.next = (t.next + 1) % n
	}
	t.batches[p].Append(timestampMs, key, value, nil)
	if t.batches[p].SizeBytes() < batchBytes {
		return nil
	}
	if err := t.flush(p); err != nil {
		return err
	}
	if t.bytes < commitBytes {
		return nil
	}
	return t.commit()
}

func (t *transfer) flush(p int32) error {
	batch := t.batches[p].Batch()
	if batch == nil {
		return nil
	}
	t.bytes += len(batch)
	return t.writer.Append(logclient.TopicPartition{Topic: t.topic, Partition: p}, batch)
}

func (t *transfer) commit() error {
	for p := range t.batches {
		if err := t.flush(int32(p)); err != nil {
			return err
		}
	}
	t.bytes = 0
	_, err := t.writer.Commit(nil).Wait(t.ctx)
	return err
}

// Read hands every committed record of a topic, up to its ends as they are
// now, to fn, each partition in order. The views are valid during the call.
func Read(ctx context.Context, log logclient.Log, topic string, fn func(partition int32, r *recordbatch.Record) error) error {
	infos, err := log.Admin().DescribeTopics([]string{topic}, false).Wait(ctx)
	if err != nil {
		return fmt.Errorf("topic %q: %w", topic, err)
	}
	var tps []logclient.TopicPartition
	for p := range infos[topic].Partitions {
		tps = append(tps, logclient.TopicPartition{Topic: topic, Partition: p})
	}
	if len(tps) == 0 {
		return fmt.Errorf("topic %q: %w", topic, logclient.ErrUnknownTopic)
	}
	starts, err := log.Admin().ListOffsets(tps, logclient.OffsetSpec{Kind: logclient.Earliest}).Wait(ctx)
	if err != nil {
		return fmt.Errorf("topic %q: %w", topic, err)
	}
	ends, err := log.Admin().ListOffsets(tps, logclient.OffsetSpec{Kind: logclient.LatestStable}).Wait(ctx)
	if err != nil {
		return fmt.Errorf("topic %q: %w", topic, err)
	}
	open := map[int32]int64{}
	var from []logclient.Position
	for _, tp := range tps {
		if starts[tp].Offset < ends[tp].Offset {
			open[tp.Partition] = ends[tp].Offset
			from = append(from, logclient.Position{TopicPartition: tp, Offset: starts[tp].Offset, LeaderEpoch: -1})
		}
	}
	if len(open) == 0 {
		return nil
	}
	r, err := log.NewReader(logclient.ReaderConfig{Positions: from})
	if err != nil {
		return err
	}
	defer r.Close()
	return readUntil(ctx, r, open, fn)
}

// idlePoll is how long Read waits for a wake-up before it looks again.
const idlePoll = 100 * time.Millisecond

func readUntil(ctx context.Context, r logclient.Reader, open map[int32]int64, fn func(int32, *recordbatch.Record) error) error {
	timer := time.NewTimer(idlePoll)
	defer timer.Stop()
	for len(open) > 0 {
		p := r.Poll(time.Now())
		for _, e := range p.Events {
			if e.Err != nil {
				return e.Err
			}
		}
		for _, b := range p.Batches {
			end, ok := open[b.Partition]
			if !ok {
				continue
			}
			if err := eachRecord(b, end, fn); err != nil {
				return err
			}
			if b.Next >= end {
				delete(open, b.Partition)
			}
		}
		if len(p.Batches) > 0 {
			continue
		}
		timer.Reset(idlePoll)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.Wake():
		case <-timer.C:
		}
	}
	return nil
}

func eachRecord(b logclient.Batch, end int64, fn func(int32, *recordbatch.Record) error) error {
	for i := range b.Records {
		if b.Records[i].Offset < end {
			if err := fn(b.Partition, &b.Records[i]); err != nil {
				return err
			}
		}
	}
	if b.Raw == nil {
		return nil
	}
	var reader recordbatch.Reader
	if err := reader.Reset(b.Raw); err != nil {
		return err
	}
	var rec recordbatch.Record
	for {
		ok, err := reader.Next(&rec)
		if err != nil || !ok {
			return err
		}
		if rec.Offset < end {
			if err := fn(b.Partition, &rec); err != nil {
				return err
			}
		}
	}
}

// ReadTable reads a topic as a table: the newest value of each key; a key whose
// newest value is null is absent.
func ReadTable(ctx context.Context, log logclient.Log, topic string) (map[string][]byte, error) {
	table := map[string][]byte{}
	err := Read(ctx, log, topic, func(_ int32, r *recordbatch.Record) error {
		if r.Value == nil {
			delete(table, string(r.Key))
		} else {
			table[string(r.Key)] = append([]byte(nil), r.Value...)
		}
		return nil
	})
	return table, err
}
