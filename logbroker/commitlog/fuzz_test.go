package commitlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/recordbatch"
)

// FuzzRecovery opens a log whose only segment holds any bytes, and whose
// derived files do. It must not panic, must show whole batches with dense
// offsets only, and must show the same again after another start.
func FuzzRecovery(f *testing.F) {
	files, _ := fourBatches(f)
	f.Add(files[firstLog], []byte(nil), []byte(nil))
	f.Add(files[firstLog], files[markFile], checkpoint{end: 2, segments: []checkpointSegment{{sizeBytes: 100}}}.encode(newState(1).encodeSnapshot(2)))
	f.Add(files[firstLog][:200], []byte(nil), []byte("x"))
	f.Add(bytes.Repeat([]byte{0, 2}, 200), []byte("mark"), []byte(nil))
	f.Fuzz(func(t *testing.T, segment, mark, checkpoint []byte) {
		fs := image{firstLog: segment, markFile: mark, checkpointFile: checkpoint}.write(t)
		cfg := testConfig(fs)
		l, err := Open(cfg)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("Open: %v, want a *DamageError or none", err)
			}
			return
		}
		first := readAll(t, l)
		if !bytes.HasPrefix(segment, first) {
			t.Fatal("what is shown is not what was in the file")
		}
		mustAppend(t, l, source{}, "after")
		want := readAll(t, l)
		closeQuietly(l)
		if l, err = Open(cfg); err != nil {
			t.Fatalf("second Open: %v", err)
		}
		if got := readAll(t, l); !bytes.Equal(got, want) {
			t.Fatal("the second start shows other batches")
		}
	})
}

// readAll reads the bytes of the log and checks that offsets are dense.
func readAll(t *testing.T, l *Log) []byte {
	t.Helper()
	var all []byte
	for next := int64(0); next < l.End(); {
		chunk, err := l.Read(next, l.End(), 1<<20, true, nil)
		if err != nil || len(chunk) == 0 {
			t.Fatalf("Read(%d) of %d: %d bytes, %v", next, l.End(), len(chunk), err)
		}
		all = append(all, chunk...)
		for len(chunk) > 0 {
			b, rest, err := recordbatch.Split(chunk)
			if err == nil {
				err = b.Validate()
			}
			if err != nil || b.BaseOffset() != next {
				t.Fatalf("Read(%d): offset %d, %v", next, b.BaseOffset(), err)
			}
			next, chunk = b.NextOffset(), rest
		}
	}
	return all
}

// FuzzSnapshot: what can be decoded encodes to the same bytes.
func FuzzSnapshot(f *testing.F) {
	l := mustOpen(f, testConfig(vfs.NewMem()))
	mustAppend(f, l, source{id: 1, transactional: true}, "a")
	mustAppend(f, l, source{id: 2}, "b")
	f.Add(l.state.encodeSnapshot(2))
	f.Add(newState(1).encodeSnapshot(2))
	f.Fuzz(func(t *testing.T, p []byte) {
		// Without its sum nearly no mutation would get past the first check.
		if len(p) > 4 {
			p = append(p[:len(p)-4:len(p)-4], sumOf(p[:len(p)-4])...)
		}
		s, err := decodeSnapshot(p, 2, 100)
		if err != nil {
			if !errors.Is(err, errSnapshot) {
				t.Fatal(err)
			}
			return
		}
		again, err := decodeSnapshot(s.encodeSnapshot(2), 2, 100)
		if err != nil || !bytes.Equal(again.encodeSnapshot(2), s.encodeSnapshot(2)) {
			t.Fatalf("%v: another state after one more round", err)
		}
	})
}

// FuzzCheckpoint: what can be decoded encodes to what decodes the same. What follows a
// checkpoint that is whole, whatever it is, changes nothing but that it is noticed.
func FuzzCheckpoint(f *testing.F) {
	text := "levada checkpoint 3\nend 6\nsegment 0 100 1 2 -1 00000000 1234abcd\n"
	f.Add([]byte(text), []byte("snapshot"), []byte("LVCP\x00\x00\x00\x01\x00\x00\x00\x01"))
	f.Add([]byte("levada checkpoint 3\nend -1\n"), []byte(nil), make([]byte, 20))
	f.Fuzz(func(t *testing.T, text, snapshot, rest []byte) {
		p := make([]byte, checkpointHead, checkpointHead+len(text)+len(snapshot))
		copy(p, checkpointMagic)
		binary.BigEndian.PutUint32(p[4:], uint32(len(text)))
		binary.BigEndian.PutUint32(p[8:], uint32(len(snapshot)))
		p = append(append(p, text...), snapshot...)
		binary.BigEndian.PutUint32(p[12:], checkpointSum(p))
		c, s, torn, err := lastCheckpoint(p)
		if err != nil {
			return
		}
		if torn || !bytes.Equal(s, snapshot) {
			t.Fatalf("torn %t, snapshot %q, want %q", torn, s, snapshot)
		}
		again, s, _, err := lastCheckpoint(c.encode(snapshot))
		if err != nil || !bytes.Equal(again.encode(s), c.encode(snapshot)) {
			t.Fatalf("%v: another checkpoint after one more round", err)
		}
		if again, _, torn, err = lastCheckpoint(append(p, rest...)); err != nil || again.end != c.end || torn == unarmed(rest) {
			t.Fatalf("with %q after it: end %d, torn %t, %v", rest, again.end, torn, err)
		}
	})
}

// FuzzIndex: what can be decoded points into the segment.
func FuzzIndex(f *testing.F) {
	f.Add([]byte{0, 0, 0, 5, 0, 0, 1, 0}, []byte{0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, offsets, times []byte) {
		const base, size, end = 100, 1000, 150
		x := newIndex(base, 64)
		if err := x.decode(offsets, times, size, end); err != nil {
			return
		}
		for offset := int64(base); offset < end; offset++ {
			if p := x.position(offset); p < 0 || p >= size {
				t.Fatalf("position %d of offset %d", p, offset)
			}
		}
		for _, ms := range []int64{-1 << 63, -1, 0, 1000, 1<<63 - 1} {
			if o := x.offsetBefore(ms); o < base || o >= end {
				t.Fatalf("offset %d for time %d", o, ms)
			}
		}
		gotOffsets, gotTimes := x.encode(indexSizes{})
		if !bytes.Equal(gotOffsets, offsets) || !bytes.Equal(gotTimes, times) {
			t.Fatal("encodes to other bytes")
		}
	})
}

func sumOf(p []byte) []byte {
	return binary.BigEndian.AppendUint32(nil, crc32.Checksum(p, castagnoli))
}
