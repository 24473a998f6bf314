package recordbatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	// HeaderSize is the length of a batch without its records, in bytes.
	HeaderSize = 61
	// CRCFrom is where the part of a batch begins that its CRC covers.
	CRCFrom = 21
	// LogOverhead is the length of base offset and batch length, which the
	// batch length field does not count.
	LogOverhead = 12
	// Magic is the only format version read and written.
	Magic = 2
	// NoTimestamp is the time of a record that has none.
	NoTimestamp = -1
	// NoProducerID marks a batch of a producer that is not idempotent.
	NoProducerID = -1
)

const (
	codecMask        = 0x07
	logAppendTimeBit = 1 << 3
	transactionalBit = 1 << 4
	controlBit       = 1 << 5
)

// ErrCorrupt is wrapped by every error that says the bytes are no batch.
var ErrCorrupt = errors.New("recordbatch: corrupt")

// ErrShort says that the bytes end before the batch does.
var ErrShort = fmt.Errorf("%w: bytes end inside the batch", ErrCorrupt)

// ErrCompressed says that the records cannot be decompressed: their codec is unknown,
// or what it made is broken.
var ErrCompressed = errors.New("the records cannot be decompressed")

// ErrOffset says that the offset of a record does not follow that of the one before.
var ErrOffset = fmt.Errorf("%w: offset", ErrCorrupt)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is one encoded record batch. Accessors assume at least HeaderSize
// bytes; Split and Validate check that.
type Batch []byte

// Split cuts the first batch off buf. It checks the length field and the
// magic byte, not the CRC.
func Split(buf []byte) (Batch, []byte, error) {
	if len(buf) < HeaderSize {
		return nil, buf, ErrShort
	}
	n := int64(int32(binary.BigEndian.Uint32(buf[8:]))) + LogOverhead
	if n < HeaderSize {
		return nil, buf, fmt.Errorf("%w: batch length %d", ErrCorrupt, n-LogOverhead)
	}
	if m := buf[16]; m != Magic {
		return nil, buf, fmt.Errorf("%w: magic %d, only %d is supported", ErrCorrupt, m, Magic)
	}
	if n > int64(len(buf)) {
		return nil, buf, ErrShort
	}
	return Batch(buf[:n:n]), buf[n:], nil
}

// BaseOffset is the offset of the first record.
func (b Batch) BaseOffset() int64 { return int64(binary.BigEndian.Uint64(b[0:])) }

// SizeBytes is the length of the whole batch by its length field.
func (b Batch) SizeBytes() int { return int(int32(binary.BigEndian.Uint32(b[8:]))) + LogOverhead }

// LeaderEpoch is the epoch of the leader that appended the batch.
func (b Batch) LeaderEpoch() int32 { return int32(binary.BigEndian.Uint32(b[12:])) }

// CRC is the checksum the batch carries.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[17:]) }

// Attributes are the flags of the batch.
func (b Batch) Attributes() int16 { return int16(binary.BigEndian.Uint16(b[21:])) }

// Codec is the compression of the records.
func (b Batch) Codec() Codec { return Codec(b.Attributes() & codecMask) }

// IsTransactional tells whether the batch belongs to a transaction.
func (b Batch) IsTransactional() bool { return b.Attributes()&transactionalBit != 0 }

// IsControl tells whether the batch holds transaction markers.
func (b Batch) IsControl() bool { return b.Attributes()&controlBit != 0 }

// IsLogAppendTime tells whether MaxTimestamp is the time of the append and
// stands for every record.
func (b Batch) IsLogAppendTime() bool { return b.Attributes()&logAppendTimeBit != 0 }

// LastOffsetDelta is the last record's offset less BaseOffset.
func (b Batch) LastOffsetDelta() int32 { return int32(binary.BigEndian.Uint32(b[23:])) }

// LastOffset is the offset of the last record.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// NextOffset is the offset after the batch.
func (b Batch) NextOffset() int64 { return b.LastOffset() + 1 }

// BaseTimestamp is the time of the first record in ms since 1970.
func (b Batch) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[27:])) }

