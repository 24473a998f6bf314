package host

import (
	"strconv"

	"github.com/levada/levada/internal/murmur2"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

// maxOutputBatch is the size at which a batch is handed to the log: it must
// stay under max.message.bytes, 1 MiB by default in Kafka. A larger record
// travels alone.
const maxOutputBatch = 512 << 10

// Headers of a dead letter; they are those of package runtime, and Connector
// and Origin beside them.
const (
	HeaderErrorMessage   = "levada.error.message"
	HeaderErrorStage     = "levada.error.stage" // "source" or "sink"
	HeaderErrorConnector = "levada.error.connector"
	HeaderErrorOrigin    = "levada.error.origin" // of a source: where the input lies, for people
	HeaderErrorTopic     = "levada.error.topic"  // of a sink
	HeaderErrorPartition = "levada.error.partition"
	HeaderErrorOffset    = "levada.error.offset"
)

// outbox collects the records of one transaction in one batch for each
// partition of a topic.
type outbox struct {
	writer   logclient.Writer
	topic    string
	builders []recordbatch.Builder
	free     [][]byte // memory for batches
	inFlight [][]byte // handed to the log until the transaction ends
	sticky   int32    // partition of records without a key, changed with every transaction
	records  int64
}

func newOutbox(w logclient.Writer, topic string, partitions int32) *outbox {
	return &outbox{writer: w, topic: topic, builders: make([]recordbatch.Builder, partitions)}
}

// add appends a record.
func (o *outbox) add(timestampMs int64, key, value []byte, headers recordbatch.Headers) error {
	p := o.sticky
	if key != nil {
		p = murmur2.Partition(key, int32(len(o.builders)))
	}
	b := &o.builders[p]
	if b.Len() > 0 && b.SizeBytes()+len(key)+len(value)+len(headers) > maxOutputBatch {
		if err := o.flushPartition(p); err != nil {
			return err
		}
	}
	if b.Len() == 0 {
		b.Reset(o.memory())
	}
	b.Append(timestampMs, key, value, headers)
	o.records++
	return nil
}

func (o *outbox) memory() []byte {
	if n := len(o.free); n > 0 {
		buf := o.free[n-1]
		o.free = o.free[:n-1]
		return buf
	}
	return nil
}

func (o *outbox) flushPartition(p int32) error {
	batch := o.builders[p].Batch()
	if batch == nil {
		return nil
	}
	o.inFlight = append(o.inFlight, batch)
	return o.writer.Append(logclient.TopicPartition{Topic: o.topic, Partition: p}, batch)
}

// flush hands everything to the log.
func (o *outbox) flush() error {
	for p := range o.builders {
		if err := o.flushPartition(int32(p)); err != nil {
			return err
		}
	}
	return nil
}

// committed takes the memory back after a commit and returns how many records
// it held.
func (o *outbox) committed() int64 {
	for _, buf := range o.inFlight {
		if len(o.free) < len(o.builders) && cap(buf) <= 2*maxOutputBatch {
			o.free = append(o.free, buf)
		}
	}
	clear(o.inFlight)
	n := o.records
	o.inFlight, o.records = o.inFlight[:0], 0
	o.sticky = (o.sticky + 1) % int32(len(o.builders))
	return n
}

// letterHeaders makes the headers of a dead letter: pairs of names and values.
func letterHeaders(original recordbatch.Headers, pairs ...string) (recordbatch.Headers, error) {
	headers, err := original.Decode()
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(pairs); i += 2 {
		headers = append(headers, recordbatch.Header{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return recordbatch.EncodeHeaders(nil, headers), nil
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
