package recordbatch

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// drawRecords draws records with nulls, empty fields, headers, and times that
// go back.
func drawRecords(t *rapid.T) []Record {
	bytesOrNil := rapid.Custom(func(t *rapid.T) []byte {
		if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
			return nil
		}
		return rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "bytes")
	})
	records := make([]Record, rapid.IntRange(1, 40).Draw(t, "records"))
	base := rapid.Int64Range(0, 1<<42).Draw(t, "base time")
	for i := range records {
		var headers []Header
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			headers = append(headers, Header{rapid.String().Draw(t, "name"), bytesOrNil.Draw(t, "header")})
		}
		records[i] = Record{
			Offset: int64(i), Timestamp: base + rapid.Int64Range(-1<<33, 1<<33).Draw(t, "time"),
			Key: bytesOrNil.Draw(t, "key"), Value: bytesOrNil.Draw(t, "value"), Headers: EncodeHeaders(nil, headers),
		}
	}
	return records
}

func build(records []Record) Batch {
	var b Builder
	for _, r := range records {
		b.Append(r.Timestamp, r.Key, r.Value, r.Headers)
	}
	batch := b.Batch()
	batch.SetCRC()
	return batch
}

func readRecords(t testing.TB, b Batch) []Record {
	t.Helper()
	var r Reader
	if err := r.Reset(b); err != nil {
		t.Fatal(err)
	}
	var out []Record
	for {
		var rec Record
		ok, err := r.Next(&rec)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return out
		}
		out = append(out, rec)
	}
}

// What the Builder writes is what kmsg writes, and what the Reader reads is
// what was given.
func TestBuilderAgainstKmsg(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := drawRecords(t)
		batch := build(records)
		if err := batch.Validate(); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(records, readAll(t, batch)); d != "" {
			t.Fatalf("read back: %s", d)
		}
		if want := kmsgBatch(t, records); !bytes.Equal(batch, want) {
			t.Fatalf("kmsg encodes\n%s, we\n%s", hex.Dump(want), hex.Dump(batch))
		}
	})
}

func readAll(t *rapid.T, b Batch) []Record {
	var r Reader
	if err := r.Reset(b); err != nil {
		t.Fatal(err)
	}
	var out []Record
	for r.Left() > 0 {
		var rec Record
		if ok, err := r.Next(&rec); !ok || err != nil {
			t.Fatal(ok, err)
		}
		out = append(out, rec)
	}
	return out
}

