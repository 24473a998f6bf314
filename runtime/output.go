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

// maxPooledBuffers bounds the batch buffers that a worker keeps for reuse.
const maxPooledBuffers = 64

// outputs collects what the tasks of one worker write in a transaction: one
// batch builder per partition.
type outputs struct {
	txn       logclient.Transaction
	builders  map[logclient.TopicPartition]*partitionOutput
	order     []*partitionOutput // in order of creation, so that runs are repeatable
	inFlight  [][]byte           // handed to the log until the transaction ends
	pool      [][]byte
	sentBytes int64 // of the open transaction
	records   int64 // of the open transaction
}

type partitionOutput struct {
	tp      logclient.TopicPartition
	builder recordbatch.Builder
}

func newOutputs(txn logclient.Transaction) *outputs {
	return &outputs{txn: txn, builders: map[logclient.TopicPartition]*partitionOutput{}}
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
		b.Reset(o.buffer())
	} else if b.SizeBytes()+len(key)+len(value)+len(headers) > maxBatchBytes {
		if err := o.flushPartition(p); err != nil {
			return err
		}
		b.Reset(o.buffer())
	}
	b.Append(timestampMs, key, value, headers)
	o.records++
	return nil
}

func (o *outputs) buffer() []byte {
	if n := len(o.pool); n > 0 {
		buf := o.pool[n-1]
		o.pool = o.pool[:n-1]
		return buf
	}
	return make([]byte, 0, 64<<10)
}

func (o *outputs) flushPartition(p *partitionOutput) error {
	batch := p.builder.Batch()
	if batch == nil {
		return nil
	}
	o.sentBytes += int64(len(batch))
	o.inFlight = append(o.inFlight, batch)
	return o.txn.Append(p.tp, batch)
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
		if len(o.pool) < maxPooledBuffers && cap(buf) <= 2*maxBatchBytes {
			o.pool = append(o.pool, buf[:0])
		}
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
