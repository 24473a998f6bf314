package row

import (
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func printValue(w io.Writer, v any) { fmt.Fprint(w, v) }

// TestSumsAgainstModel adds random arguments, now and then by way of the
// serialised form, and compares with sums over the list of all of them.
func TestSumsAgainstModel(t *testing.T) {
	aggs := []Aggregate{
		{"count", Count, Of(Bool)},
		{"sum", Sum, Of(Int).OrNull()},
		{"avg", Avg, Of(Int).OrNull()},
		{"min", Min, Of(String).OrNull()},
		{"max", Max, Of(Timestamp)},
		{"first", First, Of(String).OrNull()},
		{"last", Last, Of(String).OrNull()},
		{"collect", Collect, Of(Int).OrNull()},
	}
	rapid.Check(t, func(t *rapid.T) {
		s := NewSums(len(aggs))
		serde, args := SumsSerde{&aggs}, ArgsSerde{&aggs}
		var all [][]any
		for range rapid.IntRange(1, 20).Draw(t, "records") {
			number, text := any(rapid.IntRange(-100, 100).Draw(t, "n")), any(rapid.StringN(0, 3, -1).Draw(t, "s"))
			if rapid.Bool().Draw(t, "null") {
				number, text = nil, nil
			}
			at := time.UnixMilli(rapid.Int64Range(0, 1e12).Draw(t, "at")).UTC()
			in := []any{rapid.Bool().Draw(t, "yes"), number, number, text, at, text, text, number}
			if rapid.Bool().Draw(t, "travels") {
				b, err := args.Append(nil, New(in))
				if err != nil {
					t.Fatal(err)
				}
				r, err := args.Decode(b)
				if err != nil || !reflect.DeepEqual(r.Value, any(in)) {
					t.Fatalf("%s: %v %v, want %v", b, r, err, in)
				}
			}
			s.Add(aggs, in)
			all = append(all, in)
			if rapid.Bool().Draw(t, "stored") {
				b, err := serde.Append(nil, s)
				if err != nil {
					t.Fatal(err)
				}
				if s, err = serde.Decode(b); err != nil {
					t.Fatalf("%s: %v", b, err)
				}
			}
			if got, want := s.Row(aggs).Value, any(model(all)); !reflect.DeepEqual(got, want) {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
	})
}

func model(all [][]any) map[string]any {
	count, sum, n := 0, 0, 0
	var lo, hi, first, last any
	list := []any{}
	for _, in := range all {
		if in[0] == true {
			count++
		}
		if i, ok := in[1].(int); ok {
			sum, n, list = sum+i, n+1, append(list, i)
		}
		if s, ok := in[3].(string); ok {
			if lo == nil || s < lo.(string) {
				lo = s
			}
			if first == nil {
				first = s
			}
		}
		if at := in[4].(time.Time); hi == nil || at.After(hi.(time.Time)) {
			hi = at
		}
		last = in[6]
	}
	var avg any
	if n > 0 {
		avg = float64(sum) / float64(n)
	}
	return map[string]any{"count": count, "sum": sum, "avg": avg, "min": lo, "max": hi, "first": first, "last": last, "collect": list}
}

func TestSumsRefuse(t *testing.T) {
	for _, c := range []struct {
		agg  Aggregate
		args []any
		want string
	}{
		{Aggregate{"f", Sum, Of(Int)}, []any{math.MaxInt, 1}, `field "f": the sum has more than 64 bits`},
		{Aggregate{"f", Sum, Of(Int)}, []any{math.MinInt, -1}, `field "f": the sum has more than 64 bits`},
		{Aggregate{"f", Sum, Of(Float)}, []any{1e308, 1e308}, `field "f": the sum is out of range`},
		{Aggregate{"f", Last, Of(Float)}, []any{math.Inf(1)}, `field "f": +Inf is no number to bring together`},
		{Aggregate{"f", Sum, Of(Int)}, []any{"x"}, `field "f": a string is no whole number`},
		{Aggregate{"f", Collect, Of(Int)}, make([]any, MaxCollected+1), `field "f": collect has 1000 values already, which is its limit`},
	} {
		got := func() (got string) {
			defer func() { got = fmt.Sprint(recover()) }()
			s := NewSums(1)
			for i, v := range c.args {
				if v == nil {
					v = i
				}
				s.Add([]Aggregate{c.agg}, []any{v})
			}
			return ""
		}()
		if got != c.want {
			t.Errorf("%v: %s, want %s", c.agg, got, c.want)
		}
	}
}

func TestSumsForm(t *testing.T) {
	aggs := []Aggregate{{"a", Sum, Of(Float)}, {"b", Max, Of(Timestamp)}}
	s := NewSums(2)
	s.Add(aggs, []any{1.5, time.UnixMilli(1000).UTC()})
	b, err := SumsSerde{&aggs}.Append(nil, s)
	if want := `[[0,1.5,null],[1,0.0,"1970-01-01T00:00:01Z"]]`; err != nil || string(b) != want {
		t.Fatalf("%s %v, want %s", b, err, want)
	}
	for _, bad := range []string{"", "[", "[]", "[[0,1.5,null]]", string(b) + "x", `[[0.5,1.5,null],[1,0.0,null]]`, `[[0,1.5],[1,0.0]]`, `[[0,1.5,null],[1,0.0,"x"]]`} {
		if _, err := (SumsSerde{&aggs}).Decode([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		format string
		key    any
		bytes  string
	}{
		{"string", "k", "k"},
		{"int", 258, "\x00\x00\x00\x00\x00\x00\x01\x02"},
		{"float", 1.0, "\x3f\xf0\x00\x00\x00\x00\x00\x00"},
		{"bytes", []byte("b"), "b"},
		{"json", []any{1, "x"}, `[1,"x"]`},
	} {
		s := KeySerde(c.format)
		b, err := s.Append(nil, c.key)
		if err != nil || string(b) != c.bytes {
			t.Errorf("%s: %q %v, want %q", c.format, b, err, c.bytes)
		}
		back, err := s.Decode(b)
		if err != nil || !reflect.DeepEqual(back, c.key) {
			t.Errorf("%s: %v %v, want %v", c.format, back, err, c.key)
		}
		if c.format == "json" {
			continue
		}
		if _, err := s.Append(nil, struct{}{}); err == nil || !strings.Contains(err.Error(), "the key is a struct {}") {
			t.Errorf("%s: %v", c.format, err)
		}
	}
}
