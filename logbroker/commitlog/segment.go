package commitlog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/recordbatch"
)

// writeCategory is what Pebble's file system counts our writes as.
const writeCategory vfs.DiskWriteCategory = "levada-log"

// segment is one .log file and its indexes. Only the last one grows.
type segment struct {
	dir      *directory
	base     int64
	interval int

	size atomic.Int64 // bytes of whole batches
	end  atomic.Int64 // offset after the last batch

	// firstTimestamp is the newest of the first batch, of the active segment;
	// under appends.
	firstTimestamp int64
	appended       appendedSum // under appends
	reserved       int64       // up to where space is; under appends
	hasSeal        atomic.Bool // its seal is known to be there
	// compactedTo is how far compaction has been over the segment, -1 if never.
	// Otherwise its offsets have gaps.
	compactedTo atomic.Int64

	foreign atomic.Int64 // bytes that an earlier run has written
	checked checkedSpans // of those

	cold  atomic.Int64 // bytes that the page cache may have let go
	noted int64        // bytes that the PageCache knows as written; under syncing
	out   int64        // bytes that the disk was given; under syncing

	// files guards file and closed: held for reading during a read, for
	// writing to open or close.
	files  sync.RWMutex
	file   *sharedFile
	closed bool

	// lookup guards what follows. No file of an active segment is touched
	// under it.
	lookup        sync.Mutex
	index         *sparseIndex // nil: of a sealed segment, not loaded
	sums          indexSums    // of the index files, if written
	written       indexSizes   // bytes of the index files, if those are all that is in them
	maxTimestamp  int64        // if index is nil
	maxTimeOffset int64
}

// indexSums are CRC-32C of both index files.
type indexSums struct{ offsets, times uint32 }

// indexSizes are bytes of both index files.
type indexSizes struct{ offsets, times int }

func newSegment(dir *directory, base int64, interval int) *segment {
	s := &segment{dir: dir, base: base, interval: interval, maxTimestamp: noTimestamp, maxTimeOffset: -1}
	s.end.Store(base)
	s.compactedTo.Store(-1)
	return s
}

// follows tells whether a batch may come where expected is the next offset.
func (s *segment) follows(b recordbatch.Batch, expected int64) bool {
	return b.BaseOffset() == expected || b.BaseOffset() > expected && s.compactedTo.Load() >= 0
}

func (s *segment) path() string { return s.dir.join(logName(s.base)) }

// open opens the file, which must exist, for reading or also for writing.
func (s *segment) open(writable bool) error {
	s.files.Lock()
	defer s.files.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.file != nil {
		return nil
	}
	var file vfs.File
	var err error
	if writable {
		file, err = s.dir.fs.OpenReadWrite(s.path(), writeCategory)
	} else {
		file, err = s.dir.fs.Open(s.path())
	}
	if err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	s.file = share(file)
	return nil
}

