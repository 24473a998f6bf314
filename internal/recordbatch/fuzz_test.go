package recordbatch

import (
	"bytes"
	"errors"
	"runtime"
	"testing"
)

// FuzzReader splits any bytes into batches and walks their records. It must
// not panic, must stay inside the bytes, and what is a plain batch in the
// Builder's form must be encoded to the same records again.
func FuzzReader(f *testing.F) {
	plain := build([]Record{
		{Timestamp: 5, Key: []byte("k"), Value: []byte("v"), Headers: EncodeHeaders(nil, []Header{{"h", nil}, {"i", []byte("x")}})},
		{Timestamp: 3},
	})
	f.Add([]byte(plain))
	f.Add([]byte(ControlBatch(1, 2, true, 3, 4)))
	for _, c := range []Codec{CodecGzip, CodecSnappy, CodecLZ4, CodecZstd} {
		f.Add([]byte(compressed(f, plain, c, compress(f, c, plain[HeaderSize:]))))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var r Reader
		for rest := p; len(rest) > 0; {
			b, after, err := Split(rest)
			if err != nil {
				if !errors.Is(err, ErrCorrupt) {
					t.Fatal(err)
				}
				return
			}
			if len(b)+len(after) != len(rest) {
				t.Fatalf("%d and %d bytes of %d", len(b), len(after), len(rest))
			}
			walk(t, &r, b)
			rest = after
		}
	})
}

func walk(t *testing.T, r *Reader, b Batch) {
	if err := errors.Join(r.Reset(b)); err != nil {
		if !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		return
	}
	var out Builder
	var rec Record
	n := 0
	for ; ; n++ {
		ok, err := r.Next(&rec)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if !ok {
			break
		}
		if headers, err := rec.Headers.Decode(); err == nil {
			rec.Headers = EncodeHeaders(nil, headers)
		} else if !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if n < 1000 {
			out.Append(rec.Timestamp, rec.Key, rec.Value, rec.Headers)
		}
	}
	if _, err := ParseMarker(b); err != nil && !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if n == 0 || n > 1000 {
		return
	}
	again := out.Batch()
	var second Reader
	if err := second.Reset(again); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		var rec Record
		if ok, err := second.Next(&rec); !ok || err != nil || rec.Offset != int64(i) {
			t.Fatalf("record %d of %d, written again: %t %v", i, n, ok, err)
		}
	}
}

// FuzzCodec gives any bytes to every codec, in memory that they can account for.
func FuzzCodec(f *testing.F) {
	for _, c := range []Codec{CodecNone, CodecGzip, CodecSnappy, CodecLZ4, CodecZstd} {
		f.Add(int8(c), compress(f, c, []byte("some bytes, some bytes")))
	}
	f.Add(int8(CodecSnappy), xerial([]byte("some bytes, some bytes"), 5))
	f.Fuzz(func(t *testing.T, c int8, p []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		out, err := Codec(c).Decompress([]byte("kept"), p)
		runtime.ReadMemStats(&after)
		// zstd has the smallest form of a run: four bytes are 128 KiB.
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(32<<20+100_000*len(p)) {
			t.Fatalf("%d bytes took %d bytes of memory", len(p), took)
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.HasPrefix(out, []byte("kept")) {
			t.Fatal("dst was overwritten")
		}
		if Codec(c) == CodecNone || len(out) > 1<<20 {
			return
		}
		again, err := Codec(c).Decompress(nil, compress(t, Codec(c), out[4:]))
		if err != nil || !bytes.Equal(again, out[4:]) {
			t.Fatalf("compressed again: %v", err)
		}
	})
}
