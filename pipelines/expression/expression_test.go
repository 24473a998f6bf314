package expression

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/levada/levada/pipelines/row"
)

func scope() Scope {
	f := func(name string, t *row.Type) row.Field { return row.Field{Name: name, Type: t} }
	value := row.NewObject([]row.Field{
		f("id", row.Of(row.String)), f("amount", row.Of(row.Float)), f("n", row.Of(row.Int)), f("email", row.Of(row.String).OrNull()),
		f("at", row.Of(row.Timestamp)), f("tags", row.ListOf(row.Of(row.String))), f("any", row.Of(row.Any)),
		f("inner", row.NewObject([]row.Field{f("a", row.Of(row.Int))}, true).OrNull()),
		f("lines", row.ListOf(row.NewObject([]row.Field{f("sku", row.Of(row.String)), f("qty", row.Of(row.Int))}, true))),
	}, true)
	return Scope{"value": value, "key": row.Of(row.String), "timestamp": row.Of(row.Timestamp)}
}

func TestTypes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"value.amount > 100", "bool"},
		{"value.id", "string"},
		{"value.email", "string?"},
		{"value.email ?? 'x'", "string"},
		{"value.email ?? nil", "string?"},
		{"lower(value.email ?? '@')", "string"},
		{"value?.inner?.a", "int?"},
		{"value.inner?.a ?? 0", "int"},
		{"value.n + 1", "int"},
		{"value.n / 2", "float"},
		{"value.n > 1 ? value.id : nil", "string?"},
		{"value.n > 1 ? 1 : 2.5", "float"},
		{`{id: value.id, "n": value.n, e: value.email}`, "{id: string, n: int, e: string?}"},
		{"[value.id, key]", "[string]"},
		{"split(value.id, '@')", "[string]"},
		{"split(value.id, '@')[1]", "string"},
		{"map(value.lines, .qty * 2)", "[int]"},
		{"filter(value.lines, .qty > 1)", "[{qty: int, sku: string, …}]"},
		{"filter(value.tags, # != '')", "[string]"},
		{"value.tags | map(upper(#))", "[string]"},
		{"value.any", "any"},
		{"value.any.deep", "any"},
		{"stream_time()", "timestamp"},
		{"stream_time() - value.at", "duration"},
		{"if value.n > 1 { 'a' } else { 'b' }", "string"},
		{"let x = value.n; x * 2.0", "float"},
		{"int(value.amount * 100)", "int"},
		{"-value.n", "int"},
		{"words(value.id)", "[string]"},
		{"value.id | words() | filter(len(#) > 3)", "[string]"},
		{"value.amount | int()", "int"},
		{"not (value.n > 1)", "bool"},
	} {
		p, fault := Compile(c.text, scope())
		if fault != nil {
			t.Errorf("%s: %+v", c.text, fault)
			continue
		}
		if got := p.Type.String(); got != c.want {
			t.Errorf("%s: type %s, want %s", c.text, got, c.want)
		}
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct{ text, at, want string }{
		{"value.amout > 100", "amout", `"value" has no field "amout"; did you mean "amount"?`},
		{"'é' + valu.id", "valu", `unknown name valu; did you mean "value"?`},
		{"EUR", "EUR", `unknown name EUR; a bare word is a variable; for the text "EUR" write "'EUR'"`},
		{"amount > 3", "amount", "unknown name amount; write value.amount"},
		{"now()", "now", "unknown name now; clocks are stream_time(), which is the same when the input is read again, and wall_time()"},
		{"wrods(key)", "wrods", `unknown name wrods; did you mean "words"?`},
		{"words(value.n)", "n", "cannot use int as argument (type string) to call words; "},
		{"uper(key)", "uper", `unknown name uper; did you mean "upper"?`},
		{"value.inner.a", "inner", `"value.inner" may be null; write value.inner?.a`},
		{"value.inner?.b", "b", `"value.inner" has no field "b"; known here: a`},
		{"value.lines[0].skus", "skus", `"value.lines[0]" has no field "skus"; did you mean "sku"?`},
		{"value.amount +", "+", "the expression ends early; something is missing after it"},
		{"value.amount + value.id", "+", "invalid operation: + (mismatched types float64 and string); convert one side with string(…), int(…) or float(…)"},
		{"$env", "$env", "`$env` is not available; write the names themselves: value, key, …"},
		{"$env.value", "$env", "`$env` is not available; write the names themselves: value, key, …"},
		{"value.id matches '['", "matches", "error parsing regexp: missing closing ]: `[`; "},
		{"", "", "the expression is empty; write one, or \"''\" for an empty text"},
		{"table.x", "table", "unknown name table; `table` is known in the `select` of a join"},
		{strings.Repeat("1+", 3000) + "1", strings.Repeat("1+", 3000) + "1", "the expression has more than 2000 parts; "},
	} {
		_, fault := Compile(c.text, scope())
		if fault == nil {
			t.Errorf("%.40s: no fault", c.text)
			continue
		}
		runes := []rune(c.text)
		at := string(runes[min(fault.From, len(runes)):min(fault.To, len(runes))])
		if got := fault.Message + "; " + fault.Help; at != c.at || got != c.want {
			t.Errorf("%.40s\n got %.40q: %s\nwant %.40q: %s", c.text, at, got, c.at, c.want)
		}
	}
}

