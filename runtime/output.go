package runtime

import (
	"fmt"

	"github.com/levada/levada/internal/murmur2"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

// maxBatchBytes is the size at which an output batch is handed to the log. A
// batch must stay under max.message.bytes (1 MiB by default in Kafka); larger
// records travel alone.
const maxBatchBytes = 512 << 10

// bufferBytes is the size of a batch buffer: a batch at its limit, and the
// framing of its last record.
const bufferBytes = maxBatchBytes + 4<<10

// smallBuffer is what a partition begins with: most of a topology with many
// partitions write little.
const smallBuffer = 16 << 10

// maxPooledBuffers bounds the batch buffers that a worker keeps for reuse.
const maxPooledBuffers = 64

// outputs collects what the tasks of one worker write in a transaction: one
// batch builder per partition.
type outputs struct {
	txn       logclient.Transaction
	copies    bool // a batch may be used again once it is appended
	builders  map[logclient.TopicPartition]*partitionOutput
	order     []*partitionOutput // in order of creation, so that runs are repeatable
	inFlight  [][]byte           // handed to the log until the transaction ends
	pool      [][]byte           // full buffers for reuse
	small     [][]byte           // and small ones
	sentBytes int64              // of the open transaction
	records   int64              // of the open transaction
}

type partitionOutput struct {
	tp      logclient.TopicPartition
	builder recordbatch.Builder
	busy    bool // its last batch outgrew a small buffer
}

func newOutputs(txn logclient.Transaction) *outputs {
	c, ok := txn.(logclient.Copier)
	return &outputs{txn: txn, copies: ok && c.Copies(), builders: map[logclient.TopicPartition]*partitionOutput{}}
}

func (o *outputs) partition(tp logclient.TopicPartition) *partitionOutput {
	p, ok := o.builders[tp]
	if !ok {
		p = &partitionOutput{tp: tp}
		o.builders[tp] = p
		o.order = append(o.order, p)
	}
	return p
}

// append adds a record to the batch of a partition.
func (o *outputs) append(p *partitionOutput, timestampMs int64, key, value []byte, headers recordbatch.Headers) error {
	b := &p.builder
	if b.Len() == 0 {
		b.Reset(o.buffer(p.busy))
	} else if b.SizeBytes()+len(key)+len(value)+len(headers) > maxBatchBytes {
		if err := o.flushPartition(p); err != nil {
			return err
		}
		b.Reset(o.buffer(true))
	}
	b.Append(timestampMs, key, value, headers)
	o.records++
	return nil
}

// buffer returns memory for a batch.
func (o *outputs) buffer(full bool) []byte {
	pool, size := &o.small, smallBuffer
	if full {
		pool, size = &o.pool, bufferBytes
	}
	if n := len(*pool); n > 0 {
		buf := (*pool)[n-1]
		*pool = (*pool)[:n-1]
		return buf
	}
	return make([]byte, 0, size)
}

// recycle keeps the memory of a batch for the next.
func (o *outputs) recycle(buf []byte) {
	pool := &o.small
	if cap(buf) >= bufferBytes {
		pool = &o.pool
	}
	if len(*pool) < maxPooledBuffers && cap(buf) <= 2*bufferBytes {
		*pool = append(*pool, buf[:0])
	}
}

func (o *outputs) flushPartition(p *partitionOutput) error {
	batch := p.builder.Batch()
	if batch == nil {
		return nil
	}
	p.busy = len(batch) > smallBuffer
	o.sentBytes += int64(len(batch))
	if !o.copies {
		o.inFlight = append(o.inFlight, batch)
		return o.txn.Append(p.tp, batch)
	}
	err := o.txn.Append(p.tp, batch)
	o.recycle(batch)
	return err
}

// flush hands everything collected to the log.
func (o *outputs) flush() error {
	for _, p := range o.order {
		if err := o.flushPartition(p); err != nil {
			return err
		}
	}
	return nil
}

// bytes is the size of what the open transaction has written so far.
func (o *outputs) bytes() int64 {
	n := o.sentBytes
	for _, p := range o.order {
		n += int64(p.builder.SizeBytes())
	}
	return n
}

// ended takes the buffers back after a commit or abort is done.
func (o *outputs) ended() {
	for _, buf := range o.inFlight {
		o.recycle(buf)
	}
	clear(o.inFlight)
	o.inFlight, o.sentBytes, o.records = o.inFlight[:0], 0, 0
}

// drop forgets what is collected and not handed over.
func (o *outputs) drop() {
	for _, p := range o.order {
		if b := p.builder.Batch(); b != nil {
			o.inFlight = append(o.inFlight, b)
		}
	}
}

// taskOutput is the topology.Output of one task.
type taskOutput struct {
	out   *outputs
	sinks []sinkOutput
}

type sinkOutput struct {
	topic      string
	partitions []*partitionOutput
	next       int32 // partition of records without a key, changed per batch
}

func newTaskOutput(o *outputs, topics []resolvedTopic) *taskOutput {
	t := &taskOutput{out: o}
	for _, topic := range topics {
		s := sinkOutput{topic: topic.name}
		for p := range topic.partitions {
			s.partitions = append(s.partitions, o.partition(logclient.TopicPartition{Topic: topic.name, Partition: p}))
		}
		t.sinks = append(t.sinks, s)
	}
	return t
}

// Send implements topology.Output.
func (t *taskOutput) Send(sink int, timestampMs int64, key, value []byte, headers recordbatch.Headers) error {
	s := &t.sinks[sink]
	if len(s.partitions) == 0 {
		return fmt.Errorf("topic %q has no partitions", s.topic)
	}
	p := s.next
	if key != nil {
		p = murmur2.Partition(key, int32(len(s.partitions)))
	}
	return t.out.append(s.partitions[p], timestampMs, key, value, headers)
}

// rotate moves on to the next partition for records without a key.
func (t *taskOutput) rotate() {
	for i := range t.sinks {
		if n := int32(len(t.sinks[i].partitions)); n > 0 {
			t.sinks[i].next = (t.sinks[i].next + 1) % n
		}
	}
}
