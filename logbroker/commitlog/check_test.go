package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/levada/levada/internal/recordbatch"
)

// flippedLog is a log that was closed in order, and what its batches are.
type flippedLog struct {
	files   image
	batches map[int64][]byte // by the offset where they begin
	end     int64
}

func newFlippedLog(t *testing.T) *flippedLog {
	t.Helper()
	fs := vfs.NewMem()
	l := mustOpen(t, testConfig(fs))
	f := &flippedLog{batches: map[int64][]byte{}}
	for i := range 60 {
		values := []string{fmt.Sprint("value ", i), "another", "one more"}
		mustAppend(t, l, source{}, values[:1+i%3]...)
	}
	for next := int64(0); next < l.End(); {
		b, err := l.Read(next, l.End(), 1, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		f.batches[next] = b
		next = recordbatch.Batch(b).NextOffset()
	}
	f.end = l.End()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f.files = readImage(t, fs)
	return f
}

// batchAt is where the batch begins that a byte of a file belongs to.
func (f *flippedLog) batchAt(name string, at int) int64 {
	for rest := f.files[name]; ; {
		b, after, err := recordbatch.Split(rest)
		if err != nil || at < len(b) {
			return b.BaseOffset()
		}
		rest, at = after, at-len(b)
	}
}

// readAll reads a log from a batch on, in pieces of maxBytes, as a fetch does. It tells which
// batches could not be read; all others have to be as they were.
func (f *flippedLog) readAll(t *testing.T, l *Log, from int64, maxBytes int) (told []int64) {
	t.Helper()
	for next := from; next < f.end; {
		var chunk []byte
		var err error
		if r, ok := l.Locate(next, f.end, maxBytes, 1); ok {
			chunk = sectionBytes(t, r)
		} else if chunk, err = l.Read(next, f.end, maxBytes, true, nil); errors.Is(err, recordbatch.ErrCorrupt) {
			told = append(told, next)
			next = recordbatch.Batch(f.batches[next]).NextOffset()
			continue
		}
		if err != nil || len(chunk) == 0 {
			t.Fatalf("offset %d: %d bytes, %v", next, len(chunk), err)
		}
		for len(chunk) > 0 {
			want := f.batches[next]
			if !bytes.HasPrefix(chunk, want) {
				t.Fatalf("offset %d is given with other bytes, without a word", next)
			}
			chunk, next = chunk[len(want):], recordbatch.Batch(want).NextOffset()
		}
	}
	return told
}

// TestReadersMeetNoFlippedByte: whatever byte of a segment is another than was written, of
// one that is sealed or one that was closed in order, no reader is given it, whatever it
// reads first and how much at once; it is told of that batch, and given all others but a few
// that the index leads to through it.
func TestReadersMeetNoFlippedByte(t *testing.T) {
	f := newFlippedLog(t)
	random := rand.New(rand.NewPCG(1, 2))
	for name, data := range f.files {
		if len(name) != len(firstLog) {
			continue
		}
		for at := range data {
			flipped := bytes.Clone(data)
			flipped[at] ^= 1 << random.IntN(8)
			files := f.files.with(name, flipped)
			for _, maxBytes := range []int{1, 300, 1 << 20} {
				l, err := Open(testConfig(files.write(t)))
				if errors.Is(err, ErrCorrupt) {
					break // the start is told
				}
				if err != nil {
					t.Fatal(err)
				}
				if maxBytes == 300 { // where nothing before it was read
					from := random.Int64N(f.end)
					for f.batches[from] == nil {
						from--
					}
					f.readAll(t, l, from, maxBytes)
				}
				told := f.readAll(t, l, 0, maxBytes)
				if few := 2*200/60 + 1; !slices.Contains(told, f.batchAt(name, at)) || len(told) > few || len(l.Damage()) == 0 {
					t.Fatalf("byte %d of %s, read by %d: told of %v, damage %v", at, name, maxBytes, told, l.Damage())
				}
				closeQuietly(l)
			}
		}
	}
}

// TestWhatThisRunWroteIsNotReadTwice: nor is what was checked.
func TestWhatThisRunWroteIsNotReadTwice(t *testing.T) {
	f := newFlippedLog(t)
	l := mustOpen(t, testConfig(f.files.write(t)))
	defer closeQuietly(l)
	if told := f.readAll(t, l, 0, 500); len(told) > 0 {
		t.Fatal(told)
	}
	for i, seg := range *l.segments.Load() {
		if s, ok := seg.checked.at(0); !ok || s != (checkedSpan{0, seg.size.Load(), seg.end.Load()}) {
			t.Errorf("segment %d: %+v is checked of %d bytes", i, seg.checked.list, seg.size.Load())
		}
	}
	end := l.active().size.Load()
	mustAppend(t, l, source{}, "new")
	if good, next, err := l.check(l.active(), end, l.active().size.Load()); good != l.active().size.Load() || next != -1 || err != nil {
		t.Error(good, next, err)
	}
	if s, _ := l.active().checked.at(end); s.to != end {
		t.Errorf("what was written now was checked: %+v", s)
	}
}

// TestCheckedSpans holds them against a list of bytes.
func TestCheckedSpans(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var c checkedSpans
		var known [400]bool
		for range rapid.IntRange(1, 60).Draw(rt, "spans") {
			from := rapid.Int64Range(0, 398).Draw(rt, "from")
			to := rapid.Int64Range(from+1, 399).Draw(rt, "to")
			c.add(checkedSpan{from, to, 10 * to})
			for i := from; i < to; i++ {
				known[i] = true
			}
		}
		var have [400]bool
		for i, s := range c.list {
			if s.next != 10*s.to || i > 0 && s.from <= c.list[i-1].to {
				rt.Fatalf("%+v", c.list)
			}
			for at := s.from; at < s.to; at++ {
				have[at] = true
			}
			for _, at := range []int64{s.from, s.to} {
				if got, ok := c.at(at); !ok || got != s {
					rt.Fatalf("at %d: %+v", at, got)
				}
			}
		}
		if len(c.list) < maxSpans && have != known {
			rt.Fatalf("%+v", c.list)
		}
	})
	var c checkedSpans
	for i := range int64(2 * maxSpans) {
		c.add(checkedSpan{i * 1000, i*1000 + 10 + i, 0})
	}
	if len(c.list) != maxSpans || c.list[0].from != maxSpans*1000 {
		t.Errorf("%d spans are kept, the first %+v", len(c.list), c.list[0])
	}
}
