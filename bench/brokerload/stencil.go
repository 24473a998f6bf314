package brokerload

import (
	"encoding/binary"
	"time"

	"github.com/levada/levada/internal/recordbatch"
)

// stencil is a batch that was encoded once. Offsets in it count from its first record, so
// its beginning is a batch of fewer records (the format: package recordbatch).
type stencil struct {
	batch recordbatch.Batch
	ends  []int // where each record ends
}

// newStencil encodes as many records as a batch of the load may have.
func newStencil(l Load) *stencil {
	s := &stencil{}
	var b recordbatch.Builder
	p := newPayload(l.RecordBytes)
	for b.SizeBytes()+l.RecordBytes+maxRecordOverhead <= maxBatchBytes && (l.BatchRecords == 0 || len(s.ends) < l.BatchRecords) {
		key, value := p.next(l.RecordBytes)
		b.Append(0, key, value, nil)
		s.ends = append(s.ends, b.SizeBytes())
	}
	s.batch = b.Batch()
	return s
}

// producerState is who writes, and how much it has written to a partition (KIP-98).
type producerState struct {
	id       int64
	epoch    int16
	sequence int32
}

// appendBatch appends a batch of the first n records, which are the next of the producer.
func (s *stencil) appendBatch(dst []byte, n int, p *producerState) []byte {
	at := len(dst)
	dst = append(dst, s.batch[:s.ends[n-1]]...)
	b := recordbatch.Batch(dst[at:])
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-recordbatch.LogOverhead))
	binary.BigEndian.PutUint32(b[23:], uint32(n-1))
	binary.BigEndian.PutUint32(b[57:], uint32(n))
	now := time.Now().UnixMilli()
	binary.BigEndian.PutUint64(b[27:], uint64(now))
	b.SetCreateTime(now)
	b.SetProducer(p.id, p.epoch, p.sequence, false)
	b.SetCRC()
	p.sequence = recordbatch.AddSequence(p.sequence, int32(n))
	return dst
}
