package commitlog

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"

	"github.com/levada/levada/internal/recordbatch"
)

// checkedSpan is a part of a segment, of whole batches, that was checked; next is the offset
// after it.
type checkedSpan struct{ from, to, next int64 }

// maxSpans bounds what is known of a segment that is read here and there. The smallest are
// checked again.
const maxSpans = 64

// checkedSpans are those of a segment, in their order, none of which touch. The zero
// checkedSpans has none; its methods can be called concurrently.
type checkedSpans struct {
	mu   sync.Mutex
	list []checkedSpan
}

// at is the span that holds a position, or ends there.
func (c *checkedSpans) at(position int64) (checkedSpan, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := sort.Search(len(c.list), func(i int) bool { return c.list[i].from > position }) - 1
	if i < 0 || c.list[i].to < position {
		return checkedSpan{}, false
	}
	return c.list[i], true
}

func (c *checkedSpans) add(s checkedSpan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := sort.Search(len(c.list), func(i int) bool { return c.list[i].to >= s.from })
	last := first
	for ; last < len(c.list) && c.list[last].from <= s.to; last++ {
		other := c.list[last]
		s.from = min(s.from, other.from)
		if other.to > s.to {
			s.to, s.next = other.to, other.next
		}
	}
	c.list = slices.Replace(c.list, first, last, s)
	if len(c.list) <= maxSpans {
		return
	}
	smallest := 0
	for i, s := range c.list {
		if s.to-s.from < c.list[smallest].to-c.list[smallest].from {
			smallest = i
		}
	}
	c.list = slices.Delete(c.list, smallest, smallest+1)
}

// checkers are walkers with their memory, of which there are at most so many at once: a batch
// is in memory while it is checked.
var (
	checkers = sync.Pool{New: func() any { return new(walker) }}
	checking = make(chan struct{}, 4)
)

// keptBytes is the largest memory that a checker keeps.
const keptBytes = 4 << 20

// check reads what an earlier run has written between two places where batches begin,
// unless it was read so before: a disk may give other bytes than it was given, of which the
// offset and the leader epoch are not in a batch's CRC, and not every client looks at that.
// good is up to where all is right, next the offset after to, or -1 if it is not known. An
// error that is not that of the file system wraps recordbatch.ErrCorrupt.
func (l *Log) check(seg *segment, from, to int64) (good, next int64, err error) {
	limit := min(to, seg.foreign.Load())
	if from >= limit {
		return to, -1, nil
	}
	at, expected, last := from, int64(-1), int64(-1)
	if s, ok := seg.checked.at(from); ok {
		if s.to > limit || s.to == to {
			next = s.next
			if s.to > to {
				next = -1
			}
			return to, next, nil
		}
		at, expected = s.to, s.next
	} else if err := seg.withIndex(func(x *sparseIndex) { at, expected, last = x.anchor(from) }); err != nil {
		return from, -1, err
	}
	checking <- struct{}{}
	w := checkers.Get().(*walker)
	defer func() {
		if w.file = nil; cap(w.buf) <= keptBytes {
			checkers.Put(w)
		}
		<-checking
	}()
	begin := at
	w.begin(seg, at, limit)
	for {
		b, position, err := w.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = l.checkBatch(seg, b, expected, last)
		}
		if err == nil {
			expected, last = b.NextOffset(), -1
			continue
		}
		if position > begin {
			seg.checked.add(checkedSpan{begin, position, expected})
		}
		if position < from && errors.Is(err, recordbatch.ErrCorrupt) {
			// It costs nothing behind it. What follows has nothing to be held against.
			begin, expected, last = from, -1, -1
			w.begin(seg, from, limit)
			continue
		}
		return max(from, position), -1, err
	}
	seg.checked.add(checkedSpan{begin, limit, expected})
	if limit < to {
		return to, -1, nil
	}
	return to, expected, nil
}

// checkBatch holds a batch against the offset that is expected, -1 if none is, and against
// the last one that the index says it has, or -1.
func (l *Log) checkBatch(seg *segment, b recordbatch.Batch, expected, last int64) error {
	switch {
	case expected >= 0 && !seg.follows(b, expected):
		return fmt.Errorf("%w: the batch says offset %d, and %d is due", recordbatch.ErrCorrupt, b.BaseOffset(), expected)
	case last >= 0 && b.LastOffset() != last:
		return fmt.Errorf("%w: the batch ends with offset %d, and the index says %d", recordbatch.ErrCorrupt, b.LastOffset(), last)
	}
	if epoch := l.EpochAt(b.BaseOffset()); epoch >= 0 && epoch != b.LeaderEpoch() {
		return fmt.Errorf("%w: leader epoch %d, want %d", recordbatch.ErrCorrupt, b.LeaderEpoch(), epoch)
	}
	return b.Validate()
}

// anchor is a place at or before a position where a batch begins of which something is
// known: the offset that is due there, or the last one that it has; the other is -1.
func (x *sparseIndex) anchor(position int64) (at, expected, last int64) {
	i := sort.Search(len(x.offsets), func(i int) bool { return int64(x.offsets[i].position) > position })
	if i == 0 {
		return 0, x.base, -1
	}
	e := x.offsets[i-1]
	return int64(e.position), -1, x.base + int64(e.relative)
}

// noteDamage keeps damage that a reader met, and logs it the first time.
func (l *Log) noteDamage(err *DamageError) {
	if l.damage.add(err) {
		l.log.Error("stored records are damaged, and are not given to readers", "error", err)
	}
}
