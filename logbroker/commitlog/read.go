package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/levada/levada/internal/recordbatch"
)

// Read appends to dst whole batches from the one that holds offset on, below
// end, at most maxBytes of them and at most to the end of a segment. With
// minOneBatch the first batch is returned whatever its size. At the end of the
// log, or at end, it returns dst as it is. CRCs are checked of what an earlier run has
// written, the first time. Errors:
// ErrOffsetOutOfRange, ErrClosed, a *DamageError, or that of the file system.
func (l *Log) Read(offset, end int64, maxBytes int, minOneBatch bool, dst []byte) ([]byte, error) {
	logEnd := l.end.Load()
	if start := l.start.Load(); offset < start || offset > logEnd {
		return dst, fmt.Errorf("%w: %d, the log has %d to %d", ErrOffsetOutOfRange, offset, start, logEnd)
	}
	if l.closed.Load() {
		return dst, ErrClosed
	}
	end = min(end, logEnd)
	var closed *segment
	for {
		seg := l.segmentOf(offset)
		if offset >= end || seg == nil {
			return dst, nil
		}
		out, err := l.readSegment(&segmentRead{seg: seg, offset: offset, end: end, maxBytes: max(maxBytes, 0), minOne: minOneBatch}, dst)
		switch {
		case errors.Is(err, errGap):
			offset = seg.end.Load()
		case errors.Is(err, ErrClosed) && !l.closed.Load():
			if offset < l.start.Load() {
				return dst, fmt.Errorf("%w: %d was deleted", ErrOffsetOutOfRange, offset)
			}
			if seg == closed {
				return dst, err
			}
			closed = seg // compaction has put another in its place
		default:
			return out, err
		}
	}
}

// readSegment reads from one segment; on an error it returns dst as it is.
func (l *Log) readSegment(r *segmentRead, dst []byte) ([]byte, error) {
	l.wake(r.seg)
	out, err := l.readChecked(r, dst)
	if errors.Is(err, recordbatch.ErrCorrupt) {
		// The index may be wrong, or the batches are.
		l.hints.drop(r.seg)
		r.seg.forgetIndex()
		out, err = l.readChecked(r, dst)
	}
	if errors.Is(err, recordbatch.ErrCorrupt) {
		damage := &DamageError{Path: r.seg.path(), Position: r.position, Offset: r.offset, Reason: err}
		l.noteDamage(damage)
		err = damage
	}
	if err != nil {
		return dst, err
	}
	l.cfg.Cache.read(r.seg, r.position, len(out)-len(dst))
	return out, nil
}

// readChecked gives of what is read what is right; who reads on behind that is told.
func (l *Log) readChecked(r *segmentRead, dst []byte) ([]byte, error) {
	r.beyond = 0
	out, err := r.run(&l.hints, dst)
	to := r.position + int64(len(out)-len(dst))
	switch {
	case err != nil:
		return out, err
	case to == r.position:
		to += int64(r.beyond) // if that is so is in its header, which may be wrong
	}
	good, _, err := l.check(r.seg, r.position, to)
	if good > r.position {
		return out[:min(len(out), len(dst)+int(good-r.position))], nil
	}
	return dst, err
}

// errGap says that compaction has left nothing from an offset on in a segment.
var errGap = errors.New("the rest of the segment was compacted away")

// segmentRead is one Read.
type segmentRead struct {
	seg         *segment
	offset, end int64
	maxBytes    int
	minOne      bool
	position    int64
	beyond      int // bytes of the batch that holds the offset, if it reaches beyond end
}

// run reads a chunk, and another where the first did not hold the batch: the
// index gives only a place before it.
func (r *segmentRead) run(h *hints, dst []byte) ([]byte, error) {
	slack, err := r.find(h)
	if err != nil {
		return dst, err
	}
	kept := len(dst)
	size := r.seg.size.Load()
	want := int64(max(r.maxBytes, recordbatch.HeaderSize)) + slack
	for r.position < size {
		n := min(want, size-r.position)
		dst = slices.Grow(dst[:kept], int(n))[:kept+int(n)]
		chunk := dst[kept:]
		if _, err := r.seg.ReadAt(chunk, r.position); err != nil {
			return dst[:kept], err
		}
		skipped, first, err := r.skip(chunk)
		if err != nil {
			return dst[:kept], err
		}
		r.position += int64(skipped)
		if first == 0 {
			if skipped == 0 {
				return dst[:kept], fmt.Errorf("%w: %d bytes at %d are no batch", recordbatch.ErrCorrupt, len(chunk), r.position)
			}
			want = max(want, recordbatch.HeaderSize) // all skipped: read on
			continue
		}
		if first > r.maxBytes && !r.minOne {
			return dst[:kept], nil
		}
		if skipped+first > len(chunk) {
			want = int64(max(first, r.maxBytes))
			if r.position+want > size && r.position+int64(first) > size {
				return dst[:kept], fmt.Errorf("%w: batch of %d bytes at %d of %d", recordbatch.ErrCorrupt, first, r.position, size)
			}
			continue
		}
		return r.take(h, dst, kept, skipped)
	}
	if r.seg.compactedTo.Load() >= 0 {
		return dst[:kept], errGap
	}
	return dst[:kept], fmt.Errorf("%w: offset %d is not in its segment", recordbatch.ErrCorrupt, r.offset)
}

