package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/levada/levada/internal/recordbatch"
)

// sectionBytes reads a range as it would be sent.
func sectionBytes(t testing.TB, r Range) []byte {
	t.Helper()
	s, err := r.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := io.ReadAll(s.Reader())
	if err != nil || len(b) != r.Size() {
		t.Fatalf("%d bytes of %d, %v", len(b), r.Size(), err)
	}
	return b
}

// What Locate finds is a beginning of what Read gives, in whole batches, and no
// less than was asked for; and it is found where there is enough of it.
func TestLocateAgreesWithRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := testConfig(vfs.NewMem())
		cfg.SegmentBytes = rapid.Int64Range(500, 20_000).Draw(rt, "segment")
		cfg.IndexIntervalBytes = rapid.SampledFrom([]int{1, 200, 4096}).Draw(rt, "interval")
		l := mustOpen(t, cfg)
		defer closeQuietly(l)
		for i := range rapid.IntRange(1, 60).Draw(rt, "batches") {
			values := rapid.SliceOfN(rapid.IntRange(0, 300), 1, 6).Draw(rt, "values")
			var texts []string
			for _, n := range values {
				texts = append(texts, strings.Repeat(fmt.Sprint(i), n))
			}
			mustAppend(t, l, source{}, texts...)
		}
		for range 20 {
			offset := rapid.Int64Range(0, l.End()-1).Draw(rt, "offset")
			end := rapid.Int64Range(offset, l.End()).Draw(rt, "end")
			maxBytes, least := rapid.IntRange(0, 30_000).Draw(rt, "max"), rapid.IntRange(1, 2000).Draw(rt, "least")
			want, err := l.Read(offset, end, 1<<20, false, nil)
			if err != nil {
				rt.Fatal(err)
			}
			r, ok := l.Locate(offset, end, maxBytes, least)
			if !ok {
				// An index of every byte knows every batch.
				if cfg.IndexIntervalBytes == 1 && min(len(want), maxBytes) > least+2*2000 {
					rt.Fatalf("nothing located in [%d, %d) of up to %d bytes, Read gives %d", offset, end, maxBytes, len(want))
				}
				continue
			}
			got := sectionBytes(t, r)
			if len(got) < least || len(got) > maxBytes || !bytes.HasPrefix(want, got) {
				rt.Fatalf("[%d, %d) up to %d bytes: %d bytes located, Read gives %d", offset, end, maxBytes, len(got), len(want))
			}
			next := int64(0)
			for len(got) > 0 {
				var b recordbatch.Batch
				if b, got, err = recordbatch.Split(got); err != nil {
					rt.Fatal(err)
				}
				next = b.NextOffset()
			}
			if r.End() != next {
				rt.Fatalf("[%d, %d): the range ends at %d, its last batch at %d", offset, end, r.End(), next)
			}
		}
	})
}

// What is being sent stays, even where it is deleted meanwhile; what was found but
// not opened is gone.
func TestSectionOutlivesItsSegment(t *testing.T) {
	cfg := testConfig(vfs.Default)
	cfg.Dir = t.TempDir()
	l := mustOpen(t, cfg)
	defer closeQuietly(l)
	for i := range 100 {
		mustAppend(t, l, source{}, strings.Repeat(fmt.Sprint(i), 100))
	}
	want, err := l.Read(0, l.End(), 1500, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, ok := l.Locate(0, l.End(), 1500, 1000)
	if !ok {
		t.Fatal("nothing located")
	}
	s, err := r.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Sync(), l.DeleteTo(l.End())); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(s.Reader())
	if err != nil || !bytes.HasPrefix(want, got) || len(got) != r.Size() {
		t.Fatalf("%d bytes after the segment was deleted, %v; want the first of %d", len(got), err, len(want))
	}
	if _, _, ok := s.Fd(); !ok {
		t.Fatal("a file of the disk has no descriptor")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Open(); !errors.Is(err, ErrClosed) {
		t.Fatalf("open of a deleted range: %v", err)
	}
}

// A range that begins with something else than its batch is not sent.
func TestLocateLooksAtTheFirstBatch(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testConfig(fs))
	for i := range 10 {
		mustAppend(t, l, source{}, strings.Repeat(fmt.Sprint(i), 100))
	}
	if _, ok := l.Locate(3, l.End(), 2000, 100); !ok {
		t.Fatal("nothing located")
	}
	seg := l.segmentOf(3)
	f, err := fs.OpenReadWrite(seg.path(), writeCategory)
	if err != nil {
		t.Fatal(err)
	}
	size := seg.size.Load()
	if _, err := f.WriteAt(make([]byte, size), 0); err != nil {
		t.Fatal(err)
	}
	if r, ok := l.Locate(3, l.End(), 2000, 100); ok {
		t.Fatalf("%d bytes of zeros located", r.Size())
	}
}
