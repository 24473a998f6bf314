package commitlog

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/levada/levada/internal/recordbatch"
)

const walkBytes = 256 << 10

// walker reads the batches of a file one after another. It checks their
// structure, not their CRC.
type walker struct {
	file   io.ReaderAt
	at     int64 // of the next batch
	limit  int64 // end of the file
	buf    []byte
	bufPos int64 // position of buf[0]
}

func newWalker(file io.ReaderAt, at, limit int64) *walker {
	return &walker{file: file, at: at, limit: limit}
}

// begin makes it a walker of another file, or place, that keeps its memory.
func (w *walker) begin(file io.ReaderAt, at, limit int64) {
	*w = walker{file: file, at: at, limit: limit, buf: w.buf[:0], bufPos: at}
}

// next returns the next batch, valid until the call after, and its position;
// io.EOF at the limit. A batch that does not fit before the limit, or is none,
// is an error that wraps recordbatch.ErrCorrupt.
func (w *walker) next() (recordbatch.Batch, int64, error) {
	position := w.at
	left := w.limit - position
	if left <= 0 {
		return nil, position, io.EOF
	}
	head, err := w.view(min(left, recordbatch.HeaderSize))
	if err != nil {
		return nil, position, err
	}
	n := int64(recordbatch.HeaderSize)
	if len(head) >= recordbatch.LogOverhead {
		n = int64(int32(binary.BigEndian.Uint32(head[8:]))) + recordbatch.LogOverhead
	}
	// A length that is no length must not make us read up to 2 GiB.
	if n > left {
		return nil, position, fmt.Errorf("%w: %d bytes of %d", recordbatch.ErrShort, left, n)
	}
	bytes := head
	if n > int64(len(head)) {
		if bytes, err = w.view(n); err != nil {
			return nil, position, err
		}
	}
	b, _, err := recordbatch.Split(bytes)
	if err != nil {
		return nil, position, err
	}
	w.at += int64(len(b))
	return b, position, nil
}

// view gives n bytes from the position on.
func (w *walker) view(n int64) ([]byte, error) {
	from := w.at - w.bufPos
	if w.buf == nil || from < 0 || from+n > int64(len(w.buf)) {
		size := min(max(n, walkBytes), w.limit-w.at)
		if int64(cap(w.buf)) < size {
			w.buf = make([]byte, size)
		}
		w.buf, w.bufPos, from = w.buf[:size], w.at, 0
		if _, err := w.file.ReadAt(w.buf, w.at); err != nil {
			w.buf = nil
			return nil, err
		}
	}
	return w.buf[from : from+n], nil
}