// MaxTimestamp is the largest time of a record in ms since 1970.
func (b Batch) MaxTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[35:])) }

// ProducerID is the id of an idempotent producer, or NoProducerID.
func (b Batch) ProducerID() int64 { return int64(binary.BigEndian.Uint64(b[43:])) }

// ProducerEpoch is the epoch of ProducerID.
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[51:])) }

// BaseSequence is the producer's sequence number of the first record.
func (b Batch) BaseSequence() int32 { return int32(binary.BigEndian.Uint32(b[53:])) }

// LastSequence is the sequence number of the last record; sequences wrap at 2^31.
func (b Batch) LastSequence() int32 { return AddSequence(b.BaseSequence(), b.LastOffsetDelta()) }

// Count is the number of records.
func (b Batch) Count() int32 { return int32(binary.BigEndian.Uint32(b[57:])) }

// AddSequence adds n to a sequence number, wrapping from 2^31-1 to 0.
func AddSequence(seq, n int32) int32 {
	return int32((int64(seq) + int64(n)) & 0x7fffffff)
}

// SetBaseOffset places the batch in the log. It does not touch the CRC.
func (b Batch) SetBaseOffset(o int64) { binary.BigEndian.PutUint64(b[0:], uint64(o)) }

// SetLeaderEpoch sets the partition leader epoch. It does not touch the CRC.
func (b Batch) SetLeaderEpoch(e int32) { binary.BigEndian.PutUint32(b[12:], uint32(e)) }

// SetProducer sets the producer's fields and the transactional flag; call
// SetCRC after it.
func (b Batch) SetProducer(id int64, epoch int16, baseSequence int32, transactional bool) {
	binary.BigEndian.PutUint64(b[43:], uint64(id))
	binary.BigEndian.PutUint16(b[51:], uint16(epoch))
	binary.BigEndian.PutUint32(b[53:], uint32(baseSequence))
	a := b.Attributes() &^ transactionalBit
	if transactional {
		a |= transactionalBit
	}
	binary.BigEndian.PutUint16(b[21:], uint16(a))
}

// SetLogAppendTime marks the batch with the time of its append, in ms; call
// SetCRC after it.
func (b Batch) SetLogAppendTime(ms int64) {
	binary.BigEndian.PutUint16(b[21:], uint16(b.Attributes()|logAppendTimeBit))
	binary.BigEndian.PutUint64(b[35:], uint64(ms))
}

// SetCreateTime says that the records have times of their own, of which the largest is ms;
// call SetCRC after it.
func (b Batch) SetCreateTime(ms int64) {
	binary.BigEndian.PutUint16(b[21:], uint16(b.Attributes()&^logAppendTimeBit))
	binary.BigEndian.PutUint64(b[35:], uint64(ms))
}

// ComputeCRC is the checksum that the bytes should carry.
func (b Batch) ComputeCRC() uint32 { return crc32.Checksum(b[CRCFrom:], castagnoli) }

// SetCRC writes the checksum of the bytes as they are now.
func (b Batch) SetCRC() { binary.BigEndian.PutUint32(b[17:], b.ComputeCRC()) }

// Validate checks what can be checked without decoding a record: length,
// magic, CRC, and that the counts agree.
func (b Batch) Validate() error {
	if len(b) < HeaderSize {
		return ErrShort
	}
	if b.SizeBytes() != len(b) {
		return fmt.Errorf("%w: length field says %d bytes of %d", ErrCorrupt, b.SizeBytes(), len(b))
	}
	if b[16] != Magic {
		return fmt.Errorf("%w: magic %d, only %d is supported", ErrCorrupt, b[16], Magic)
	}
	if got, want := b.CRC(), b.ComputeCRC(); got != want {
		return fmt.Errorf("%w: CRC %08x, computed %08x", ErrCorrupt, got, want)
	}
	if b.LastOffsetDelta() < 0 || b.Count() < 0 {
		return fmt.Errorf("%w: last offset delta %d, count %d", ErrCorrupt, b.LastOffsetDelta(), b.Count())
	}
	return nil
}
