package recordbatch

import (
	"encoding/binary"
	"math"
)

// deleteHorizonBit says that the base timestamp is the time from which
// tombstones and markers may go (KIP-534).
const deleteHorizonBit = 1 << 6

// DeleteHorizon is the time, ms, from which the batch's tombstones, or its
// marker, may be removed; ok is false if compaction has not set it yet.
func (b Batch) DeleteHorizon() (ms int64, ok bool) {
	return b.BaseTimestamp(), b.Attributes()&deleteHorizonBit != 0
}

// NoHorizon leaves the delete horizon of a batch as it is.
const NoHorizon = math.MinInt64

// Filter copies batches without some of their records, as compaction does. Base
// offset, last offset and the producer's fields stay: offsets are never given
// anew, and a batch may end up with no record. The zero Filter is ready; reuse
// one to keep its buffers. It is not safe for concurrent use.
type Filter struct {
	reader Reader
	body   []byte
}

// Append appends to dst what of b is left when only records that keep says yes
// to stay, with horizonMs as its delete horizon unless that is NoHorizon.
// A batch that keeps all its records is not encoded anew.
func (f *Filter) Append(dst []byte, b Batch, horizonMs int64, keep func(*Record) bool) (out []byte, kept int, err error) {
	if err := f.reader.Reset(b); err != nil {
		return dst, 0, err
	}
	base := b.BaseTimestamp()
	if horizonMs != NoHorizon {
		base = horizonMs
	}
	newest := int64(math.MinInt64)
	f.body = f.body[:0]
	var rec Record
	for {
		ok, err := f.reader.Next(&rec)
		if err != nil {
			return dst, 0, err
		}
		if !ok {
			break
		}
		if !keep(&rec) {
			continue
		}
		kept++
		newest = max(newest, rec.Timestamp)
		f.body = appendRecord(f.body, rec.Timestamp-base, rec.Offset-b.BaseOffset(), rec.Key, rec.Value, rec.Headers)
	}
	if kept == int(b.Count()) && horizonMs == NoHorizon {
		return append(dst, b...), kept, nil
	}
	start := len(dst)
	dst = append(dst, b[:HeaderSize]...)
	attributes, codec := b.Attributes(), b.Codec()
	if kept == 0 {
		// Nothing is compressed, no record has a time.
		attributes &^= codecMask | deleteHorizonBit
		codec, base, newest = CodecNone, -1, b.MaxTimestamp()
	} else if dst, err = codec.Compress(dst, f.body, 0); err != nil {
		return dst[:start], 0, err
	}
	if horizonMs != NoHorizon && kept > 0 {
		attributes |= deleteHorizonBit
	}
	if b.IsLogAppendTime() {
		newest = b.MaxTimestamp()
	}
	c := Batch(dst[start:])
	binary.BigEndian.PutUint32(c[8:], uint32(len(c)-LogOverhead))
	binary.BigEndian.PutUint16(c[21:], uint16(attributes))
	binary.BigEndian.PutUint64(c[27:], uint64(base))
	binary.BigEndian.PutUint64(c[35:], uint64(newest))
	binary.BigEndian.PutUint32(c[57:], uint32(kept))
	c.SetCRC()
	return dst, kept, nil
}

// Recode appends b to dst with its records compressed by another codec, at a level of
// Codec.Compress. It is a Reset.
func (r *Reader) Recode(dst []byte, b Batch, c Codec, level int) (Batch, error) {
	if err := r.Reset(b); err != nil {
		return nil, err
	}
	start := len(dst)
	dst = append(dst, b[:HeaderSize]...)
	dst, err := c.Compress(dst, r.rest, level)
	if err != nil {
		return nil, err
	}
	out := Batch(dst[start:])
	binary.BigEndian.PutUint32(out[8:], uint32(len(out)-LogOverhead))
	binary.BigEndian.PutUint16(out[21:], uint16(out.Attributes()&^codecMask|int16(c)))
	out.SetCRC()
	return out, nil
}
