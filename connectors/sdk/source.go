package sdk

import (
	"context"

	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/internal/recordbatch"
)

// Source reads the outside world. Its methods are called by one goroutine.
type Source interface {
	// Next puts the next records into out, which is empty, and sets
	// out.Position to the place after them. It waits for records until ctx is
	// done, about a second; then it returns with an empty out or with ctx's
	// error, and having lost nothing. io.EOF says that there will never be
	// more; it may come together with the last records.
	Next(ctx context.Context, out *Batch) error
	// Close releases what the source holds. No call follows.
	Close() error
}

// Committer is implemented by a Source that wants to know what is durable, to
// acknowledge or delete it at its origin.
type Committer interface {
	// Committed is called between calls of Next, with the newest position
	// whose records are durable in the log. Not every position is reported.
	Committed(ctx context.Context, position []byte) error
}

// SourceStart is what a source is told when it is opened.
type SourceStart struct {
	// Connector is the name of the instance.
	Connector string
	// Position is the place to go on from, as the source gave it with the last
	// durable batch; nil: from the beginning.
	Position []byte
	// Epoch grows with every start of this connector.
	Epoch int64
	// MaxBatchBytes is what a Batch may hold at most, see Batch.Full.
	MaxBatchBytes int64
}

// Batch collects records and the position after them: the unit that becomes
// durable as a whole.
type Batch struct {
	// Position is where to go on after this batch. The host stores it and
	// hands it back; nobody else reads it.
	Position []byte

	builder  recordbatch.Builder
	buf      []byte // memory of the last encode, for the next batch
	headers  []byte
	errors   []*proto.ErrorRecord
	size     int64
	maxBytes int64
}

// Header is one header of a record.
type Header = recordbatch.Header

// Append adds a record. A nil key or value is a null. The bytes are copied.
func (b *Batch) Append(timestampMs int64, key, value []byte, headers ...Header) {
	before := b.builder.SizeBytes()
	b.headers = recordbatch.EncodeHeaders(b.headers[:0], headers)
	b.builder.Append(timestampMs, key, value, b.headers)
	b.size += int64(b.builder.SizeBytes() - before)
}

// AppendError adds input that could not become a record: the host writes it
// to the dead-letter topic with the reason. origin is a place for people, such
// as "orders.jsonl:17". The bytes are copied.
func (b *Batch) AppendError(key, value []byte, reason, origin string) {
	e := &proto.ErrorRecord{Reason: reason, Origin: origin}
	if key != nil {
		e.Key = append([]byte{}, key...)
	}
	if value != nil {
		e.Value = append([]byte{}, value...)
	}
	b.errors = append(b.errors, e)
	b.size += int64(len(key) + len(value) + len(reason) + len(origin) + errorOverheadBytes)
}

// errorOverheadBytes is what an error record costs beyond its texts.
const errorOverheadBytes = 64

// Len is the number of records and error records.
func (b *Batch) Len() int { return b.builder.Len() + len(b.errors) }

// SizeBytes is the size so far.
func (b *Batch) SizeBytes() int64 { return b.size }

// Full tells whether n bytes more would make the batch larger than the host
// takes. A record that does not fit into an empty batch must become an error.
func (b *Batch) Full(n int) bool { return b.size+int64(n)+recordOverheadBytes > b.maxBytes }

// recordOverheadBytes bounds what a record costs beyond key and value.
const recordOverheadBytes = 128

func (b *Batch) reset(maxBytes int64) {
	b.Position, b.errors, b.size, b.maxBytes = nil, nil, 0, maxBytes
	b.builder.Reset(b.buf)
}

// encode returns the records as bytes for the wire, valid until the next
// reset. The CRC is set: the host checks it.
func (b *Batch) encode() []byte {
	records := b.builder.Batch()
	if records == nil {
		return nil
	}
	records.SetCRC()
	b.buf = records
	return records
}
