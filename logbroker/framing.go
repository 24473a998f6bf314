package logbroker

import (
	"bufio"
	"fmt"
	"io"
	"math/bits"
	"sync"
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
type frames struct{ pools [frameSizes]sync.Pool }

// sizeOf is the pool of buffers of n bytes and up to twice as many.
func sizeOf(n int) int { return bits.Len(uint(n/smallestFrame)) - 1 }

// get returns an empty buffer with room for n bytes, and for no more than four
// times as many.
func (f *frames) get(n int) []byte {
	n = max(n, smallestFrame)
	for k := sizeOf(n); k <= sizeOf(n)+1 && k < frameSizes; k++ {
		b, ok := f.pools[k].Get().(*[]byte)
		if ok && cap(*b) >= n {
			return (*b)[:0]
		}
		if ok {
			f.pools[k].Put(b)
		}
	}
	return make([]byte, 0, n)
}

// put takes back a buffer that nobody refers to any more.
func (f *frames) put(b []byte) {
	if k := sizeOf(cap(b)); k >= 0 && k < frameSizes {
		f.pools[k].Put(&b)
	}
}

// read reads a frame of n bytes.
func (f *frames) read(r *bufio.Reader, n int) ([]byte, error) {
	if n <= smallestFrame {
		frame := make([]byte, n)
		m, err := io.ReadFull(r, frame)
		return frame, endsAfter(n, m, err)
	}
	return f.readOn(r, f.get(min(n, max(smallestFrame, r.Buffered()))), n)
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
