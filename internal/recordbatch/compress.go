package recordbatch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// snappyBlock is the size of the blocks that snappy-java compresses.
const snappyBlock = 32 << 10

var zstdEncoder = sync.OnceValues(func() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
})

// Compress appends the compressed form of src to dst, at the codec's default
// level and in the framing of Kafka's Java clients.
func (c Codec) Compress(dst, src []byte) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	var w io.WriteCloser
	switch c {
	case CodecNone:
		return append(dst, src...), nil
	case CodecSnappy:
		return compressSnappy(dst, src), nil
	case CodecZstd:
		e, err := zstdEncoder()
		if err != nil {
			return nil, fmt.Errorf("recordbatch: zstd: %w", err)
		}
		return e.EncodeAll(src, dst), nil
	case CodecGzip:
		w = gzip.NewWriter(out)
	case CodecLZ4:
		w = lz4.NewWriter(out)
	default:
		return nil, fmt.Errorf("recordbatch: unknown compression codec %d", c)
	}
	if _, err := w.Write(src); err != nil {
		return nil, fmt.Errorf("recordbatch: compress: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("recordbatch: compress: %w", err)
	}
	return out.Bytes(), nil
}

// compressSnappy writes the framing of snappy-java; see xerialMagic.
func compressSnappy(dst, src []byte) []byte {
	dst = append(dst, xerialMagic...)
	dst = append(dst, 0, 0, 0, 1, 0, 0, 0, 1) // version and the least that can read it
	for len(src) > 0 {
		n := min(len(src), snappyBlock)
		block := s2.EncodeSnappy(nil, src[:n])
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(block)))
		dst, src = append(dst, block...), src[n:]
	}
	return dst
}
