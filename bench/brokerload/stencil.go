package brokerload

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/levada/levada/internal/recordbatch"
)

// stencil is a batch that was encoded once. Offsets in it count from its first record, so
// its first records are those of a batch of fewer (the format: package recordbatch).
type stencil struct {
	head    recordbatch.Batch // without the records
	records []byte
	ends    []int    // in records, where each ends
	sums    []uint32 // CRC-32C of the records up to there, or 0 if it is not known yet
}

// newStencil encodes as many records as a batch of the load may have.
func newStencil(l Load) *stencil {
	s := &stencil{}
	var b recordbatch.Builder
	p := newPayload(l.RecordBytes)
	for b.SizeBytes()+l.RecordBytes+maxRecordOverhead <= maxBatchBytes && (l.BatchRecords == 0 || len(s.ends) < l.BatchRecords) {
		key, value := p.next(l.RecordBytes)
		b.Append(0, key, value, nil)
		s.ends = append(s.ends, b.SizeBytes()-recordbatch.HeaderSize)
	}
	batch := b.Batch()
	s.head, s.records = batch[:recordbatch.HeaderSize:recordbatch.HeaderSize], batch[recordbatch.HeaderSize:]
	s.sums = make([]uint32, len(s.ends))
	return s
}

// producerState is who writes, and how much it has written to a partition (KIP-98).
type producerState struct {
	id       int64
	epoch    int16
	sequence int32
}

// first are the first n records.
func (s *stencil) first(n int) []byte { return s.records[:s.ends[n-1]] }

// appendHead appends what comes before the first n records in a batch that has them, as the
// next of the producer.
func (s *stencil) appendHead(dst []byte, n int, p *producerState) []byte {
	records := s.first(n)
	if s.sums[n-1] == 0 {
		s.sums[n-1] = crc32.Checksum(records, castagnoli)
	}
	at := len(dst)
	dst = append(dst, s.head...)
	b := recordbatch.Batch(dst[at:])
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)+len(records)-recordbatch.LogOverhead))
	binary.BigEndian.PutUint32(b[23:], uint32(n-1))
	binary.BigEndian.PutUint32(b[57:], uint32(n))
	now := time.Now().UnixMilli()
	binary.BigEndian.PutUint64(b[27:], uint64(now))
	b.SetCreateTime(now)
	b.SetProducer(p.id, p.epoch, p.sequence, false)
	binary.BigEndian.PutUint32(b[17:], recordbatch.JoinSums(b.ComputeCRC(), s.sums[n-1], len(records)))
	p.sequence = recordbatch.AddSequence(p.sequence, int32(n))
	return dst
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
