package document

import (
	"strings"
	"testing"

	"github.com/levada/levada/pipelines/diagnostic"
)

func noEnv(string) (string, bool) { return "", false }

// TestAt looks for a word of the value and expects it below the carets.
func TestAt(t *testing.T) {
	for _, c := range []struct{ name, src, word string }{
		{"plain", "a: value.amout > 100\n", "amout"},
		{"plain after wide characters", "é: [ '日本', value.amout ]\n", "amout"},
		{"plain over lines", "a: value.x +\n    value.amout\n", "amout"},
		{"plain over lines with an empty one", "a: x\n\n   amout\n", "amout"},
		{"single quoted", "a: 'it''s amout'\n", "amout"},
		{"single quoted, folded", "a: 'x\n   amout'\n", "amout"},
		{"double quoted", `a: "x\t\u00e9 \"amout\""` + "\n", "amout"},
		{"double quoted, continued", "a: \"x\\\n  y amout\"\n", "amout"},
		{"literal", "a: |\n   foo\n     bar\n\n   amout\n", "amout"},
		{"literal, kept", "a: |+2 # c\n    foo\n  amout\n\n", "amout"},
		{"folded", "a: >-\n   foo\n   bar\n\n     amout\n   z\n", "amout"},
		{"tagged", "a: !!str amout\n", "amout"},
		{"anchored", "a: &x amout\n", "amout"},
		{"windows lines", "b: 1\r\na: >\r\n  foo\r\n  amout\r\n", "amout"},
	} {
		root, faults := Parse("f", []byte(c.src), noEnv)
		if len(faults) > 0 {
			t.Errorf("%s: %v", c.name, faults)
			continue
		}
		n := root.Entries[len(root.Entries)-1].Value
		if n.Kind == Sequence {
			n = n.Items[len(n.Items)-1]
		}
		from := strings.Index(n.Value, c.word)
		if from < 0 {
			t.Errorf("%s: value %q lacks %q", c.name, n.Value, c.word)
			continue
		}
		from = len([]rune(n.Value[:from]))
		at := n.At(from, from+len(c.word))
		line := []rune(strings.TrimSuffix(strings.Split(c.src, "\n")[at.Line-1], "\r"))
		got := ""
		if at.Column-1+at.Width <= len(line) {
			got = string(line[at.Column-1 : at.Column-1+at.Width])
		}
		if got != c.word {
			t.Errorf("%s: %+v is %q, want %q", c.name, at, got, c.word)
		}
	}
}

func TestEnvironment(t *testing.T) {
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"A": "alpha", "N": "4", "EMPTY": "", "EVIL": "x\nevil: true"}[name]
		return v, ok
	}
	for _, c := range []struct{ in, want, tag, fault string }{
		{"${A}", "alpha", "!!str", ""},
		{"x-${A}-${N}", "x-alpha-4", "!!str", ""},
		{"${N}", "4", "!!int", ""},
		{"'${N}'", "4", "!!str", ""},
		{"${NONE:-7}", "7", "!!int", ""},
		{"${EMPTY:-d}", "d", "!!str", ""},
		{"${EMPTY}", "", "!!null", ""},
		{"$$ ${A:-d} $x", "$ alpha $x", "!!str", ""},
		{"$${A}", "${A}", "!!str", ""},
		{"${EVIL}", "x\nevil: true", "!!str", ""},
		{"${NONE}", "", "!!str", "f:1:4: error[env.unset]: the variable NONE is not set"},
		{"a${NONE:?set it}", "a", "!!str", "f:1:5: error[env.unset]: the variable NONE is not set: set it"},
		{"${NO NE}", "", "!!str", `f:1:4: error[env.syntax]: "NO NE" is not the name of a variable`},
		{"${A:x}", "", "!!str", `f:1:4: error[env.syntax]: ":x" is not understood`},
		{"'b ${A'", "b ${A", "!!str", "f:1:7: error[env.syntax]: `${` is never closed"},
	} {
		root, faults := Parse("f", []byte("k: "+c.in+"\n"), env)
		if root == nil {
			t.Errorf("%s: %v", c.in, faults)
			continue
		}
		n := root.Get("k")
		if n.Value != c.want || n.Tag != c.tag {
			t.Errorf("%s: %q of %s, want %q of %s", c.in, n.Value, n.Tag, c.want, c.tag)
		}
		got := ""
		for _, f := range faults {
			got += f.Error()
		}
		if got != c.fault {
			t.Errorf("%s: fault %q, want %q", c.in, got, c.fault)
		}
	}
}