// kmsgBatch encodes with franz-go's structs. Its own record encoder writes the
// length that it is told: it is measured with a first encoding.
func kmsgBatch(t *rapid.T, records []Record) []byte {
	var body []byte
	maxTime := records[0].Timestamp
	for i, r := range records {
		maxTime = max(maxTime, r.Timestamp)
		headers, err := r.Headers.Decode()
		if err != nil {
			t.Fatal(err)
		}
		k := kmsg.Record{TimestampDelta64: r.Timestamp - records[0].Timestamp, OffsetDelta: int32(i), Key: r.Key, Value: r.Value}
		for _, h := range headers {
			k.Headers = append(k.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
		}
		k.Length = int32(len(k.AppendTo(nil)) - 1)
		body = k.AppendTo(body)
	}
	b := kmsg.NewRecordBatch()
	b.Magic, b.Length = Magic, int32(HeaderSize-LogOverhead+len(body))
	b.LastOffsetDelta, b.NumRecords = int32(len(records)-1), int32(len(records))
	b.FirstTimestamp, b.MaxTimestamp = records[0].Timestamp, maxTime
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = -1, -1, -1
	b.Records = body
	out := Batch(b.AppendTo(nil))
	out.SetCRC()
	return out
}

func TestGolden(t *testing.T) {
	var b Builder
	b.Append(1_700_000_000_000, []byte("key"), []byte("value"), EncodeHeaders(nil, []Header{{"h", []byte{1}}}))
	b.Append(1_700_000_000_005, nil, nil, nil)
	batch := b.Batch()
	batch.SetBaseOffset(7)
	batch.SetLeaderEpoch(2)
	batch.SetProducer(0x0102, 3, 9, true)
	batch.SetCRC()
	want := strings.TrimLeft(`
00000000  00 00 00 00 00 00 00 07  00 00 00 4b 00 00 00 02  |...........K....|
00000010  02 d8 9e 14 6d 00 10 00  00 00 01 00 00 01 8b cf  |....m...........|
00000020  e5 68 00 00 00 01 8b cf  e5 68 05 00 00 00 00 00  |.h.......h......|
00000030  00 01 02 00 03 00 00 00  09 00 00 00 02 24 00 00  |.............$..|
00000040  00 06 6b 65 79 0a 76 61  6c 75 65 02 02 68 02 01  |..key.value..h..|
00000050  0c 00 0a 02 01 01 00                              |.......|
`, "\n")
	if got := hex.Dump(batch); got != want {
		t.Fatalf("got\n%swant\n%s", got, want)
	}
	fields := fmt.Sprint(batch.BaseOffset(), batch.LastOffset(), batch.NextOffset(), batch.LeaderEpoch(), batch.Count(), batch.BaseSequence(), batch.LastSequence(),
		batch.ProducerID(), batch.ProducerEpoch(), batch.IsTransactional(), batch.IsControl(), batch.IsLogAppendTime(), batch.Codec(), batch.BaseTimestamp(), batch.MaxTimestamp())
	if want := "7 8 9 2 2 9 10 258 3 true false false none 1700000000000 1700000000005"; fields != want {
		t.Fatalf("fields %s, want %s", fields, want)
	}
	batch.SetLogAppendTime(42)
	for _, r := range readRecords(t, batch) {
		if r.Timestamp != 42 {
			t.Errorf("record time %d after SetLogAppendTime(42)", r.Timestamp)
		}
	}
	batch.SetProducer(-1, -1, -1, false)
	if batch.IsTransactional() || !batch.IsLogAppendTime() {
		t.Error("SetProducer must change the transactional flag alone")
	}
}

func TestMarker(t *testing.T) {
	for _, commit := range []bool{true, false} {
		b := ControlBatch(5, 6, commit, 7, 8)
		if err := b.Validate(); err != nil {
			t.Fatal(err)
		}
		m, err := ParseMarker(b)
		if err != nil || m != (Marker{commit, 7}) || !b.IsControl() || !b.IsTransactional() {
			t.Errorf("commit %t: %+v, %v", commit, m, err)
		}
	}
	bad := ControlBatch(5, 6, true, 7, 8)
	bad[len(bad)-8-1] = 9 // the type
	for name, b := range map[string]Batch{"type": bad, "data": build([]Record{{Key: []byte("k"), Value: []byte("v")}}), "short": bad[:30]} {
		if _, err := ParseMarker(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

func TestAddSequence(t *testing.T) {
	for _, c := range []struct{ seq, n, want int32 }{
		{0, 1, 1}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 1, 3, 1}, {math.MaxInt32, math.MaxInt32, math.MaxInt32 - 1},
	} {
		if got := AddSequence(c.seq, c.n); got != c.want {
			t.Errorf("AddSequence(%d, %d) = %d, want %d", c.seq, c.n, got, c.want)
		}
	}
}

// Every bit that the CRC covers is covered.
func TestFlippedBits(t *testing.T) {
	b := build([]Record{{Key: []byte("k"), Value: []byte("some value")}})
	for at := range b {
		for bit := range 8 {
			b[at] ^= 1 << bit
			outside := at < 8 || (at >= 12 && at < 16) // base offset and leader epoch are the log's
			if err := b.Validate(); (err == nil) != outside || (err != nil && !errors.Is(err, ErrCorrupt)) {
				t.Errorf("bit %d of byte %d: %v", bit, at, err)
			}
			b[at] ^= 1 << bit
		}
	}
}

func TestSplit(t *testing.T) {
	one, two := build([]Record{{Value: []byte("1")}}), build([]Record{{Value: []byte("2")}})
	b, rest, err := Split(append(append(Batch{}, one...), two...))
	if err != nil || !bytes.Equal(b, one) || !bytes.Equal(rest, two) {
		t.Fatalf("%v %x %x", err, b, rest)
	}
	if cap(b) != len(b) {
		t.Error("an append to a batch must not write into the next one")
	}
	for n := range len(one) {
		if _, _, err := Split(one[:n]); !errors.Is(err, ErrShort) {
			t.Errorf("%d of %d bytes: %v, want ErrShort", n, len(one), err)
		}
	}
}

func TestHeadersThatDoNotDecode(t *testing.T) {
	good := EncodeHeaders(nil, []Header{{"h", []byte{1}}, {"null", nil}})
	if hs, err := good.Decode(); err != nil || len(hs) != 2 || hs[1].Value != nil {
		t.Fatal(hs, err)
	}
	for n := 1; n < len(good); n++ {
		if hs, err := good[:n].Decode(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut after %d bytes: %v %v", n, hs, err)
		}
	}
	if hs, err := append(good[:len(good):len(good)], 0).Decode(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("one byte too many: %v %v", hs, err)
	}
}