func TestRun(t *testing.T) {
	m := NewMachine(func() time.Time { return time.UnixMilli(5000).UTC() })
	m.StreamTimeMs = 1000
	m.Set("key", "k")
	m.Set("value", map[string]any{"amount": 1.5, "n": 2, "id": "o1", "tags": []any{"a", "b"}, "inner": nil})
	for _, c := range []struct {
		text string
		want any
	}{
		{"value.amount * value.n", 3.0},
		{"value.email ?? 'none'", "none"},
		{"value.inner?.a ?? 7", 7},
		{"key + value.id", "ko1"},
		{"wall_time() - stream_time()", 4 * time.Second},
		{"len(value.tags)", 2},
		{`join(words("It's Newton\u2019s, 1704: É-té!"), "|")`, "it|s|newton|s|é|té"},
		{"int(-1.9) + int('7')", 6},
	} {
		p, fault := Compile(c.text, scope())
		if fault != nil {
			t.Errorf("%s: %+v", c.text, fault)
			continue
		}
		if got, err := m.Run(p); err != nil || got != c.want {
			t.Errorf("%s: %v %v, want %v", c.text, got, err, c.want)
		}
	}
}

func TestRunIsBounded(t *testing.T) {
	m := NewMachine(time.Now)
	m.Set("key", "k")
	for _, text := range []string{"len(map(1..1000000, # * 2))", "repeat(key, 100000000)", "map(1..1000, map(1..1000, #))"} {
		p, fault := Compile(text, Scope{"key": row.Of(row.String)})
		if fault != nil {
			continue // refused before it runs
		}
		if v, err := m.Run(p); err == nil {
			t.Errorf("%s: %.20s, want an error", text, fmt.Sprint(v))
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		"value.amout > 100", "EUR", "{a: 1}.b", "value?.inner?.a ?? 1", "let x = 1; x", "map(value.lines, .sku)", "$env[key]",
		"'é' matches '['", "1..9999999", "if a {1} else {2}", "value.tags | filter(# == '') | len()", "-1 ** 9 ^ 2", "reduce(1..10, #acc + #)",
	} {
		f.Add(s)
	}
	s := scope()
	f.Fuzz(func(t *testing.T, text string) {
		start := time.Now()
		p, fault := Compile(text, s)
		if (p == nil) == (fault == nil) {
			t.Fatal("neither a program nor a fault, or both")
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Fatalf("compiling took %v", d)
		}
		if fault != nil && (fault.Message == "" || strings.Contains(fault.Message, "\n")) {
			t.Fatalf("message %q", fault.Message)
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	p, fault := Compile("value.id == 'o1' and value.amount >= 100 and value.n < 10", scope())
	if fault != nil {
		b.Fatal(fault)
	}
	m := NewMachine(time.Now)
	v := map[string]any{"id": "o1", "amount": 150.5, "n": 2}
	b.ReportAllocs()
	for b.Loop() {
		m.Set("value", v)
		if _, err := m.Run(p); err != nil {
			b.Fatal(err)
		}
	}
}
