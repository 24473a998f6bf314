package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	snapshotMagic   = "LVSNAP"
	snapshotVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errSnapshot = errors.New("snapshot is damaged")

// encodeSnapshot gives the state after all batches below end, as a checkpoint has it. Decisions are not in it: whoever made them repeats them.
//
//	6  "LVSNAP"            2 version          8 end offset
//	4  producers, each:    8 id  2 epoch  8 timestamp  4 coordinator epoch
//	                       8 first offset of its transaction, or -1
//	                       2 epoch of that transaction
//	                       1 batches, each: 4 base sequence  4 last delta  8 base offset  8 timestamp
//	4  aborted, each:      8 producer id  8 first offset  8 last offset
//	4  epochs, each:       4 epoch  8 start offset
//	4  CRC-32C of all before
func (s *state) encodeSnapshot(end int64) []byte {
	be := binary.BigEndian
	p := append([]byte(nil), snapshotMagic...)
	p = be.AppendUint16(p, snapshotVersion)
	p = be.AppendUint64(p, uint64(end))
	p = be.AppendUint32(p, uint32(len(s.producers)))
	for q := s.oldest; q != nil; q = q.newer {
		first, epoch := int64(-1), int16(-1)
		if q.txn != nil {
			first, epoch = q.txn.firstOffset, q.txn.epoch
		}
		p = be.AppendUint64(p, uint64(q.id))
		p = be.AppendUint16(p, uint16(q.epoch))
		p = be.AppendUint64(p, uint64(q.timestamp))
		p = be.AppendUint32(p, uint32(q.coordinatorEpoch))
		p = be.AppendUint64(p, uint64(first))
		p = be.AppendUint16(p, uint16(epoch))
		p = append(p, byte(q.known))
		for _, m := range q.batches[:q.known] {
			p = be.AppendUint32(p, uint32(m.baseSequence))
			p = be.AppendUint32(p, uint32(m.lastDelta))
			p = be.AppendUint64(p, uint64(m.baseOffset))
			p = be.AppendUint64(p, uint64(m.timestamp))
		}
	}
	p = s.encodeAborted(p)
	p = be.AppendUint32(p, uint32(len(s.epochs)))
	for _, e := range s.epochs {
		p = be.AppendUint32(p, uint32(e.epoch))
		p = be.AppendUint64(p, uint64(e.start))
	}
	return be.AppendUint32(p, crc32.Checksum(p, castagnoli))
}

// encodeAborted leaves out what is decided without a marker.
func (s *state) encodeAborted(p []byte) []byte {
	be := binary.BigEndian
	at, count := len(p), 0
	p = be.AppendUint32(p, 0)
	for _, t := range s.aborted.txns {
		if t.pending() {
			continue
		}
		p = be.AppendUint64(p, uint64(t.ProducerID))
		p = be.AppendUint64(p, uint64(t.FirstOffset))
		p = be.AppendUint64(p, uint64(t.LastOffset))
		count++
	}
	be.PutUint32(p[at:], uint32(count))
	return p
}

// decodeSnapshot reads a snapshot that was written at end.
func decodeSnapshot(p []byte, end int64, limit int) (*state, error) {
	head := len(snapshotMagic) + 2 + 8
	if len(p) < head+4 || string(p[:len(snapshotMagic)]) != snapshotMagic {
		return nil, errSnapshot
	}
	body, sum := p[:len(p)-4], binary.BigEndian.Uint32(p[len(p)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, errSnapshot
	}
	if v := binary.BigEndian.Uint16(body[len(snapshotMagic):]); v != snapshotVersion {
		return nil, fmt.Errorf("%w: version %d", errSnapshot, v)
	}
	if at := int64(binary.BigEndian.Uint64(body[len(snapshotMagic)+2:])); at != end {
		return nil, fmt.Errorf("%w: of offset %d", errSnapshot, at)
	}
	r := &snapshotReader{p: body[head:]}
	s := newState(limit)
	for range r.count(33) {
		r.producer(s, end)
	}
	for range r.count(24) {
		s.aborted.put(AbortedTxn{ProducerID: r.int64(), FirstOffset: r.int64(), LastOffset: r.int64()})
	}
	for range r.count(12) {
		s.epochs = append(s.epochs, epochStart{r.int32(), r.int64()})
	}
	if r.bad || len(r.p) != 0 {
		return nil, errSnapshot
	}
	s.txns.sort()
	return s, nil
}

// snapshotReader takes fields off p; after the end it gives zeros and is bad.
type snapshotReader struct {
	p   []byte
	bad bool
}

func (r *snapshotReader) take(n int) []byte {
	if len(r.p) < n {
		r.bad, r.p = true, nil
		return make([]byte, n)
	}
	out := r.p[:n]
	r.p = r.p[n:]
	return out
}

func (r *snapshotReader) int16() int16 { return int16(binary.BigEndian.Uint16(r.take(2))) }
func (r *snapshotReader) int32() int32 { return int32(binary.BigEndian.Uint32(r.take(4))) }
func (r *snapshotReader) int64() int64 { return int64(binary.BigEndian.Uint64(r.take(8))) }

// count reads a count of things that take at least size bytes each.
func (r *snapshotReader) count(size int) int {
	n := int(binary.BigEndian.Uint32(r.take(4)))
	if n > len(r.p)/size {
		r.bad = true
		return 0
	}
	return n
}

func (r *snapshotReader) producer(s *state, end int64) {
	id, epoch := r.int64(), r.int16()
	p := s.touch(id, epoch)
	p.timestamp, p.coordinatorEpoch = r.int64(), r.int32()
	first, txnEpoch := r.int64(), r.int16()
	if first >= end || first < -1 {
		r.bad = true
		return
	}
	if first >= 0 {
		p.txn = &openTxn{producerID: id, epoch: txnEpoch, firstOffset: first}
		s.txns.begin(p.txn)
	}
	known := r.take(1)[0]
	if known > rememberedBatches {
		r.bad = true
		return
	}
	for range known {
		p.remember(batchMeta{r.int32(), r.int32(), r.int64(), r.int64()})
	}
}
