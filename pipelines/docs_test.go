package pipelines

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/levada/levada/pipelines/expression"
	"github.com/levada/levada/pipelines/spec"
)

// TestReference compares the generated parts of the documentation with the
// tables that they are made of; --rewrite writes them.
func TestReference(t *testing.T) {
	for _, doc := range []struct{ file, text string }{
		{"../docs/pipelines.md", spec.Reference()},
		{"../docs/pipelines-errors.md", CodeReference()},
	} {
		const begin, end = "<!-- generated: go test ./pipelines -rewrite -->\n", "<!-- end of the generated part -->\n"
		b, err := os.ReadFile(doc.file)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, ok := strings.Cut(string(b), begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s lacks the marks of the generated part", doc.file)
		}
		want := before + begin + doc.text + end + after
		if want == string(b) {
			continue
		}
		if !rewriting() {
			t.Errorf("%s is not what the table says; run go test ./pipelines -rewrite", doc.file)
			continue
		}
		if err := os.WriteFile(doc.file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func rewriting() bool {
	return slices.ContainsFunc(os.Args, func(a string) bool {
		return strings.TrimLeft(a, "-") == "rewrite" || strings.TrimLeft(a, "-") == "rewrite=true"
	})
}

// TestCodes: every code that is printed is documented, and every documented
// code is seen in a test.
func TestCodes(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{
		"file":       true, // TestLoadReportsFiles
		"expr.limit": true, // TestLimits
	}
	printed := regexp.MustCompile(`(?m): (?:error|warning)\[([a-z.]+)\]: `)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range printed.FindAllStringSubmatch(string(b), -1) {
			seen[m[1]] = true
		}
	}
	var codes []string
	for _, c := range Codes() {
		codes = append(codes, c.Code)
		if !seen[c.Code] {
			t.Errorf("%s is in no test", c.Code)
		}
		delete(seen, c.Code)
	}
	if !slices.IsSorted(codes) {
		t.Error("the codes are not sorted")
	}
	for code := range seen {
		t.Errorf("%s is not documented", code)
	}
}

func TestLimits(t *testing.T) {
	text := orders + "    steps:\n      - filter: " + strings.Repeat("value.ok and ", expression.MaxNodes) + "true\n    to: out\n"
	_, faults := Parse("f.yaml", []byte(text), options())
	if len(faults.List) != 1 || faults.List[0].Code != "expr.limit" {
		t.Errorf("%s", faults)
	}
}

// TestDocumentedExamples: the example of the documentation and those of the
// table of steps have no fault.
func TestDocumentedExamples(t *testing.T) {
	b, err := os.ReadFile("../docs/pipelines.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "```yaml\n")
	text, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("no example in docs/pipelines.md")
	}
	if plan, faults := Parse("docs.yaml", []byte(text), options()); plan == nil || len(faults.List) > 0 {
		t.Errorf("docs/pipelines.md: %s", faults)
	}
	for _, s := range spec.AllSteps() {
		if s.Later {
			continue
		}
		stream := "s: { topic: s, value: { fields: { id: string, status: string, customer: string, amount: float, price: float, quantity: int } } }"
		if strings.Contains(s.Example, "lower(value)") {
			stream = "s: { topic: s, value: text }"
		}
		text := "version: 1\nname: x\nstreams: { " + stream + " }\ntables: { customers: { topic: c, value: { fields: { name: string } } } }\n" +
			"flows:\n  - name: f\n    from: s\n    steps:\n      - " + s.Example + "\n    to: out\n"
		if plan, faults := Parse(s.Name+".yaml", []byte(text), options()); plan == nil || len(faults.List) > 0 {
			t.Errorf("step %s: %s", s.Name, faults)
		}
	}
}