// find sets the position to read from, and says how far before the batch it
// may lie.
func (r *segmentRead) find(h *hints) (slack int64, err error) {
	if r.offset == r.seg.base {
		r.position = 0
		return 0, nil
	}
	if p, ok := h.find(r.seg, r.offset); ok {
		r.position = p
		return 0, nil
	}
	err = r.seg.withIndex(func(x *sparseIndex) { r.position = x.position(r.offset) })
	return int64(2 * r.seg.interval), err
}

// skip counts the bytes of the batches before the one that holds the offset,
// and gives that one's size: 0 if its header is not in the chunk.
func (r *segmentRead) skip(chunk []byte) (skipped, first int, err error) {
	for len(chunk)-skipped >= recordbatch.HeaderSize {
		b := recordbatch.Batch(chunk[skipped:])
		n := int64(int32(binary.BigEndian.Uint32(b[8:]))) + recordbatch.LogOverhead
		if n < recordbatch.HeaderSize || b[16] != recordbatch.Magic || b.LastOffsetDelta() < 0 || b.BaseOffset() > r.offset && r.seg.compactedTo.Load() < 0 {
			return 0, 0, fmt.Errorf("%w: no batch at byte %d", recordbatch.ErrCorrupt, r.position+int64(skipped))
		}
		if b.NextOffset() > r.offset {
			return skipped, int(n), nil
		}
		skipped += int(n)
	}
	return skipped, 0, nil
}

// take keeps the whole batches of the chunk that are wanted.
func (r *segmentRead) take(h *hints, dst []byte, kept, skipped int) ([]byte, error) {
	chunk := dst[kept+skipped:]
	taken, next := 0, int64(-1)
	for rest := chunk; len(rest) >= recordbatch.HeaderSize; {
		b, after, err := recordbatch.Split(rest)
		if errors.Is(err, recordbatch.ErrShort) {
			break
		}
		if err == nil && next >= 0 && !r.seg.follows(b, next) {
			err = fmt.Errorf("%w: offset %d after %d", recordbatch.ErrCorrupt, b.BaseOffset(), next-1)
		}
		if err != nil {
			if taken > 0 {
				break // who reads on from here is told
			}
			return dst[:kept], err
		}
		if b.NextOffset() > r.end && taken == 0 {
			r.beyond = len(b)
		}
		if b.NextOffset() > r.end || (taken+len(b) > r.maxBytes && (taken > 0 || !r.minOne)) {
			break
		}
		taken, next, rest = taken+len(b), b.NextOffset(), after
	}
	if taken > 0 {
		h.put(r.seg, next, r.position+int64(taken))
	}
	copy(dst[kept:], chunk[:taken])
	return dst[:kept+taken], nil
}

const hintCount = 8

// hints remember where reads ended, so that whoever reads on needs no index
// and one pread.
type hints struct {
	mu   sync.Mutex
	list [hintCount]hint
	turn int
}

type hint struct {
	seg      *segment
	offset   int64
	position int64
}

func (h *hints) find(seg *segment, offset int64) (int64, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.list {
		if e := &h.list[i]; e.seg == seg && e.offset == offset {
			return e.position, true
		}
	}
	return 0, false
}

func (h *hints) put(seg *segment, offset, position int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.list {
		if e := &h.list[i]; e.seg == seg && e.offset == offset {
			return
		}
	}
	h.list[h.turn] = hint{seg, offset, position}
	h.turn = (h.turn + 1) % hintCount
}

func (h *hints) drop(seg *segment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.list {
		if h.list[i].seg == seg {
			h.list[i] = hint{}
		}
	}
}

// maxAwake is how many sealed segments of one log have an open file and an
// index in memory.
const maxAwake = 4

// awakeList are the sealed segments that were read last, the newest last.
type awakeList struct {
	mu   sync.Mutex
	list []*segment
}

// wake notes that a segment is read, and parks the one unread for longest.
func (l *Log) wake(seg *segment) {
	if seg == l.active() {
		return
	}
	a := &l.awake
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.list); n > 0 && a.list[n-1] == seg {
		return
	}
	if i := slices.Index(a.list, seg); i >= 0 {
		a.list = slices.Delete(a.list, i, i+1)
	}
	a.list = append(a.list, seg)
	if len(a.list) > maxAwake {
		oldest := a.list[0]
		a.list = slices.Delete(a.list, 0, 1)
		l.park(oldest)
	}
}

func (l *Log) park(seg *segment) {
	if err := seg.park(); err != nil {
		l.log.Warn("segment did not close", "segment", seg.path(), "error", err)
	}
}

