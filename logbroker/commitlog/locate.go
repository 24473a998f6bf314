package commitlog

import (
	"io"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/recordbatch"
)

// sharedFile is an open file that stays open as long as somebody uses it.
type sharedFile struct {
	vfs.File
	users atomic.Int32
}

func share(f vfs.File) *sharedFile {
	s := &sharedFile{File: f}
	s.users.Store(1)
	return s
}

// Close gives up one use. The last one closes the file and gets its error.
func (s *sharedFile) Close() error {
	if s.users.Add(-1) > 0 {
		return nil
	}
	return s.File.Close()
}

// Range is a place in the log that holds whole batches, to be sent from the file
// as it is. The zero Range is empty.
type Range struct {
	seg      *segment
	position int64
	size     int
	end      int64
}

// Size is the length of the range in bytes.
func (r Range) Size() int { return r.size }

// End is an offset that all records of the range are below.
func (r Range) End() int64 { return r.end }

// Section is a Range whose file is held open.
type Section struct {
	file     *sharedFile
	position int64
	size     int
}

// Open holds the file of the range until the section is closed, even if the
// segment is deleted or compacted meanwhile. ErrClosed says that it was before.
func (r Range) Open() (*Section, error) {
	file, err := r.seg.hold()
	if err != nil {
		return nil, err
	}
	return &Section{file, r.position, r.size}, nil
}

// Close lets the file go.
func (s *Section) Close() error { return s.file.Close() }

// Fd is the file's descriptor, and where in it the section begins; ok is false for
// a file system that has none. The file's own position is not to be used.
func (s *Section) Fd() (fd uintptr, position int64, ok bool) {
	fd = s.file.Fd()
	return fd, s.position, fd != vfs.InvalidFd
}

// Reader reads the section.
func (s *Section) Reader() io.Reader { return io.NewSectionReader(s.file, s.position, int64(s.size)) }

// hold gives the segment's file, for one use more. It is opened if need be.
func (s *segment) hold() (*sharedFile, error) {
	s.files.RLock()
	for s.file == nil {
		s.files.RUnlock()
		if err := s.open(false); err != nil {
			return nil, err
		}
		s.files.RLock()
		if s.closed {
			s.files.RUnlock()
			return nil, ErrClosed
		}
	}
	defer s.files.RUnlock()
	s.file.users.Add(1)
	return s.file, nil
}

// Locate finds what Read would return, if that is at least of a size that is worth
// it: whole batches from the one that holds offset on, below end, at most maxBytes
// of them and at most to the end of a segment. It may stop a few batches short of
// that. ok is false where Read has to answer: there is less, the first batch is
// larger, or something is wrong. Only the first header and that after the range
// are looked at, and what an earlier run has written, the first time.
func (l *Log) Locate(offset, end int64, maxBytes, least int) (r Range, ok bool) {
	if offset < l.start.Load() || offset >= end || l.closed.Load() {
		return Range{}, false
	}
	seg := l.segmentOf(offset)
	if seg == nil || seg.size.Load() < int64(least) {
		return Range{}, false
	}
	l.wake(seg)
	buf := located.Get().(*[locatedBytes]byte)
	defer located.Put(buf)
	at, ok := l.locateFirst(seg, offset, maxBytes, buf[:])
	if !ok || seg.size.Load()-at < int64(least) {
		return Range{}, false
	}
	to, next := int64(-1), int64(-1)
	err := seg.withIndex(func(x *sparseIndex) {
		if size, last := seg.size.Load(), seg.end.Load(); last <= end && size-at <= int64(maxBytes) {
			to, next = size, last
			return
		}
		to = x.boundary(at+int64(maxBytes), end)
	})
	if err != nil || to-at < int64(least) {
		return Range{}, false
	}
	if next < 0 {
		b := buf[:recordbatch.HeaderSize]
		if _, err := seg.ReadAt(b, to); err != nil {
			return Range{}, false
		}
		if next = recordbatch.Batch(b).BaseOffset(); b[16] != recordbatch.Magic || next <= offset {
			return Range{}, false
		}
	}
	good, known, err := l.check(seg, at, to)
	if err != nil || good < to {
		return Range{}, false
	}
	if known >= 0 {
		next = known
	}
	l.hints.put(seg, next, to)
	l.cfg.Cache.read(seg, at, int(to-at))
	return Range{seg, at, int(to - at), next}, true
}

// locatedBytes is what Locate reads at once, from a place that the index gives.
const locatedBytes = 2*defaultIndexInterval + recordbatch.HeaderSize

var located = sync.Pool{New: func() any { return new([locatedBytes]byte) }}

// locateFirst finds where the batch begins that holds the offset, and reads into buf.
func (l *Log) locateFirst(seg *segment, offset int64, maxBytes int, buf []byte) (int64, bool) {
	r := &segmentRead{seg: seg, offset: offset}
	slack, err := r.find(&l.hints)
	if err != nil {
		return 0, false
	}
	chunk := buf[:min(int64(len(buf)), slack+recordbatch.HeaderSize, seg.size.Load()-r.position)]
	for range 2 { // an entry of the index may stand a large batch before
		if len(chunk) < recordbatch.HeaderSize {
			return 0, false
		}
		if _, err := seg.ReadAt(chunk, r.position); err != nil {
			return 0, false
		}
		skipped, first, err := r.skip(chunk)
		if err != nil || first > maxBytes {
			return 0, false
		}
		r.position += int64(skipped)
		if first > 0 {
			return r.position, true
		}
		chunk = chunk[:max(0, min(int64(len(chunk)), seg.size.Load()-r.position))]
	}
	return 0, false
}

// boundary is the last place known, up to limit, where a batch begins and before
// which all are below end.
func (x *sparseIndex) boundary(limit, end int64) int64 {
	i := sort.Search(len(x.offsets), func(i int) bool {
		e := x.offsets[i]
		return int64(e.position) > limit || x.base+int64(e.relative) >= end
	})
	if i == 0 {
		return 0
	}
	return int64(x.offsets[i-1].position)
}
