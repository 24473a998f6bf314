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
	// maxPooledFrame is the largest frame that is kept for the next.
	maxPooledFrame = 32 << 20
)

// frames are buffers of requests that have been answered, and of answers that were
// sent. Without them every batch of records costs a collection of garbage soon.
type frames struct{ pool sync.Pool }

// get returns an empty buffer.
func (f *frames) get() []byte {
	if b, ok := f.pool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return nil
}

// put takes back a buffer that nobody refers to any more.
func (f *frames) put(b []byte) {
	if cap(b) >= firstChunk && cap(b) <= maxPooledFrame {
		f.pool.Put(&b)
	}
}

// readFrame reads n bytes, into the memory of buf if they fit.
func readFrame(r *bufio.Reader, n int, buf []byte) ([]byte, error) {
	frame := buf[:min(n, cap(buf))]
	if len(frame) < min(n, firstChunk) {
		frame = make([]byte, min(n, firstChunk))
	}
	for read := 0; ; {
		m, err := io.ReadFull(r, frame[read:])
		read += m
		if err != nil {
			return nil, fmt.Errorf("request of %d bytes ends after %d: %w", n, read, err)
		}
		if read == n {
			return frame, nil
		}
		grown := make([]byte, min(n, 4*len(frame)))
		copy(grown, frame)
		frame = grown
	}
}
