package commitlog

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// extent is the unit in which pages are let go. It is as large as the largest
// folio, which the kernel keeps if only a part of it is named.
const extent = 2 << 20

// PageCache bounds how much of the logs that share it the kernel keeps in
// memory: what was written or read longest ago is let go once the disk has it,
// and read from there if it is asked for again. Without it a log fills all
// free memory, and where a virtual machine has to get that memory from its host
// first, this costs more than all else that is done to a record
// (docs/decisions/0005-page-cache.md). A nil PageCache has no bound. It is safe
// for concurrent use.
type PageCache struct {
	limit int64

	mu    sync.Mutex
	held  int64  // bytes of spans
	spans []span // the oldest first; at most limit/extent and a few
}

// span is a piece of a segment: whole extents, or its end.
type span struct {
	seg      *segment
	from, to int64
}

// NewPageCache returns a PageCache that keeps about limit bytes.
func NewPageCache(limit int64) *PageCache { return &PageCache{limit: limit} }

// written notes that the disk has, or was told to write, a segment up to size, and whether
// it is sealed there. What it has not yet when it is to be let go the kernel keeps. The
// log's syncing is held.
func (c *PageCache) written(s *segment, size int64, sealed bool) {
	if c == nil {
		return
	}
	if !sealed {
		size -= size % extent
	}
	c.add(span{s, s.noted - s.noted%extent, size})
	s.noted = max(s.noted, size)
}

// read notes a read of n bytes that are durable. What was written a moment ago
// is held as that.
func (c *PageCache) read(s *segment, position int64, n int) {
	cold := s.cold.Load()
	if c == nil || position >= cold {
		return
	}
	from, end := position-position%extent, position+int64(n)
	if end < cold {
		end -= end % extent
	} else {
		// All that is cold from here on is held again. Noting it once bounds
		// the spans: every other is a whole extent, or the end of what was written.
		end = cold
		if !s.cold.CompareAndSwap(cold, from) {
			return // another read has noted it
		}
	}
	c.add(span{s, from, end})
}

// add takes a span in and lets the oldest go.
func (c *PageCache) add(s span) {
	if s.from >= s.to {
		return
	}
	c.mu.Lock()
	c.spans = append(c.spans, s)
	c.held += s.to - s.from
	n := 0
	for c.held > c.limit {
		c.held -= c.spans[n].to - c.spans[n].from
		n++
	}
	old := c.spans[:n:n]
	c.spans = c.spans[n:]
	c.mu.Unlock()
	for _, s := range old {
		s.seg.letGo(s.from, s.to)
	}
}

// letGo tells the kernel that a piece of the segment is not needed in memory.
// It is advice: where it cannot be given nothing is lost.
func (s *segment) letGo(from, to int64) {
	for {
		cold := s.cold.Load()
		if cold >= to || s.cold.CompareAndSwap(cold, to) {
			break
		}
	}
	s.files.RLock()
	defer s.files.RUnlock()
	if s.closed {
		return
	}
	file := s.file
	if file == nil {
		opened, err := s.dir.fs.Open(s.path())
		if err != nil {
			return
		}
		defer opened.Close()
		file = share(opened)
	}
	if fd := file.Fd(); fd != vfs.InvalidFd {
		dontNeed(fd, from, to-from)
	}
}
