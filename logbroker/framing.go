package logbroker

import (
	"bufio"
	"fmt"
	"io"
)

// firstChunk is how much memory a frame gets before any of it has come; more is
// taken as more comes, so that a length alone costs nothing.
const firstChunk = 64 << 10

// readFrame reads n bytes.
func readFrame(r *bufio.Reader, n int) ([]byte, error) {
	frame := make([]byte, min(n, firstChunk))
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
