package logbroker

import (
	"bufio"
	"fmt"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	// smallestFrame is how much memory a frame gets before any of it has come, and
	// the least that is kept for the next. More is taken as more comes: what a client
	// holds depends on what it has sent, not on the length that it claims.
	smallestFrame = 4 << 10
	// frameSizes are the sizes of buffers that are kept, each twice the one before:
	// from 4 KiB on, below 32 MiB.
	frameSizes = 13
)

// frames are buffers of requests that have been answered, and of answers that were
// sent, by their size. Without them every batch of records costs a collection of
// garbage soon.
type frames struct {
	pools [frameSizes]sync.Pool
	lent  atomic.Int64 // bytes that are held before they have come
}

// maxLent bounds what clients that have sent much before get in advance.
const maxLent = 256 << 20

// get returns an empty buffer with room for n bytes, and for no more than twice as
// many.
func (f *frames) get(n int) []byte {
	k := bits.Len(uint(max(n, smallestFrame)-1) / smallestFrame)
	if k >= frameSizes {
		return make([]byte, 0, n)
	}
	if b, ok := f.pools[k].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, smallestFrame<<k)
}

// put takes back a buffer that nobody refers to any more.
func (f *frames) put(b []byte) {
	k := bits.Len(uint(cap(b))/smallestFrame) - 1
	if k >= 0 && k < frameSizes && cap(b) == smallestFrame<<k {
		f.pools[k].Put(&b)
	}
}

// own reads a frame of n bytes that is not given back: what is decoded from it refers to it.
func (f *frames) own(r *bufio.Reader, n int) ([]byte, error) {
	if n <= smallestFrame {
		return f.readOn(r, make([]byte, 0, n), n)
	}
	return f.read(r, n, 0)
}

// read reads a frame of n bytes. A client that has sent a request of earned bytes
// before gets as much memory in advance, as long as not too many do.
func (f *frames) read(r *bufio.Reader, n, earned int) ([]byte, error) {
	begin := min(n, max(smallestFrame, r.Buffered()))
	if ahead := min(n, earned); ahead > begin {
		defer f.lent.Add(-int64(ahead))
		if f.lent.Add(int64(ahead)) <= maxLent {
			begin = ahead
		}
	}
	return f.readOn(r, f.get(begin), n)
}

// readOn reads until buf holds n bytes. It returns buf or, where it has grown, what
// took its place.
func (f *frames) readOn(r *bufio.Reader, buf []byte, n int) ([]byte, error) {
	for read := len(buf); ; {
		buf = buf[:min(n, cap(buf))]
		m, err := io.ReadFull(r, buf[read:])
		read += m
		if err != nil || read == n {
			return buf, endsAfter(n, read, err)
		}
		grown := append(f.get(min(n, 4*len(buf))), buf...)
		f.put(buf)
		buf = grown
	}
}

func endsAfter(n, read int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("request of %d bytes ends after %d: %w", n, read, err)
}
