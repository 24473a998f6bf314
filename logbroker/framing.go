package logbroker

import (
	"bufio"
	"fmt"
	"io"
	"sync"
)

const (
	// firstChunk is how much memory a frame gets before any of it has come; more
	// is taken as more comes, so that a length alone costs nothing.
	firstChunk = 64 << 10
	// maxPooledFrame is the largest buffer that is kept for the next.
	maxPooledFrame = 8 << 20
)

// frames are buffers of requests that have been handled, and of answers that were
// sent. Without them every batch of records costs a collection of garbage soon. Those
// of the first chunk's size are kept apart, so that small requests do not take the
// memory that large ones need. Safe for concurrent use.
type frames struct{ small, large sync.Pool }

// get returns an empty buffer, of at least a chunk, for n bytes.
func (f *frames) get(n int) []byte {
	pool := &f.large
	if n <= firstChunk {
		pool = &f.small
	}
	if b, ok := pool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, firstChunk)
}

// put takes back a buffer that nobody refers to any more.
func (f *frames) put(b []byte) {
	switch n := cap(b); {
	case n == firstChunk:
		f.small.Put(&b)
	case n > firstChunk && n <= maxPooledFrame:
		f.large.Put(&b)
	}
}

// readUpTo reads until buf holds n bytes. Its memory grows as they come.
func readUpTo(r *bufio.Reader, buf []byte, n int) ([]byte, error) {
	for len(buf) < n {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(n, max(4*len(buf), firstChunk)))
			copy(grown, buf)
			buf = grown
		}
		at := len(buf)
		buf = buf[:min(n, cap(buf))]
		if m, err := io.ReadFull(r, buf[at:]); err != nil {
			return buf[:at+m], fmt.Errorf("request ends after %d of %d bytes: %w", at+m, n, err)
		}
	}
	return buf, nil
}