func TestScalars(t *testing.T) {
	root, faults := Parse("f", []byte("i: 0x10\nf: 1.5\nb: True\nn: ~\ns: yes\ninf: -.inf\n"), nil)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if v, ok := root.Get("i").Int(); !ok || v != 16 {
		t.Errorf("i: %v %v", v, ok)
	}
	if v, ok := root.Get("f").Float(); !ok || v != 1.5 {
		t.Errorf("f: %v %v", v, ok)
	}
	if v, ok := root.Get("b").Bool(); !ok || !v {
		t.Errorf("b: %v %v", v, ok)
	}
	if v, ok := root.Get("inf").Float(); !ok || v > 0 {
		t.Errorf("inf: %v %v", v, ok)
	}
	if !root.Get("n").IsNull() || !root.Get("none").IsNull() || !root.Get("s").IsString() {
		t.Error("null or text is taken for something else")
	}
}

func TestRefused(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'h'; c++ {
		prev := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+prev+", ", 9) + "*" + prev + "]\n"
	}
	for _, c := range []struct{ name, src, want string }{
		{"empty", "", "yaml.empty"},
		{"only a comment", "# x\n", "yaml.empty"},
		{"two documents", "a: 1\n---\nb: 2\n", "yaml.documents"},
		{"too big", strings.Repeat("#", MaxBytes+1), "yaml.limit"},
		{"too deep", strings.Repeat("[", 60) + strings.Repeat("]", 60), "yaml.limit"},
		{"alias in itself", "a: &x [*x]\n", "yaml.limit"},
		{"aliases", bomb, "yaml.limit"},
		{"not UTF-8", "a: 1\nb: \xff\n", "yaml.syntax"},
		{"duplicate key", "a: 1\nb: 2\na: 3\n", "yaml.duplicate"},
		{"merge key", "a: &x {k: v}\nb:\n  <<: *x\n", "yaml.merge"},
		{"key that is a list", "? [a]\n: b\n", "yaml.key"},
		{"unknown anchor", "a: *x\n", "yaml.syntax"},
		{"tab", "a:\n\t- b\n", "yaml.syntax"},
	} {
		_, faults := Parse("f", []byte(c.src), noEnv)
		if len(faults) == 0 || faults[0].Code != c.want {
			t.Errorf("%s: %v, want %s", c.name, faults, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"a: !value.ok\nb: any(xs, # > 2)\n'é': \"x\\ty\"\nc: |\n   foo\n    bar\n\nd: [é, bé]\n",
		"a: &x [*x]\n", "a: ${X:-1}\nb: \"a\\\n  b\"\n", "? [a]\n: b\n", "a: >+\n\n  x\n y", "a: 'x''y\n\n z'",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		root, faults := Parse("f", src, noEnv)
		if root == nil && len(faults) == 0 {
			t.Fatal("no tree and no fault")
		}
		check(t, root)
	})
}

// check calls At for every character, and expects places in the file.
func check(t *testing.T, n *Node) {
	if n == nil {
		return
	}
	if n.Kind == Scalar && len(n.Value) < 200 {
		for i := range len([]rune(n.Value)) + 1 {
			if at := n.At(i, i+3); at.Line < 1 || at.Column < 1 || at.Width < 1 {
				t.Fatalf("%q: character %d is at %+v", n.Value, i, at)
			}
		}
	}
	for _, e := range n.Entries {
		check(t, e.Value)
	}
	for _, i := range n.Items {
		check(t, i)
	}
	_ = diagnostic.Span{}
}
