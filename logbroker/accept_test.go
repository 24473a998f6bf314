package logbroker

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/levada/levada/internal/recordbatch"
)

// TestUnreadableRecords: a batch that some reader could not read is refused, with what
// is wrong, whatever codec it has and though its checksum is right.
func TestUnreadableRecords(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith()
	good := w.keyed(w.now, "a=1", "b=2")
	packed := func(c recordbatch.Codec, b recordbatch.Batch) recordbatch.Batch {
		out, err := recordbatch.Recode(nil, b, c)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	counts := func(n byte) func(recordbatch.Batch) {
		return func(b recordbatch.Batch) { b[57+3], b[23+3] = n, n-1 }
	}
	cases := []struct {
		name   string
		change func(recordbatch.Batch)
		says   string
		codecs bool // the same with every codec
		packed bool // it is the compression that is wrong
	}{
		{"a record longer than the batch", func(b recordbatch.Batch) { b[recordbatch.HeaderSize] = 0x7e }, "63 bytes in 18", false, false},
		{"one record, and the batch says three", counts(3), "record 2 of 3", true, false},
		{"two records, and the batch says one", counts(1), "behind 1 records", true, false},
		{"offsets that do not follow each other", func(b recordbatch.Batch) { b[recordbatch.HeaderSize+3] = 8 }, "offset 4", false, false},
		{"headers that are not there", func(b recordbatch.Batch) { b[len(b)-1] = 4 }, "2 headers", false, false},
		{"gzip that is none", func(b recordbatch.Batch) { b[22] |= byte(recordbatch.CodecGzip) }, "gzip", false, true},
		{"zstd that is none", func(b recordbatch.Batch) { b[22] |= byte(recordbatch.CodecZstd) }, "zstd", false, true},
		{"a codec that does not exist", func(b recordbatch.Batch) { b[22] |= 5 }, "codec 5", false, true},
	}
	for _, c := range cases {
		codecs := []recordbatch.Codec{recordbatch.CodecNone}
		if c.codecs {
			codecs = append(codecs, recordbatch.CodecGzip, recordbatch.CodecSnappy, recordbatch.CodecLZ4, recordbatch.CodecZstd)
		}
		for _, codec := range codecs {
			b := packed(codec, good)
			c.change(b)
			b.SetCRC()
			answer := w.produce(13, nil, 0, b)
			want := kerr.InvalidRecord
			if c.packed {
				want = kerr.UnknownServerError
			}
			w.want(answer.ErrorCode, want)
			if answer.ErrorMessage == nil || !strings.Contains(*answer.ErrorMessage, c.says) {
				t.Errorf("%s, codec %d: %v, want %q", c.name, codec, *answer.ErrorMessage, c.says)
			}
		}
	}
	for codec := recordbatch.CodecNone; codec <= recordbatch.CodecZstd; codec++ {
		w.want(w.produce(13, nil, 0, packed(codec, good)).ErrorCode, nil)
	}
	if got := w.records(); len(got) != 10 {
		t.Errorf("%d records, want the 10 of the good batches", len(got))
	}
}
