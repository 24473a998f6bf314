package diagnostic

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNearest(t *testing.T) {
	steps := []string{"filter", "map", "set", "flat_map", "rekey", "aggregate", "join"}
	for _, c := range []struct{ name, want string }{
		{"fliter", "filter"},
		{"Filter", "filter"},
		{"filtr", "filter"},
		{"filterrr", "filter"},
		{"flatmap", "flat_map"},
		{"agregate", "aggregate"},
		{"mop", "map"},
		{"xyz", ""},
		{"", ""},
		{"completely", ""},
		{strings.Repeat("x", 1000), ""},
	} {
		if got := Nearest(c.name, steps); got != c.want {
			t.Errorf("Nearest(%q) = %q, want %q", c.name, got, c.want)
		}
	}
}

func TestDistanceIsSymmetricAndCountsSlips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(rapid.RuneFrom([]rune("abcd")), 1, 8).Draw(t, "a")
		b := rapid.SliceOfN(rapid.RuneFrom([]rune("abcd")), 1, 8).Draw(t, "b")
		if damerau(a, b) != damerau(b, a) {
			t.Fatalf("%q %q: not symmetric", string(a), string(b))
		}
		if len(a) < 2 {
			return
		}
		i := rapid.IntRange(0, len(a)-2).Draw(t, "swap")
		c := append([]rune(nil), a...)
		c[i], c[i+1] = c[i+1], c[i]
		if d := damerau(a, c); d > 1 {
			t.Fatalf("%q %q: %d, want at most 1 for two letters changed about", string(a), string(c), d)
		}
	})
}

func TestRender(t *testing.T) {
	src := "a: é\tvalue.amout\n" + strings.Repeat("x", 300) + "y\n"
	l := List{
		{File: "f.yaml", Span: Span{Line: 2, Column: 301, Width: 1}, Code: "b", Message: "far out"},
		{File: "f.yaml", Span: Span{Line: 1, Column: 12, Width: 5}, Code: "a", Message: "no field", Help: "write it"},
		{File: "f.yaml", Span: Span{Line: 1, Column: 12, Width: 5}, Code: "a", Message: "no field", Help: "write it"},
		{File: "f.yaml", Span: Span{Line: 99, Column: 1, Width: 5}, Severity: Warning, Code: "c", Message: "beyond the end"},
	}
	l.Sort()
	got := l.Render(func(string) []byte { return []byte(src) })
	want := `f.yaml:1:12: error[a]: no field
    1 | a: é value.amout
      |            ^^^^^
      = help: write it
f.yaml:2:301: error[b]: far out
    2 | …` + strings.Repeat("x", 40) + `y
      |  ` + strings.Repeat(" ", 40) + `^
f.yaml:99:1: warning[c]: beyond the end
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if !l.HasErrors() || l[2:].HasErrors() {
		t.Error("HasErrors counts what is not an error, or misses one")
	}
}
