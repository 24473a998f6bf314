package row

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func obj(open bool, fields ...Field) *Type { return NewObject(fields, open) }

func orderType() *Type {
	return obj(true,
		Field{"id", Of(String)}, Field{"amount", Of(Float)}, Field{"n", Of(Int)}, Field{"ok", Of(Bool)},
		Field{"at", Of(Timestamp).OrNull()}, Field{"tags", ListOf(Of(String)).OrNull()},
		Field{"in", obj(true, Field{"a", Of(Int)}).OrNull()}, Field{"any", Of(Any)})
}

func TestDecodeByType(t *testing.T) {
	base := `"id":"o1","amount":5,"n":7,"ok":true`
	for _, c := range []struct{ in, want string }{
		{`{` + base + `}`, `map[amount:5 id:o1 n:7 ok:true] float64 int`},
		{` { "id" : "o\u00e91" , "amount" : 5.5e1 ,"n":-7.0, "ok":false } `, `map[amount:55 id:oé1 n:-7 ok:false] float64 int`},
		{`{` + base + `,"more":{"x":1.0},"any":[1,2.0]}`, `map[amount:5 any:[1 2] id:o1 more:{"x":1.0} n:7 ok:true] float64 int`},
		{`{` + base + `,"at":null,"in":{"a":1},"tags":["x"]}`, `map[amount:5 at:<nil> id:o1 in:map[a:1] n:7 ok:true tags:[x]] float64 int`},
		{`{` + base + `,"at":1500}`, `map[amount:5 at:1970-01-01 00:00:01.5 +0000 UTC id:o1 n:7 ok:true] float64 int`},
		{`{"id":"o1","amount":5,"n":7}`, `field "ok" is missing, and bool is declared without ?`},
		{`{` + strings.Replace(base, "7", "7.5", 1) + `}`, `field "n" is the number 7.5, declared is int`},
		{`{` + strings.Replace(base, "7", "99999999999999999999", 1) + `}`, `field "n" is the number 99999999999999999999, which has more than 64 bits, declared is int`},
		{`{` + strings.Replace(base, `"o1"`, "1", 1) + `}`, `field "id" is the number 1, declared is string`},
		{`{` + strings.Replace(base, "true", `"true"`, 1) + `}`, `field "ok" is the text "true", declared is bool`},
		{`{` + base + `,"in":{"a":"x"}}`, `field "in.a" is the text "x", declared is int`},
		{`{` + base + `,"tags":["x",1]}`, `field "tags.1" is the number 1, declared is string`},
		{`[]`, `the value is a list, declared is {id: string, amount: float, n: int, ok: bool, at: timestamp?, tags: [string]?, in: {a: int, …}?, any: any, …}`},
		{`{` + base + `,"amount":1e999}`, `the number 1e999 is out of range`},
		{``, `not JSON at byte 0: the text ends early`},
		{`{` + base, `not JSON at byte 37: want , or } after a field`},
		{`{` + base + `} x`, `not JSON at byte 39: more text follows the value`},
		{`{"id":"a` + "\n" + `"}`, `not JSON at byte 8: a control character in a text`},
		{`{"id":"\x"}`, `not JSON at byte 7: a bad escape in a text`},
		{`{"id":"\u12"}`, `not JSON at byte 7: a bad escape in a text`},
		{`{"id":01}`, `not JSON at byte 6: "01" is no number`},
		{strings.Repeat("[", 200), `not JSON at byte 101: nested more than 100 deep`},
	} {
		typ := orderType()
		if strings.HasPrefix(c.in, "[[") {
			typ = Of(Any)
		}
		v, err := DecodeJSON(c.in, typ)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			m := v.(map[string]any)
			got = strings.Join([]string{sprint(m), reflect.TypeOf(m["amount"]).String(), reflect.TypeOf(m["n"]).String()}, " ")
		}
		if got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

func sprint(v any) string {
	var b bytes.Buffer
	printValue(&b, v)
	return b.String()
}

func TestEncode(t *testing.T) {
	for _, c := range []struct {
		v    any
		want string
	}{
		{map[string]any{"z": 1, "id": "a\"\\\n\t\r\x01é\xff", "b": nil, "amount": 5.0}, `{"id":"a\"\\\n\t\r\u0001é` + "\uFFFD" + `","amount":5.0,"b":null,"z":1}`},
		{[]any{1.5, 1e21, 1e-7, 0.0, true, Raw(`{"x":1.00}`)}, `[1.5,1e+21,1e-07,0.0,true,{"x":1.00}]`},
		{[]string{"a"}, `["a"]`},
		{[]byte("hi"), `"aGk="`},
		{time.UnixMilli(1500).UTC(), `"1970-01-01T00:00:01.5Z"`},
		{90 * time.Second, `"1m30s"`},
		{map[string]int{"b": 1, "a": 2}, `{"a":2,"b":1}`},
		{math.NaN(), "!NaN cannot be written as JSON"},
		{math.Inf(1), "!+Inf cannot be written as JSON"},
		{map[any]int{1: 2}, "!a map[interface {}]int cannot be written as JSON"},
		{time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC), "!the year 12000 cannot be written"},
	} {
		b, err := AppendJSON(nil, c.v, orderType())
		got := string(b)
		if err != nil {
			got = "!" + err.Error()
		}
		if got != c.want {
			t.Errorf("%v:\n got %s\nwant %s", c.v, got, c.want)
		}
	}
	deep := any(nil)
	for range 200 {
		deep = []any{deep}
	}
	if _, err := AppendJSON(nil, deep, nil); err == nil {
		t.Error("nested 200 deep: no error")
	}
}

