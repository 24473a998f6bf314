package recordbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// compress is what other clients write.
func compress(t testing.TB, c Codec, p []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var err error
	switch c {
	case CodecGzip:
		w := gzip.NewWriter(&b)
		_, err = w.Write(p)
		err = errors.Join(err, w.Close())
	case CodecSnappy:
		return s2.EncodeSnappy(nil, p)
	case CodecLZ4:
		w := lz4.NewWriter(&b)
		_, err = w.Write(p)
		err = errors.Join(err, w.Close())
	case CodecZstd:
		w, zerr := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
		if zerr != nil {
			t.Fatal(zerr)
		}
		_, err = w.Write(p)
		err = errors.Join(err, w.Close())
	default:
		return p
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// xerial frames snappy blocks as snappy-java does.
func xerial(p []byte, blockSize int) []byte {
	out := append(slices.Clone(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	for block := range slices.Chunk(p, blockSize) {
		enc := s2.EncodeSnappy(nil, block)
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(enc))), enc...)
	}
	return out
}

// compressed is b with its records under a codec.
func compressed(t testing.TB, b Batch, c Codec, records []byte) Batch {
	t.Helper()
	out := append(slices.Clone(b[:HeaderSize]), records...)
	binary.BigEndian.PutUint32(out[8:], uint32(len(out)-LogOverhead))
	out[22] |= byte(c)
	out.SetCRC()
	if err := out.Validate(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCodecs(t *testing.T) {
	var records []Record
	for i := range 500 {
		records = append(records, Record{Offset: int64(i), Timestamp: int64(i), Key: []byte{byte(i)}, Value: bytes.Repeat([]byte("value "), i%50)})
	}
	plain := build(records)
	for _, c := range []Codec{CodecNone, CodecGzip, CodecSnappy, CodecLZ4, CodecZstd} {
		got := readRecords(t, compressed(t, plain, c, compress(t, c, plain[HeaderSize:])))
		equalRecords(t, records, got)
	}
	equalRecords(t, records, readRecords(t, compressed(t, plain, CodecSnappy, xerial(plain[HeaderSize:], 1000))))
}

func equalRecords(t *testing.T, want, got []Record) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		w, g := want[i], got[i]
		if w.Offset != g.Offset || w.Timestamp != g.Timestamp || !bytes.Equal(w.Key, g.Key) || !bytes.Equal(w.Value, g.Value) {
			t.Fatalf("record %d: %+v, want %+v", i, g, w)
		}
	}
}

func TestDecompressKeepsDst(t *testing.T) {
	for _, c := range []Codec{CodecNone, CodecGzip, CodecSnappy, CodecLZ4, CodecZstd} {
		out, err := c.Decompress([]byte("before "), compress(t, c, []byte("after")))
		if err != nil || string(out) != "before after" {
			t.Errorf("codec %d: %q, %v", c, out, err)
		}
	}
}

// A small batch must not make us take more memory than MaxDecompressed.
func TestDecompressionBombs(t *testing.T) {
	zeros := make([]byte, MaxDecompressed+1)
	snappy := s2.EncodeSnappy(nil, zeros[:64<<20])
	frame := append(slices.Clone(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	for range 3 {
		frame = append(binary.BigEndian.AppendUint32(frame, uint32(len(snappy))), snappy...)
	}
	for name, c := range map[string]struct {
		codec Codec
		src   []byte
	}{
		"gzip":           {CodecGzip, compress(t, CodecGzip, zeros)},
		"lz4":            {CodecLZ4, compress(t, CodecLZ4, zeros)},
		"zstd":           {CodecZstd, compress(t, CodecZstd, zeros)},
		"snappy's claim": {CodecSnappy, binary.AppendUvarint(nil, MaxDecompressed+1)},
		"snappy frames":  {CodecSnappy, frame},
	} {
		if out, err := c.codec.Decompress(nil, c.src); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %d bytes of %d, %v; want ErrCorrupt", name, len(out), len(c.src), err)
		}
	}
}

// What claims to be large costs nothing before it is.
func TestClaimsCostNothing(t *testing.T) {
	snappy := binary.AppendUvarint(nil, 100<<20)
	// Magic, a single segment with a content size of 8 bytes, 100 MiB, a last raw
	// block of nothing.
	zstdFrame := binary.LittleEndian.AppendUint64([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}, 100<<20)
	zstdFrame = append(zstdFrame, 1, 0, 0)
	empty := compress(t, CodecZstd, nil)
	for name, c := range map[string]struct {
		codec Codec
		src   []byte
	}{
		"snappy":           {CodecSnappy, append(snappy, 0, 'x')},
		"zstd":             {CodecZstd, zstdFrame},
		"zstd, the second": {CodecZstd, append(empty, zstdFrame...)},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		out, err := c.codec.Decompress(nil, c.src)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, ErrCorrupt) || took > 8<<20 {
			t.Errorf("%s: %d bytes of memory, %d bytes, %v", name, took, len(out), err)
		}
	}
}

func TestUnknownCodec(t *testing.T) {
	for _, c := range []Codec{5, 6, 7, -1} {
		if _, err := c.Decompress(nil, []byte("x")); !errors.Is(err, ErrCorrupt) {
			t.Errorf("codec %d: %v", c, err)
		}
	}
}
