package recordbatch

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// Builder encodes records into one uncompressed batch. The zero Builder is
// ready; Reset keeps its buffer. It is not safe for concurrent use.
type Builder struct {
	buf      []byte
	count    int32
	baseTime int64
	maxTime  int64
}

// Reset empties the builder and writes the next batch into buf's memory from
// its start (nil takes new memory).
func (b *Builder) Reset(buf []byte) {
	b.buf, b.count = buf[:0], 0
}

// Len is the number of records so far.
func (b *Builder) Len() int { return int(b.count) }

// SizeBytes is the size of the batch so far, its header included.
func (b *Builder) SizeBytes() int { return len(b.buf) }

// Append adds a record; a nil key or value is a null.
// Offsets are 0, 1, 2, …; the log sets the base.
func (b *Builder) Append(timestampMs int64, key, value []byte, headers Headers) {
	if b.count == 0 {
		if cap(b.buf) < HeaderSize {
			b.buf = make([]byte, 0, 4096)
		}
		b.buf = b.buf[:HeaderSize]
		b.baseTime, b.maxTime = timestampMs, timestampMs
	}
	b.maxTime = max(b.maxTime, timestampMs)
	b.buf = appendRecord(b.buf, timestampMs-b.baseTime, int64(b.count), key, value, headers)
	b.count++
}

// appendRecord appends the encoded form of a record.
func appendRecord(p []byte, timeDelta, offsetDelta int64, key, value []byte, headers Headers) []byte {
	size := 1 + varintLen(timeDelta) + varintLen(offsetDelta) + bytesLen(key) + bytesLen(value) + max(len(headers), 1)
	p = binary.AppendVarint(p, int64(size))
	p = append(p, 0)
	p = binary.AppendVarint(p, timeDelta)
	p = binary.AppendVarint(p, offsetDelta)
	p = appendBytes(p, key)
	p = appendBytes(p, value)
	if len(headers) == 0 {
		return append(p, 0)
	}
	return append(p, headers...)
}

// Batch finishes the header and returns the bytes, which belong to the caller
// from now on; the Builder must be Reset before it is used again. The CRC is
// not yet set: whoever sets the producer fields does (SetProducer, SetCRC).
// An empty builder returns nil.
func (b *Builder) Batch() Batch {
	if b.count == 0 {
		return nil
	}
	p := b.buf
	clear(p[:HeaderSize])
	binary.BigEndian.PutUint32(p[8:], uint32(len(p)-LogOverhead))
	p[16] = Magic
	binary.BigEndian.PutUint32(p[23:], uint32(b.count-1))
	binary.BigEndian.PutUint64(p[27:], uint64(b.baseTime))
	binary.BigEndian.PutUint64(p[35:], uint64(b.maxTime))
	binary.BigEndian.PutUint64(p[43:], math.MaxUint64)
	binary.BigEndian.PutUint16(p[51:], math.MaxUint16)
	binary.BigEndian.PutUint32(p[53:], math.MaxUint32)
	binary.BigEndian.PutUint32(p[57:], uint32(b.count))
	b.buf, b.count = nil, 0
	return Batch(p)
}

// ControlBatch is the one-record batch of a transaction marker, with its CRC
// set (KIP-98): key is version 0 and type 0 (abort) or 1 (commit), value is
// version 0 and the coordinator epoch.
func ControlBatch(producerID int64, producerEpoch int16, commit bool, coordinatorEpoch int32, timestampMs int64) Batch {
	key := []byte{0, 0, 0, 0}
	if commit {
		key[3] = 1
	}
	value := binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(coordinatorEpoch))
	var b Builder
	b.Append(timestampMs, key, value, nil)
	batch := b.Batch()
	batch.SetProducer(producerID, producerEpoch, -1, true)
	binary.BigEndian.PutUint16(batch[21:], uint16(batch.Attributes()|controlBit))
	batch.SetCRC()
	return batch
}

// Marker is the record of a control batch that ends a transaction.
type Marker struct {
	Commit           bool
	CoordinatorEpoch int32
}

// ParseMarker reads the marker in a control batch.
func ParseMarker(b Batch) (Marker, error) {
	var r Reader
	var rec Record
	if err := r.Reset(b); err != nil {
		return Marker{}, err
	}
	if ok, err := r.Next(&rec); err != nil {
		return Marker{}, err
	} else if !ok || len(rec.Key) < 4 || len(rec.Value) < 6 {
		return Marker{}, fmt.Errorf("%w: control record without a marker", ErrCorrupt)
	}
	kind := binary.BigEndian.Uint16(rec.Key[2:])
	if kind > 1 {
		return Marker{}, fmt.Errorf("%w: control record of type %d", ErrCorrupt, kind)
	}
	return Marker{Commit: kind == 1, CoordinatorEpoch: int32(binary.BigEndian.Uint32(rec.Value[2:]))}, nil
}

// IsCommitMarker reads the type of the marker in a control batch.
func IsCommitMarker(b Batch) (commit bool, err error) {
	m, err := ParseMarker(b)
	return m.Commit, err
}

func varintLen(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	return (bits.Len64(u|1) + 6) / 7
}

func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 1) // varint -1
	}
	dst = binary.AppendVarint(dst, int64(len(b)))
	return append(dst, b...)
}
