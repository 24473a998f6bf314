package recordbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is the compression of a batch's records.
type Codec int8

// The codecs of Kafka (KIP-110 added zstd).
const (
	CodecNone Codec = iota
	CodecGzip
	CodecSnappy
	CodecLZ4
	CodecZstd
)

// codecNames are what Kafka calls the codecs.
var codecNames = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// String is the codec's name, or its number if it has none.
func (c Codec) String() string {
	if c < 0 || int(c) >= len(codecNames) {
		return strconv.Itoa(int(c))
	}
	return codecNames[c]
}

// MaxDecompressed bounds the records of one batch after decompression.
const MaxDecompressed = 128 << 20

var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxDecompressed), zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true))
})

// What a few bytes can be decompressed to at most: of a claim beyond it nothing is
// believed, and no memory is taken for it.
const (
	snappyRatio  = 32        // a copy of 64 bytes takes 3
	zstdBlock    = 128 << 10 // and a block takes at least
	zstdOverhead = 4
)

// Decompress appends the decompressed form of src to dst. It refuses more
// than MaxDecompressed bytes.
func (c Codec) Decompress(dst, src []byte) ([]byte, error) {
	switch c {
	case CodecNone:
		return append(dst, src...), nil
	case CodecGzip:
		r, err := gzip.NewReader(bytes.NewReader(src))
		if err != nil {
			return nil, fmt.Errorf("%w: gzip: %w", ErrCorrupt, err)
		}
		return readBounded(dst, r, "gzip")
	case CodecSnappy:
		return decompressSnappy(dst, src)
	case CodecLZ4:
		return readBounded(dst, lz4.NewReader(bytes.NewReader(src)), "lz4")
	case CodecZstd:
		return decompressZstd(dst, src)
	}
	return nil, fmt.Errorf("%w: unknown compression codec %d", ErrCorrupt, c)
}

// decompressZstd takes as much memory as the frame says that it needs, if it can be
// true; where it does not say, more and more until it is enough.
func decompressZstd(dst, src []byte) ([]byte, error) {
	d, err := zstdDecoder()
	if err != nil {
		return nil, err
	}
	limit := min(MaxDecompressed, (len(src)/zstdOverhead+1)*zstdBlock)
	room := min(limit, max(8*len(src), zstdBlock))
	if h := (zstd.Header{}); h.Decode(src) == nil && h.HasFCS && h.FrameContentSize <= uint64(limit) {
		room = int(h.FrameContentSize)
	}
	for {
		out, err := d.DecodeAll(src, slices.Grow(dst, room)[:len(dst):len(dst)+room])
		switch {
		case err == nil:
			return out, nil
		case !errors.Is(err, zstd.ErrDecoderSizeExceeded) || room >= limit:
			return nil, fmt.Errorf("%w: zstd: %w", ErrCorrupt, err)
		}
		room = min(limit, 4*max(room, zstdBlock))
	}
}

func readBounded(dst []byte, r io.Reader, name string) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	n, err := buf.ReadFrom(io.LimitReader(r, MaxDecompressed+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, name, err)
	}
	if n > MaxDecompressed {
		return nil, fmt.Errorf("%w: %s: more than %d bytes after decompression", ErrCorrupt, name, MaxDecompressed)
	}
	return buf.Bytes(), nil
}

// xerialMagic opens the framing that snappy-java puts around blocks: magic,
// two int32 versions, then blocks each with an int32 length.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

func decompressSnappy(dst, src []byte) ([]byte, error) {
	if !bytes.HasPrefix(src, xerialMagic) {
		return appendSnappyBlock(dst, src)
	}
	if len(src) < 16 {
		return nil, fmt.Errorf("%w: snappy: short frame", ErrCorrupt)
	}
	for p := src[16:]; len(p) > 0; {
		if len(p) < 4 {
			return nil, fmt.Errorf("%w: snappy: short block length", ErrCorrupt)
		}
		n := int64(int32(binary.BigEndian.Uint32(p)))
		if n < 0 || n > int64(len(p)-4) {
			return nil, fmt.Errorf("%w: snappy: block of %d bytes in %d", ErrCorrupt, n, len(p)-4)
		}
		var err error
		if dst, err = appendSnappyBlock(dst, p[4:4+n]); err != nil {
			return nil, err
		}
		p = p[4+n:]
	}
	return dst, nil
}

func appendSnappyBlock(dst, block []byte) ([]byte, error) {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return nil, fmt.Errorf("%w: snappy: %w", ErrCorrupt, err)
	}
	if n > snappyRatio*len(block) {
		return nil, fmt.Errorf("%w: snappy: %d bytes in a block of %d", ErrCorrupt, n, len(block))
	}
	if n > MaxDecompressed-len(dst) {
		return nil, fmt.Errorf("%w: snappy: more than %d bytes after decompression", ErrCorrupt, MaxDecompressed)
	}
	at := len(dst)
	dst = slices.Grow(dst, n)[:at+n]
	if _, err := s2.Decode(dst[at:], block); err != nil {
		return nil, fmt.Errorf("%w: snappy: %w", ErrCorrupt, err)
	}
	return dst, nil
}