// rest parks a sealed segment that was read, but not for a reader, unless one has
// woken it.
func (l *Log) rest(seg *segment) {
	l.awake.mu.Lock()
	defer l.awake.mu.Unlock()
	if !slices.Contains(l.awake.list, seg) {
		l.park(seg)
	}
}

// drop forgets a segment that is no longer read.
func (a *awakeList) drop(seg *segment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = slices.DeleteFunc(a.list, func(s *segment) bool { return s == seg })
}

const maxDamage = 16

type damageList struct {
	mu   sync.Mutex
	errs []error
}

// add tells whether it is new.
func (d *damageList) add(err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := slices.ContainsFunc(d.errs, func(e error) bool { return e.Error() == err.Error() })
	if known || len(d.errs) >= maxDamage {
		return false
	}
	d.errs = append(d.errs, err)
	return true
}

func (d *damageList) list() []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.errs)
}

// OffsetForTime finds the first record, at or after Start, whose timestamp is
// at least ms. ok is false if there is none.
func (l *Log) OffsetForTime(ms int64) (offset, ts int64, ok bool, err error) {
	return l.inSegments(func() (int64, int64, bool, error) { return l.offsetForTime(ms) })
}

// inSegments calls find again if a segment was deleted, or compaction put another in
// its place, while it was looked at.
func (l *Log) inSegments(find func() (int64, int64, bool, error)) (offset, ts int64, ok bool, err error) {
	for {
		segs := l.segments.Load()
		offset, ts, ok, err = find()
		if !errors.Is(err, ErrClosed) || l.closed.Load() || l.segments.Load() == segs {
			return offset, ts, ok, err
		}
	}
}

func (l *Log) offsetForTime(ms int64) (offset, ts int64, ok bool, err error) {
	for _, seg := range *l.segments.Load() {
		if newest, last := seg.newestTimestamp(); last < 0 || newest < ms {
			continue
		}
		l.wake(seg)
		from := int64(0)
		if err := seg.withIndex(func(x *sparseIndex) { from = x.position(x.offsetBefore(ms)) }); err != nil {
			return 0, 0, false, err
		}
		offset, ts, ok, err := l.firstRecord(seg, from, ms)
		if ok || err != nil {
			return offset, ts, ok, err
		}
	}
	return 0, 0, false, nil
}

// MaxTimestamp finds the first record with the largest timestamp that a batch has. ok is
// false if the log is empty, or if no record has that time: a producer may have claimed
// another for its batch.
func (l *Log) MaxTimestamp() (offset, ts int64, ok bool, err error) {
	return l.inSegments(l.maxTimestamp)
}

func (l *Log) maxTimestamp() (offset, ts int64, ok bool, err error) {
	start := l.start.Load()
	best := int64(noTimestamp)
	for _, seg := range *l.segments.Load() {
		newest, last := seg.newestTimestamp()
		if last >= 0 && last < start {
			// Deleted, but others of the segment are not.
			if newest, err = l.newestFrom(seg, start); err != nil {
				return 0, 0, false, err
			}
		}
		best = max(best, newest)
	}
	if best == noTimestamp {
		return 0, 0, false, nil
	}
	offset, ts, ok, err = l.offsetForTime(best)
	return offset, ts, ok && ts == best, err
}

// newestFrom is the largest timestamp of the batches that reach past start.
func (l *Log) newestFrom(seg *segment, start int64) (int64, error) {
	newest := int64(noTimestamp)
	w := newWalker(seg, 0, seg.size.Load())
	for {
		b, _, err := w.next()
		if errors.Is(err, io.EOF) {
			return newest, nil
		}
		if err != nil {
			return 0, err
		}
		if b.NextOffset() > start {
			newest = max(newest, b.MaxTimestamp())
		}
	}
}

func (l *Log) firstRecord(seg *segment, from, ms int64) (offset, ts int64, ok bool, err error) {
	start := l.start.Load()
	w := newWalker(seg, from, seg.size.Load())
	var reader recordbatch.Reader
	for {
		b, position, err := w.next()
		if errors.Is(err, io.EOF) {
			return 0, 0, false, nil
		}
		if err == nil && b.NextOffset() > start && b.MaxTimestamp() >= ms {
			offset, ts, ok, err = recordAt(&reader, b, start, ms)
		}
		if errors.Is(err, recordbatch.ErrCorrupt) {
			damage := &DamageError{Path: seg.path(), Position: position, Offset: seg.base, Reason: err}
			l.noteDamage(damage)
			err = damage
		}
		if ok || err != nil {
			return offset, ts, ok, err
		}
	}
}

func recordAt(r *recordbatch.Reader, b recordbatch.Batch, start, ms int64) (offset, ts int64, ok bool, err error) {
	if err := r.Reset(b); err != nil {
		return 0, 0, false, err
	}
	var rec recordbatch.Record
	for {
		more, err := r.Next(&rec)
		if !more || err != nil {
			return 0, 0, false, err
		}
		if rec.Offset >= start && rec.Timestamp >= ms {
			return rec.Offset, rec.Timestamp, true, nil
		}
	}
}
