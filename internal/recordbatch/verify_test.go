package recordbatch

import (
	"testing"

	"pgregory.net/rapid"
)

// TestPlainRecords holds the quick way to check a record against the thorough
// one, for records as they are, cut and with other bytes; and the quick way is
// taken for what is nearly every record.
func TestPlainRecords(t *testing.T) {
	sizes := rapid.SampledFrom([]int{0, 1, 16, 63, 64, 84, 1000, 8000, 8191, 8192, 20_000})
	rapid.Check(t, func(t *rapid.T) {
		index := rapid.SampledFrom([]int{0, 1, 63, 64, 4000, 8191, 8192}).Draw(t, "index")
		delta := rapid.SampledFrom([]int64{0, 1, -1, 63, 64, 8191, 8192, -8193, 1 << 40}).Draw(t, "delta")
		key, value := make([]byte, sizes.Draw(t, "key")), make([]byte, sizes.Draw(t, "value"))
		if rapid.Bool().Draw(t, "null key") {
			key = nil
		}
		var headers Headers
		if rapid.IntRange(0, 4).Draw(t, "headers") == 0 {
			headers = EncodeHeaders(nil, []Header{{"h", []byte("x")}})
		}
		p := appendRecord(nil, delta, int64(index), key, value, headers)

		i := int64(index)
		quick, at := plainRecord(p, i)
		if quick != 0 && (quick != len(p) || at != delta) {
			t.Fatalf("%d of %d bytes, time %d of %d", quick, len(p), at, delta)
		}
		small := len(key)+len(value) < 8000 && index < 8192 && delta > -8192 && delta < 8192
		if small && headers == nil && len(p) >= 8 && quick == 0 {
			t.Fatalf("the quick way is not taken for a record of %d bytes", len(p))
		}
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			p[rapid.IntRange(0, min(len(p), 12)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		p = p[:rapid.IntRange(0, len(p)).Draw(t, "cut")]
		quick, at = plainRecord(p, i)
		if thorough, delta, err := checkRecord(p, i); quick != 0 && (err != nil || thorough != quick || delta != at) {
			t.Fatalf("%d bytes at %d in the quick way; thorough: %d at %d, %v", quick, at, thorough, delta, err)
		}
	})
}

// TestLongNullIsNoPlainRecord: a null written in three bytes, which the quick
// way would take for a null in two and an empty value.
func TestLongNullIsNoPlainRecord(t *testing.T) {
	p := []byte{7 << 1, 0, 0, 0, 0x81, 0x80, 0, 0, 0}
	if n, _ := plainRecord(p, 0); n != 0 {
		t.Fatalf("%d bytes", n)
	}
	if n, _, err := checkRecord(p[:8], 0); err == nil {
		t.Fatalf("%d bytes, without an error", n)
	}
}
