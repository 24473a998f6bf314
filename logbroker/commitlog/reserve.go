package commitlog

import "github.com/cockroachdb/pebble/v2/vfs"

const (
	// leastReserved is the size from which on a segment has space reserved behind its
	// end: a small log takes no more of the disk than it is.
	leastReserved = 256 << 10
	// mostReserved is how much is reserved at most. More is not cheaper, and each
	// partition may hold as much.
	mostReserved = 4 << 20
)

// reserve makes the file system set space aside before an append up to end needs it:
// as much as there is, at most mostReserved. It finds space for many pages at once
// cheaper than for each by itself. The file stays as long as it was. Where nothing can
// be set aside, or may, each append finds its space or fails. appends is held.
func (s *segment) reserve(position, end int64, may func(int64) bool) {
	if end <= s.reserved || end < leastReserved {
		return
	}
	from := max(position, s.reserved)
	s.reserved = end + min(end, mostReserved)
	if more := s.reserved - from; may == nil || may(more) {
		_ = s.file.Preallocate(from, more)
	}
}

// giveBack lets go of what is reserved behind the end of the file, also by a run that
// was killed.
func (s *segment) giveBack() {
	s.reserved = 0
	if fd := s.file.Fd(); fd != vfs.InvalidFd {
		cutReserved(fd)
	}
}
