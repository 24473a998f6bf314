package serde_test

import (
	"encoding/hex"
	stdjson "encoding/json"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/levada/levada/dsl/serde"
)

type order struct {
	ID    string           `json:"id"`
	Cents int64            `json:"cents"`
	Tags  []string         `json:"tags,omitempty"`
	Extra map[string]any   `json:"extra,omitempty"`
	Next  *order           `json:"next,omitempty"`
	Sums  map[string]int64 `json:"sums,omitempty"`
}

// check writes v, compares the bytes with the golden hexdump, and reads it back.
func check[T any](t *testing.T, s serde.Serde[T], v T, want string) {
	t.Helper()
	b, err := s.Append([]byte("x"), v)
	if err != nil {
		t.Errorf("%s: Append(%v): %v", serde.Name(s), v, err)
		return
	}
	if got := hex.EncodeToString(b); got != "78"+want {
		t.Errorf("%s: Append(%v) = %s, want 78%s", serde.Name(s), v, got, want)
	}
	back, err := s.Decode(b[1:])
	if err != nil || fmt.Sprint(back) != fmt.Sprint(v) {
		t.Errorf("%s: Decode of %v gave %v, %v", serde.Name(s), v, back, err)
	}
	if text, err := serde.Parse(s, serde.Format(s, v)); err != nil || fmt.Sprint(text) != fmt.Sprint(v) {
		t.Errorf("%s: Parse(Format(%v)) gave %v, %v", serde.Name(s), v, text, err)
	}
}

// TestForms compares with the forms of Kafka's serializers.
func TestForms(t *testing.T) {
	check(t, serde.Bytes{}, []byte{0, 255}, "00ff")
	check(t, serde.String{}, "né", "6ec3a9")
	check(t, serde.String{}, "", "")
	check(t, serde.Int64{}, 1, "0000000000000001")
	check(t, serde.Int64{}, -1, "ffffffffffffffff")
	check(t, serde.Int64{}, math.MinInt64, "8000000000000000")
	check(t, serde.Float64{}, 1.5, "3ff8000000000000")
	check(t, serde.Float64{}, math.Copysign(0, -1), "8000000000000000")
	check(t, serde.Float64{}, math.Float64frombits(0x7ff8000000000001), "7ff8000000000000") // Java's NaN
	check(t, serde.JSON[order]{}, order{ID: "<a>", Cents: 3}, hex.EncodeToString([]byte(`{"id":"<a>","cents":3}`)))
	check(t, serde.JSON[map[string]int]{}, map[string]int{"b": 2, "a": 1}, hex.EncodeToString([]byte(`{"a":1,"b":2}`)))
}

func TestDecodeErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		decode func() error
		want   string
	}{
		{"int64 short", func() error { _, err := serde.Int64{}.Decode(make([]byte, 7)); return err }, "int64: 7 bytes, want 8"},
		{"float64 long", func() error { _, err := serde.Float64{}.Decode(make([]byte, 9)); return err }, "float64: 9 bytes, want 8"},
		{"json rest", func() error { _, err := serde.JSON[int]{}.Decode([]byte("1 2")); return err }, "not JSON of int: invalid character '2' after top-level value"},
		{"json empty", func() error { _, err := serde.JSON[order]{}.Decode(nil); return err }, "not JSON of serde_test.order: unexpected end of JSON input"},
	} {
		if err := c.decode(); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

// TestDecodeDoesNotKeepBytes: what is read stays when the bytes change.
func TestDecodeDoesNotKeepBytes(t *testing.T) {
	keeps(t, serde.Bytes{}, "abc")
	keeps(t, serde.String{}, "abc")
	keeps(t, serde.JSON[string]{}, `"abc"`)
	keeps(t, serde.JSON[any]{}, `{"a":["b"]}`)
	keeps(t, serde.JSON[map[string]string]{}, `{"a":"b"}`)
	keeps(t, serde.JSON[order]{}, `{"id":"a","tags":["b"],"extra":{"c":"d"}}`)
}

func keeps[T any](t *testing.T, s serde.Serde[T], text string) {
	t.Helper()
	b := []byte(text)
	v, err := s.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprintf("%+v", v)
	for i := range b {
		b[i] = '!'
	}
	if after := fmt.Sprintf("%+v", v); after != before {
		t.Errorf("%s: %s became %s when its bytes changed", serde.Name(s), before, after)
	}
}

func TestFor(t *testing.T) {
	for _, c := range []struct{ got, want any }{
		{serde.For[[]byte](), serde.Bytes{}},
		{serde.For[string](), serde.String{}},
		{serde.For[int64](), serde.Int64{}},
		{serde.For[float64](), serde.Float64{}},
		{serde.For[int](), serde.JSON[int]{}},
		{serde.For[any](), serde.JSON[any]{}},
		{serde.For[*order](), serde.JSON[*order]{}},
	} {
		if c.got != c.want {
			t.Errorf("For gave %T, want %T", c.got, c.want)
		}
	}
}

type withSlice struct {
	serde.String
	_ []int
}

func TestEqual(t *testing.T) {
	var none serde.Serde[string]
	for _, c := range []struct {
		a, b serde.Serde[string]
		want bool
	}{
		{serde.String{}, serde.String{}, true},
		{serde.String{}, serde.JSON[string]{}, false},
		{withSlice{}, withSlice{}, false}, // cannot be compared
		{none, none, false},
		{serde.String{}, none, false},
	} {
		if got := serde.Equal(c.a, c.b); got != c.want {
			t.Errorf("Equal(%T, %T) = %t", c.a, c.b, got)
		}
	}
}

// FuzzJSON compares with the standard library: what it takes we take, with the
// same meaning, and nothing else; and what is written can be read.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{"id":"a","cents":1,"tags":["x"],"extra":{"a":[1,2.5,null,true]},"next":{"id":"b"}}`,
		`null`, `{}`, `[]`, `"\u00e9\n"`, `{"id":"\ud800"}`, `1e400`, `{"cents":1.5}`, `{"id"`, "{\"id\":\"\x80\"}", ` {"id":"a"} `, `{"id":"a"}x`,
		`{"\q":1}`, `{"sums":{"a":9223372036854775807}}`, `{"sums":{"a":9223372036854775808}}`, `{"id":null}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := serde.JSON[order]{}.Decode(b)
		var want order
		wantErr := stdjson.Unmarshal(b, &want)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: error %v, encoding/json gives %v", b, err, wantErr)
		}
		if err != nil {
			return
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %+v, encoding/json gives %+v", b, got, want)
		}
		out, err := serde.JSON[order]{}.Append(nil, got)
		if err != nil {
			t.Fatalf("%q: write: %v", b, err)
		}
		again, err := serde.JSON[order]{}.Decode(out)
		if err != nil {
			t.Fatalf("%q: written as %q, which cannot be read: %v", b, out, err)
		}
		if twice, err := (serde.JSON[order]{}).Append(nil, again); err != nil || string(twice) != string(out) {
			t.Fatalf("%q: written as %q, then as %q, %v", b, out, twice, err)
		}
	})
}

// FuzzScalars: whatever is read is written as the same bytes (but for NaN).
func FuzzScalars(f *testing.F) {
	f.Add([]byte("01234567"))
	f.Add([]byte{0x7f, 0xf0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := (serde.Int64{}).Decode(b); err == nil {
			if out, _ := (serde.Int64{}).Append(nil, v); string(out) != string(b) {
				t.Fatalf("int64: %x became %x", b, out)
			}
		}
		if v, err := (serde.Float64{}).Decode(b); err == nil && v == v {
			if out, _ := (serde.Float64{}).Append(nil, v); string(out) != string(b) {
				t.Fatalf("float64: %x became %x", b, out)
			}
		}
	})
}
