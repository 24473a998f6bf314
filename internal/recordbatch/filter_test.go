package recordbatch

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

var allCodecs = []Codec{CodecNone, CodecGzip, CodecSnappy, CodecLZ4, CodecZstd}

// TestCompress: what we compress, franz-go reads.
func TestCompress(t *testing.T) {
	theirs := kgo.DefaultDecompressor()
	rapid.Check(t, func(t *rapid.T) {
		text := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "text"), rapid.IntRange(1, 2000).Draw(t, "times"))
		for _, c := range allCodecs {
			out, err := c.Compress([]byte("before"), text, rapid.IntRange(0, 9).Draw(t, "level"))
			if err != nil || !bytes.HasPrefix(out, []byte("before")) {
				t.Fatal(c, err)
			}
			got, err := theirs.Decompress(out[6:], kgo.CompressionCodecType(c))
			if err != nil || !bytes.Equal(got, text) {
				t.Fatalf("codec %d: franz-go reads %d bytes of %d, %v", c, len(got), len(text), err)
			}
		}
	})
	if _, err := Codec(7).Compress(nil, nil, 0); err == nil {
		t.Error("an unknown codec was taken")
	}
}

// TestFilter: the records that are kept are as they were, at their offsets; the
// batch keeps its place and its producer; a horizon changes nothing else.
func TestFilter(t *testing.T) {
	var f Filter
	rapid.Check(t, func(t *rapid.T) {
		records := drawRecords(t)
		plain := build(records)
		plain.SetBaseOffset(500)
		plain.SetLeaderEpoch(3)
		plain.SetProducer(7, 2, 11, rapid.Bool().Draw(t, "transactional"))
		appendTime := rapid.Bool().Draw(t, "append time")
		if appendTime {
			plain.SetLogAppendTime(99)
		}
		plain.SetCRC()
		b, err := new(Reader).Recode(nil, plain, rapid.SampledFrom(allCodecs).Draw(t, "codec"), 0)
		if err != nil {
			t.Fatal(err)
		}
		horizon := int64(NoHorizon)
		if rapid.Bool().Draw(t, "horizon") {
			horizon = rapid.Int64Range(0, 1<<42).Draw(t, "ms")
		}
		keeps := rapid.SliceOfN(rapid.Bool(), len(records), len(records)).Draw(t, "keep")
		if rapid.Bool().Draw(t, "all") {
			clear(keeps)
			for i := range keeps {
				keeps[i] = true
			}
		}
		var want []Record
		for i, r := range readAll(t, b) {
			if keeps[i] {
				want = append(want, r)
			}
		}
		out, kept, err := f.Append([]byte("x"), b, horizon, func(r *Record) bool { return keeps[r.Offset-500] })
		if err != nil || kept != len(want) {
			t.Fatalf("kept %d of %d, %v", kept, len(want), err)
		}
		got := Batch(out[1:])
		if err := got.Validate(); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, readAll(t, got)); d != "" {
			t.Fatal(d)
		}
		place := func(b Batch) []any {
			return []any{b.BaseOffset(), b.LastOffset(), b.LeaderEpoch(), b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.IsTransactional(), b.IsLogAppendTime(), b.IsControl()}
		}
		if d := cmp.Diff(place(b), place(got)); d != "" {
			t.Fatal(d)
		}
		ms, ok := got.DeleteHorizon()
		if set := horizon != NoHorizon && kept > 0; ok != set || set && ms != horizon {
			t.Fatalf("horizon %d %v, want %d", ms, ok, horizon)
		}
		if kept == len(records) && horizon == NoHorizon && !bytes.Equal(got, b) {
			t.Fatal("a batch that keeps all was changed")
		}
		if kept > 0 && got.Codec() != b.Codec() {
			t.Fatalf("codec %d, was %d", got.Codec(), b.Codec())
		}
		// Once more: a second pass reads what the first wrote, and drops the rest.
		if out, kept, err = f.Append(nil, got, NoHorizon, func(*Record) bool { return false }); err != nil || kept != 0 || len(out) != HeaderSize {
			t.Fatalf("nothing kept: %d bytes, %d records, %v", len(out), kept, err)
		}
	})
}
