package commitlog

import (
	"errors"
	"time"

	"github.com/levada/levada/internal/recordbatch"
)

// segmentLimits say when the active segment is sealed.
type segmentLimits struct {
	sizeBytes int64
	ageMs     int64 // 0: whatever its age
}

// SetSegmentLimits changes the size past which a segment is sealed, and the
// time between the timestamps of its first batch and the next one past which
// it is, 0 for none.
func (l *Log) SetSegmentLimits(sizeBytes int64, age time.Duration) {
	l.limits.Store(&segmentLimits{min(max(sizeBytes, 1), maxSegmentBytes), age.Milliseconds()})
}

// aged tells whether a batch is too much younger than the segment's first.
func (s *segment) aged(b recordbatch.Batch, ageMs int64) bool {
	newest := b.MaxTimestamp()
	// The difference may not fit into an int64: clients choose timestamps.
	return ageMs > 0 && newest > s.firstTimestamp && uint64(newest)-uint64(s.firstTimestamp) > uint64(ageMs)
}

// findFirstTimestamp reads the first batch of a segment that was found.
func (s *segment) findFirstTimestamp() error {
	if s.size.Load() < recordbatch.HeaderSize {
		return nil
	}
	var header [recordbatch.HeaderSize]byte
	if _, err := s.ReadAt(header[:], 0); err != nil {
		return err
	}
	s.firstTimestamp = recordbatch.Batch(header[:]).MaxTimestamp()
	return nil
}

// Retention says how much of a log is kept. A negative field is no bound.
type Retention struct {
	// Age is how long after its newest timestamp a segment is kept.
	Age time.Duration
	// Bytes is the size that is kept: the oldest segments go as long as what
	// follows them is no smaller.
	Bytes int64
}

// Retain removes the oldest segments that need not be kept, the active one too
// if its records are old. Nothing goes that is not durable and decided. record
// is called with the new Start before anything is removed, and makes it
// durable; its error is returned. It returns how many bytes went.
func (l *Log) Retain(keep Retention, record func(start int64) error) (removedBytes int64, err error) {
	start, err := l.expired(keep)
	if err != nil {
		return 0, err
	}
	before := l.SizeBytes()
	if start > l.Start() {
		err = record(start)
	}
	if err != nil {
		return 0, err
	}
	err = l.DeleteTo(start) // of what was deleted before something may still be there
	return before - l.SizeBytes(), err
}

// expired finds the first offset that is to be kept. If that is past the active
// segment, it is sealed.
func (l *Log) expired(keep Retention) (start int64, err error) {
	stable := l.LastStable()
	segs := *l.segments.Load()
	nowMs := l.cfg.Now().UnixMilli()
	excess := int64(-1)
	if keep.Bytes >= 0 {
		excess = l.SizeBytes() - keep.Bytes
	}
	start = segs[0].base
	for i, s := range segs {
		size, end := s.size.Load(), s.end.Load()
		if i+1 < len(segs) {
			end = segs[i+1].base
		}
		old := keep.Age >= 0 && s.isBefore(nowMs-keep.Age.Milliseconds())
		large := excess >= 0 && size > 0 && excess >= size
		if end > stable || size == 0 && i+1 == len(segs) || !(old || large || size == 0) {
			return start, nil
		}
		excess -= size
		start = end
	}
	l.appends.Lock()
	defer l.appends.Unlock()
	if err := l.usable(); err != nil {
		return 0, err
	}
	if l.End() != start {
		return segs[len(segs)-1].base, nil // something was appended meanwhile
	}
	return start, l.roll()
}

// isBefore tells whether all records of the segment are from before ms. Where they
// have no time, which is a negative one, that of the last write counts, as in Kafka.
func (s *segment) isBefore(ms int64) bool {
	newest, _ := s.newestTimestamp()
	if newest < 0 && s.size.Load() > 0 {
		info, err := s.dir.fs.Stat(s.path())
		if err != nil {
			return false // deleted meanwhile, or to be asked again
		}
		newest = info.ModTime().UnixMilli()
	}
	return newest < ms
}

// Seal writes the seal of the oldest segment that has none, and tells whether
// there was one: the sum of what was appended, or, of a segment that an earlier run
// began, of what is on the disk, so that later damage is found.
// ErrFailed and ErrClosed say that the log cannot be used.
func (l *Log) Seal() (more bool, err error) {
	if err := l.usable(); err != nil {
		return false, err
	}
	segs := *l.segments.Load()
	for _, s := range segs[:len(segs)-1] {
		if s.hasSeal.Load() {
			continue
		}
		if is, ok, err := l.dir.readSeal(s.base); err == nil && ok && is.more == 0 {
			s.hasSeal.Store(true)
			continue
		}
		return true, l.sealSegment(s)
	}
	return false, nil
}

func (l *Log) sealSegment(s *segment) error {
	l.appends.Lock()
	sum, known := s.appended.crc, s.appended.size == s.size.Load()
	l.appends.Unlock()
	if !known {
		var err error
		sum, err = fileSum(s, s.size.Load())
		l.rest(s)
		if errors.Is(err, ErrClosed) {
			return nil // deleted or compacted meanwhile
		}
		if err != nil {
			return err
		}
	}
	l.appends.Lock()
	defer l.appends.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if l.segmentOf(s.base) != s {
		return nil
	}
	is := seal{base: s.base, end: s.end.Load(), sizeBytes: s.size.Load(), sum: sum, compactedTo: s.compactedTo.Load()}
	if err := l.dir.replaceFile(sealName(s.base), is.encode()); err != nil {
		return err
	}
	s.hasSeal.Store(true)
	return nil
}