// TestRoundTrip writes values of every kind and reads them back.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := map[string]any{
			"id": rapid.String().Draw(t, "id"), "amount": rapid.Float64Range(-1e300, 1e300).Draw(t, "amount"),
			"n": rapid.Int().Draw(t, "n"), "ok": rapid.Bool().Draw(t, "ok"),
			"at":  time.Unix(0, rapid.Int64Range(0, 1<<61).Draw(t, "at")).UTC(),
			"in":  map[string]any{"a": rapid.Int().Draw(t, "a")},
			"any": []any{rapid.Int().Draw(t, "i"), rapid.Float64Range(-1e300, 1e300).Draw(t, "f"), rapid.String().Draw(t, "s"), nil},
		}
		b, err := AppendJSON(nil, v, orderType())
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(b) {
			t.Fatalf("not JSON: %s", b)
		}
		got, err := DecodeJSON(string(b), orderType())
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if !reflect.DeepEqual(got, v) {
			t.Fatalf("%s:\n got %v\nwant %v", b, got, v)
		}
	})
}

func TestRawIsForwarded(t *testing.T) {
	in := `{ "id":"a", "amount":1, "n":1, "ok":true, "x": 1.00 }`
	s := JSON{Type: orderType()}
	r, err := s.Decode([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.Append(nil, r); err != nil || string(out) != in {
		t.Errorf("%s %v", out, err)
	}
	if r, err := s.Decode([]byte("null")); r != nil || err == nil {
		t.Errorf("null for an object: %v %v", r, err)
	}
	if r, err := (JSON{}).Decode([]byte("null")); r != nil || err != nil {
		t.Errorf("null: %v %v", r, err)
	}
}

// FuzzDecode compares with encoding/json: what one takes the other takes, and
// the values agree.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,2.5,-0,1e5,"x\u00e9\ud83d\ude00\ud83d",null,true,false,{}]}`, `"\u0000"`, `01`, `-`, `1.`, `[1,]`, `{"a":1,}`, "\"\x7f\xff\"", ` 1 `, `{"a":1,"a":2}`,
		`"\ud83d\u0041"`, `"\uD800\uDC00"`, `1e400`, `nul`, `[,]`, `{:1}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := DecodeJSON(s, Of(Any))
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		var want any
		wantErr := json.Unmarshal([]byte(s), new(any))
		if strings.Contains(s, "e") || strings.Contains(s, "E") || len(s) > 300 {
			if err != nil {
				return // out of range, which encoding/json reports too, or too deep
			}
		}
		if (err == nil) != (wantErr == nil) && !outOfRange(err) {
			t.Fatalf("%q: %v, encoding/json says %v", s, err, wantErr)
		}
		if err != nil {
			return
		}
		if err := json.Unmarshal([]byte(s), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(floats(got), want) {
			t.Fatalf("%q: %v, encoding/json says %v", s, got, want)
		}
		again, err := AppendJSON(nil, got, nil)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeJSON(string(again), Of(Any))
		if err != nil || !reflect.DeepEqual(back, got) {
			t.Fatalf("%q: %s gives %v, want %v (%v)", s, again, back, got, err)
		}
	})
}

func outOfRange(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "out of range") || strings.Contains(err.Error(), "deep"))
}

// floats makes whole numbers what encoding/json makes of them.
func floats(v any) any {
	switch v := v.(type) {
	case int:
		return float64(v)
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = floats(x)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = floats(x)
		}
		return out
	}
	return v
}

func FuzzDecodeTyped(f *testing.F) {
	f.Add(`{"id":"o1","amount":5,"n":7,"ok":true,"at":"2026-01-02T03:04:05Z","in":{"a":1}}`)
	f.Add(`[[1,2.5,"x"],[0,0.0,null]]`)
	aggs := []Aggregate{{"a", Sum, Of(Float)}, {"b", Max, Of(Timestamp)}, {"c", Collect, Of(String)}}
	f.Fuzz(func(t *testing.T, s string) {
		_, _ = DecodeJSON(s, orderType())
		_, _ = ArgsSerde{&aggs}.Decode([]byte(s))
		_, _ = SumsSerde{&aggs}.Decode([]byte(s))
		for _, k := range []string{"string", "int", "float", "json", "bytes"} {
			_, _ = KeySerde(k).Decode([]byte(s))
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	in := []byte(`{"id":"o-1234567","amount":120.5,"n":3,"ok":true,"at":"2026-01-02T03:04:05Z","any":"a note of some length for the order","currency":"EUR","status":"settled"}`)
	s := JSON{Type: orderType()}
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Decode(in); err != nil {
			b.Fatal(err)
		}
	}
}
