package sdk

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/internal/recordbatch"
)

// What a source appends is what the host reads, its size is what the credit
// counts, and a batch that is not Full stays below its limit.
func TestBatchComesBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type record struct {
			ts         int64
			key, value []byte
			header     string
		}
		content := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 40))
		records := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) record {
			return record{rapid.Int64Range(0, 1<<42).Draw(rt, "ts"), content.Draw(rt, "key"), content.Draw(rt, "value"), rapid.StringN(0, 5, 5).Draw(rt, "header")}
		}), 1, 30).Draw(rt, "records")
		limit := rapid.Int64Range(500, 4000).Draw(rt, "limit")
		var b Batch
		b.reset(limit)
		taken := 0
		for _, r := range records {
			if b.Full(len(r.key) + len(r.value) + len(r.header)) {
				break
			}
			b.Append(r.ts, r.key, r.value, Header{Key: "h", Value: []byte(r.header)})
			taken++
		}
		size := b.SizeBytes()
		raw := b.encode()
		if int64(len(raw)) != size || size > limit {
			rt.Fatalf("%d bytes, counted as %d, limit %d", len(raw), size, limit)
		}
		if taken == 0 {
			return
		}
		batch, rest, err := recordbatch.Split(raw)
		if err == nil {
			err = batch.Validate()
		}
		if err != nil || len(rest) > 0 || int(batch.Count()) != taken {
			rt.Fatalf("%d records of %d, %d bytes behind, %v", batch.Count(), taken, len(rest), err)
		}
		var rd recordbatch.Reader
		var rec recordbatch.Record
		if err := rd.Reset(batch); err != nil {
			rt.Fatal(err)
		}
		for i := range taken {
			if ok, err := rd.Next(&rec); !ok || err != nil {
				rt.Fatalf("record %d: %v, %v", i, ok, err)
			}
			want := records[i]
			if rec.Timestamp != want.ts || string(rec.Key) != string(want.key) || string(rec.Value) != string(want.value) ||
				(rec.Key == nil) != (want.key == nil) || (rec.Value == nil) != (want.value == nil) {
				rt.Fatalf("record %d: %+v, want %+v", i, rec, want)
			}
		}
	})
}

// Error records count in the size, as docs/format/plugin-protocol.md says.
func TestErrorRecordsCount(t *testing.T) {
	var b Batch
	b.reset(1 << 20)
	b.AppendError([]byte("key"), []byte("value"), "why", "where:1")
	if b.Len() != 1 || b.SizeBytes() != 3+5+3+7+64 || b.encode() != nil {
		t.Errorf("%d records of %d bytes", b.Len(), b.SizeBytes())
	}
	if proto.MaxMessageBytes < 16<<20 {
		t.Error("a message does not hold the largest batch")
	}
}
