package recordbatch

import (
	"fmt"
	"math"
)

// Verify is Reset, and finds what Batch.Validate cannot: a codec that is
// unknown, records that cannot be decompressed or decoded, more or fewer of them than
// the batch says, or with offsets that do not follow each other. Next reads the
// records then, and MaxTimestamp tells the largest of their times.
func (r *Reader) Verify(b Batch) error {
	if err := r.Reset(b); err != nil {
		return err
	}
	rest := r.rest
	newest := int64(math.MinInt64)
	for i := range int64(b.Count()) {
		n, delta := plainRecord(rest, i)
		if n == 0 {
			var err error
			if n, delta, err = checkRecord(rest, i); err != nil {
				return fmt.Errorf("record %d of %d: %w", i, b.Count(), err)
			}
		}
		newest = max(newest, r.baseTime+delta)
		rest = rest[n:]
	}
	if r.useAppend {
		newest = r.appendMs
	}
	r.newest = max(newest, NoTimestamp)
	if len(rest) > 0 {
		return fmt.Errorf("%w: %d bytes behind %d records, which are all that the batch says it has", ErrCorrupt, len(rest), b.Count())
	}
	return nil
}

// MaxTimestamp is the largest time of the records of a batch that was verified, or -1
// if none has one.
func (r *Reader) MaxTimestamp() int64 { return r.newest }

// plainRecord returns the length and time of the record at the start of p if it has no
// headers, the offset i in its batch, and numbers of at most two bytes, as
// nearly all have; 0 says that checkRecord has to look.
func plainRecord(p []byte, i int64) (n int, timeDelta int64) {
	if len(p) < 8 {
		return 0, 0
	}
	size, at := shortVarint(p, 0)
	end := at + int(size>>1)
	ts, at := shortVarint(p, at+1) // behind the attributes, which magic 2 does not use
	off, at := shortVarint(p, at)
	if size|ts|off >= 1<<14 || size&1 != 0 || off != uint64(i)<<1 || end > len(p) {
		return 0, 0
	}
	p = p[:end]
	for range 2 { // key and value
		if at+1 >= len(p) {
			return 0, 0
		}
		var n uint64
		if n, at = shortVarint(p, at); n >= 1<<14 {
			return 0, 0
		}
		if n&1 == 0 { // not null
			at += int(n >> 1)
		}
	}
	if at+1 != len(p) || p[at] != 0 {
		return 0, 0
	}
	return end, int64(ts>>1) ^ -int64(ts&1)
}

// shortVarint reads a varint of one or two bytes at p[at:], and says where the
// next begins. It is 1<<14 or more if there are more bytes; its sign is in its
// lowest bit.
func shortVarint(p []byte, at int) (v uint64, next int) {
	v, next = uint64(p[at]), at+1
	if v >= 0x80 {
		v, next = v&0x7f|uint64(p[next])<<7, at+2
	}
	return v, next
}

// checkRecord returns the length and time of the record at the start of p, and what is
// wrong with it, or with its offset in the batch, which is to be i.
func checkRecord(p []byte, i int64) (end int, timeDelta int64, err error) {
	size, n := varint(p)
	if n <= 0 || size < 1 || size > int64(len(p)-n) {
		return 0, 0, fmt.Errorf("%w: %d bytes in %d", ErrCorrupt, size, len(p))
	}
	end = n + int(size)
	p = p[n+1 : end]
	if timeDelta, n = varint(p); n <= 0 {
		return 0, 0, fmt.Errorf("%w: timestamp delta", ErrCorrupt)
	}
	p = p[n:]
	off, n := varint(p)
	if n <= 0 || off != i {
		return 0, 0, fmt.Errorf("%w %d in its batch", ErrOffset, off)
	}
	p = p[n:]
	for range 2 { // key and value
		size, n := varint(p)
		if n <= 0 || size > int64(len(p)-n) {
			return 0, 0, fmt.Errorf("%w: field of %d bytes in %d", ErrCorrupt, size, len(p))
		}
		p = p[n+int(max(size, 0)):]
	}
	if len(p) == 1 && p[0] == 0 {
		return end, timeDelta, nil
	}
	return end, timeDelta, Headers(p).each(func(_, _ []byte) {})
}
