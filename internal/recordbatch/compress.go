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

// zstdEncoders are made when they are needed, by their zstd.EncoderLevel.
var zstdEncoders sync.Map

func zstdEncoder(level int) (*zstd.Encoder, error) {
	if level == 0 {
		level = zstdLevel
	}
	l := zstd.EncoderLevelFromZstd(level)
	if e, ok := zstdEncoders.Load(l); ok {
		return e.(*zstd.Encoder), nil
	}
	made, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(l), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, err
	}
	e, _ := zstdEncoders.LoadOrStore(l, made)
	return e.(*zstd.Encoder), nil
}

// The levels that Kafka's codecs have by default, and the highest of pierrec/lz4. The
// default of LZ4 stands for its fast form, which has no levels.
const (
	zstdLevel   = 3
	lz4Level    = 9
	lz4MaxLevel = 9
)

// lz4Levels are those of the slower form of LZ4, from 1 on.
var lz4Levels = []lz4.CompressionLevel{lz4.Level1, lz4.Level2, lz4.Level3, lz4.Level4, lz4.Level5, lz4.Level6, lz4.Level7, lz4.Level8, lz4.Level9}

// Compress appends the compressed form of src to dst in the framing of Kafka's Java
// clients. level is one of the codec, as Kafka counts them (KIP-390); 0 is the default,
// and what is more than the library has is the most that it has.
func (c Codec) Compress(dst, src []byte, level int) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	var w io.WriteCloser
	switch c {
	case CodecNone:
		return append(dst, src...), nil
	case CodecSnappy:
		return compressSnappy(dst, src), nil
	case CodecZstd:
		e, err := zstdEncoder(level)
		if err != nil {
			return nil, fmt.Errorf("recordbatch: zstd: %w", err)
		}
		return e.EncodeAll(src, dst), nil
	case CodecGzip:
		if level == 0 {
			level = gzip.DefaultCompression
		}
		z, err := gzip.NewWriterLevel(out, level)
		if err != nil {
			return nil, fmt.Errorf("recordbatch: %w", err)
		}
		w = z
	case CodecLZ4:
		z := lz4.NewWriter(out)
		if level > 0 && level != lz4Level {
			if err := z.Apply(lz4.CompressionLevelOption(lz4Levels[min(level, lz4MaxLevel)-1])); err != nil {
				return nil, fmt.Errorf("recordbatch: %w", err)
			}
		}
		w = z
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