// close waits for reads. Nothing is written or synced meanwhile.
func (s *segment) close() error {
	s.files.Lock()
	defer s.files.Unlock()
	s.closed = true
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// ReadAt fills p from position. The file is opened if need be.
func (s *segment) ReadAt(p []byte, position int64) (int, error) {
	file, err := s.hold()
	if err != nil {
		return 0, err
	}
	defer file.Close() // of a file that was read: only its segment's Close tells
	n, err := file.ReadAt(p, position)
	if n == len(p) {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("commitlog: %s at byte %d: %w", s.path(), position, err)
}

// extend takes a batch in that was written at the end. Index and size change
// together, for the index may be built anew at any time.
func (s *segment) extend(b recordbatch.Batch, position int64) {
	s.lookup.Lock()
	defer s.lookup.Unlock()
	if position == 0 {
		s.firstTimestamp = b.MaxTimestamp()
	}
	s.index.add(b, position)
	s.size.Store(position + int64(len(b)))
	s.end.Store(b.NextOffset())
}

// park closes the file of a sealed segment and drops its index; the next read
// opens and loads them again.
func (s *segment) park() error {
	s.unloadIndex()
	s.files.Lock()
	defer s.files.Unlock()
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// withIndex calls fn with the index, which is loaded from its files, or built
// from the batches if those are missing or do not fit.
func (s *segment) withIndex(fn func(*sparseIndex)) error {
	s.lookup.Lock()
	defer s.lookup.Unlock()
	if s.index == nil {
		x, err := s.loadIndex()
		if err != nil {
			if x, err = s.buildIndex(); err != nil {
				return err
			}
			s.written = indexSizes{} // the files may have other entries
		}
		s.index = x
	}
	fn(s.index)
	return nil
}

// newestTimestamp is the largest timestamp and the last offset of its batch.
func (s *segment) newestTimestamp() (ms, lastOffset int64) {
	s.lookup.Lock()
	defer s.lookup.Unlock()
	if s.index != nil {
		return s.index.maxTimestamp, s.index.maxTimeOffset
	}
	return s.maxTimestamp, s.maxTimeOffset
}

// unloadIndex drops the index of a sealed segment if its files can give it
// back.
func (s *segment) unloadIndex() {
	s.lookup.Lock()
	defer s.lookup.Unlock()
	if s.index != nil && s.sums != (indexSums{}) {
		s.maxTimestamp, s.maxTimeOffset = s.index.maxTimestamp, s.index.maxTimeOffset
		s.index = nil
	}
}

// forgetIndex makes the next lookup build the index from the batches.
func (s *segment) forgetIndex() {
	s.lookup.Lock()
	defer s.lookup.Unlock()
	if x, err := s.buildIndex(); err == nil {
		s.index, s.written = x, indexSizes{} // the files may have other entries
	}
}

// loadIndex reads the index files. lookup is held.
func (s *segment) loadIndex() (*sparseIndex, error) {
	if s.sums == (indexSums{}) {
		return nil, errIndex
	}
	offsets, err := s.dir.readFile(indexName(s.base), maxSegmentBytes)
	if err != nil {
		return nil, err
	}
	times, err := s.dir.readFile(timeIndexName(s.base), maxSegmentBytes)
	if err != nil {
		return nil, err
	}
	sizes := indexSizes{len(offsets), len(times)}
	offsets, ok := summed(offsets, offsetEntrySize, s.sums.offsets)
	times, ok2 := summed(times, timeEntrySize, s.sums.times)
	if !ok || !ok2 {
		return nil, errIndex
	}
	x := newIndex(s.base, s.interval)
	if err := x.decode(offsets, times, s.size.Load(), s.end.Load()); err != nil {
		return nil, err
	}
	if s.written = (indexSizes{}); sizes == (indexSizes{len(offsets), len(times)}) {
		s.written = sizes
	}
	return x, nil
}

// summed is the beginning of a file of entries that has the given CRC-32C. The file
// of a segment that grows may be longer than when the checkpoint was written: a
// newer one was begun.
func summed(p []byte, entrySize int, sum uint32) ([]byte, bool) {
	if crc32.Checksum(p, castagnoli) == sum {
		return p, true
	}
	crc := uint32(0)
	for n := 0; ; n += entrySize {
		if crc == sum {
			return p[:n], true
		}
		if n+entrySize > len(p) {
			return nil, false
		}
		crc = crc32.Update(crc, castagnoli, p[n:n+entrySize])
	}
}

// buildIndex makes the index from the headers of the batches.
func (s *segment) buildIndex() (*sparseIndex, error) {
	x := newIndex(s.base, s.interval)
	w := newWalker(s, 0, s.size.Load())
	expected := s.base
	for {
		b, position, err := w.next()
		if errors.Is(err, io.EOF) {
			return x, nil
		}
		if err == nil && !s.follows(b, expected) {
			err = fmt.Errorf("%w: offset %d", recordbatch.ErrCorrupt, b.BaseOffset())
		}
		if err != nil && !errors.Is(err, recordbatch.ErrCorrupt) {
			return nil, err // closed meanwhile, or the disk does not answer
		}
		if err != nil {
			return nil, &DamageError{Path: s.path(), Position: position, Offset: expected, Reason: err}
		}
		x.add(b, position)
		expected = b.NextOffset()
	}
}

// writeIndex writes both index files. They are not synced: their sums tell
// whether they are whole. What is new of a segment that grows is appended to what
// was written: new files would cost the file system more than the rest of a
// checkpoint, and all entries again more the larger the segment is. A sealed segment's
// may have a second name in a backup.
func (s *segment) writeIndex(grows bool) error {
	s.lookup.Lock()
	defer s.lookup.Unlock()
	if s.index == nil {
		return nil // as it was loaded from
	}
	have, sums := s.written, s.sums
	if !grows || have == (indexSizes{}) {
		have, sums = indexSizes{}, indexSums{}
	}
	offsets, times := s.index.encode(have)
	sums = indexSums{crc32.Update(sums.offsets, castagnoli, offsets), crc32.Update(sums.times, castagnoli, times)}
	if sums == s.sums {
		return nil
	}
	s.sums, s.written = indexSums{}, indexSizes{}
	if err := s.dir.extendFile(indexName(s.base), offsets, have.offsets); err != nil {
		return err
	}
	if err := s.dir.extendFile(timeIndexName(s.base), times, have.times); err != nil {
		return err
	}
	sizes := indexSizes{have.offsets + len(offsets), have.times + len(times)}
	s.sums, s.written = sums, sizes
	return nil
}
