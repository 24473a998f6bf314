package recordbatch

import (
	"encoding/binary"
	"fmt"
)

// Record is a view of one record: its slices point into the batch. A nil Key
// or Value is a null.
type Record struct {
	Offset    int64
	Timestamp int64 // ms since 1970
	Key       []byte
	Value     []byte
	Headers   Headers
}

// Headers are the headers of a record in their encoded form: a count, then
// key and value of each.
type Headers []byte

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Decode lists the headers; keys are copied, values are views. Bytes after
// the last header are ErrCorrupt: what is written back would lose them.
func (h Headers) Decode() ([]Header, error) {
	if len(h) == 0 {
		return nil, nil
	}
	var out []Header
	err := h.each(func(k, v []byte) { out = append(out, Header{Key: string(k), Value: v}) })
	if err != nil {
		return nil, err
	}
	return out, nil
}

// each calls fn for each header; there is at least the count of them.
func (h Headers) each(fn func(key, value []byte)) error {
	n, p, err := readCount(h)
	if err != nil {
		return err
	}
	for range n {
		var k, v []byte
		if k, p, err = readBytes(p); err != nil {
			return err
		}
		if v, p, err = readBytes(p); err != nil {
			return err
		}
		fn(k, v)
	}
	if len(p) > 0 {
		return fmt.Errorf("%w: %d bytes after the last header", ErrCorrupt, len(p))
	}
	return nil
}

// EncodeHeaders appends the encoded form of hs to dst; no headers are no bytes.
func EncodeHeaders(dst []byte, hs []Header) Headers {
	if len(hs) == 0 {
		return dst
	}
	dst = binary.AppendVarint(dst, int64(len(hs)))
	for _, h := range hs {
		dst = binary.AppendVarint(dst, int64(len(h.Key)))
		dst = append(dst, h.Key...)
		dst = appendBytes(dst, h.Value)
	}
	return dst
}

// Reader walks the records of a batch. The zero Reader is ready for Reset;
// reuse one to keep its decompression buffer.
type Reader struct {
	rest      []byte
	left      int32
	base      int64
	baseTime  int64
	appendMs  int64
	useAppend bool
	newest    int64 // of the times, once it is verified
	inflated  []byte
}

// Reset starts at the first record of b. Compressed records are decompressed
// into the Reader's own buffer, at most MaxDecompressed bytes; views of an
// earlier compressed batch are then no longer valid.
func (r *Reader) Reset(b Batch) error {
	if len(b) < HeaderSize {
		return ErrShort
	}
	r.left, r.base, r.baseTime = b.Count(), b.BaseOffset(), b.BaseTimestamp()
	r.useAppend, r.appendMs = b.IsLogAppendTime(), b.MaxTimestamp()
	r.rest = b[HeaderSize:]
	if c := b.Codec(); c != CodecNone {
		out, err := c.Decompress(r.inflated[:0], r.rest)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCompressed, err)
		}
		r.inflated, r.rest = out, out
	}
	return nil
}

// Inflated is how many bytes the Reader keeps for decompression.
func (r *Reader) Inflated() int { return cap(r.inflated) }

// Left is the number of records not yet read.
func (r *Reader) Left() int { return int(r.left) }

// Next reads the next record into rec; ok is false after the last.
func (r *Reader) Next(rec *Record) (ok bool, err error) {
	if r.left <= 0 {
		return false, nil
	}
	size, n := varint(r.rest)
	if n <= 0 || size < 1 || size > int64(len(r.rest)-n) {
		return false, fmt.Errorf("%w: record of %d bytes in %d", ErrCorrupt, size, len(r.rest))
	}
	end := n + int(size)
	p := r.rest[n+1 : end] // after the attributes, which magic 2 does not use
	r.rest = r.rest[end:]
	r.left--
	ts, n := varint(p)
	if n <= 0 {
		return false, fmt.Errorf("%w: timestamp delta", ErrCorrupt)
	}
	p = p[n:]
	off, n := varint(p)
	if n <= 0 {
		return false, fmt.Errorf("%w: offset delta", ErrCorrupt)
	}
	if rec.Key, p, err = readBytes(p[n:]); err != nil {
		return false, err
	}
	if rec.Value, p, err = readBytes(p); err != nil {
		return false, err
	}
	rec.Headers = nil
	if len(p) != 1 || p[0] != 0 {
		rec.Headers = Headers(p)
	}
	rec.Offset = r.base + off
	rec.Timestamp = r.baseTime + ts
	if r.useAppend {
		rec.Timestamp = r.appendMs
	}
	return true, nil
}

// varint reads a zigzag varint; n <= 0 says that there is none. One and two
// bytes are what records mostly have.
func varint(p []byte) (v int64, n int) {
	if len(p) > 1 {
		if u := uint64(p[0]); u < 0x80 {
			return int64(u>>1) ^ -int64(u&1), 1
		} else if w := uint64(p[1]); w < 0x80 {
			u = u&0x7f | w<<7
			return int64(u>>1) ^ -int64(u&1), 2
		}
	}
	return binary.Varint(p)
}

func readBytes(p []byte) (b, rest []byte, err error) {
	size, n := varint(p)
	if n <= 0 || size > int64(len(p)-n) {
		return nil, nil, fmt.Errorf("%w: field of %d bytes in %d", ErrCorrupt, size, len(p))
	}
	if size < 0 {
		return nil, p[n:], nil
	}
	end := n + int(size)
	return p[n:end:end], p[end:], nil
}

func readCount(p []byte) (count int, rest []byte, err error) {
	c, n := binary.Varint(p)
	if n <= 0 || c < 0 || c > int64(len(p)) {
		return 0, nil, fmt.Errorf("%w: %d headers in %d bytes", ErrCorrupt, c, len(p))
	}
	return int(c), p[n:], nil
}
