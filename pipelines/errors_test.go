package pipelines

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/levada/levada/connectors/builtin"
)

// options are those of all tests: a few variables, the built-in connectors.
func options() Options {
	env := map[string]string{"TOPIC": "orders", "WORKERS": "2", "BAD": "value.nope", "SHOP_DSN": "dsn"}
	return Options{
		Env:        func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		Connectors: builtin.Plugins("test"),
	}
}

// TestErrors runs testdata/errors. `check` checks a whole file; `step` puts
// the input below `steps:` of a flow over a stream of orders; `value` puts it
// where the value of a field of `set:` stands.
func TestErrors(t *testing.T) {
	datadriven.Walk(t, "testdata/errors", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			text := d.Input + "\n"
			switch d.Cmd {
			case "check":
			case "step":
				text = orders + "    steps:\n" + indent(d.Input, 6) + "\n    to: out\n"
			case "value":
				text = orders + "    steps:\n      - set:\n          a: " + strings.TrimLeft(indent(d.Input, 10), " ") + "\n    to: out\n"
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			plan, faults := Parse("f.yaml", []byte(text), options())
			if (plan == nil) != faults.HasErrors() {
				t.Errorf("%s: plan %v beside faults %v", d.Pos, plan, faults)
			}
			if plan != nil && len(faults.List) == 0 {
				return "ok\n"
			}
			return faults.String()
		})
	})
}

const orders = `version: 1
name: test
streams:
  orders:
    topic: orders
    value:
      format: json
      fields: { id: string, amount: float, n: int, status: string, email: string?, ok: bool, maybe: bool?, at: timestamp, tags: [string], extra: any }
  lines: { topic: lines, value: text }
  loose: { topic: loose }
tables:
  customers: { topic: customers, value: { fields: { name: string, tier: string? } } }
  byNumber: { topic: by-number, key: int, value: { fields: { name: string } } }
flows:
  - name: f
    from: orders
`

func indent(text string, n int) string {
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(text, "\n", "\n"+pad)
}

// TestExamples checks the files of testdata/examples: what this release does
// not run must say so, and nothing else may be wrong with them.
func TestExamples(t *testing.T) {
	for _, c := range []struct{ file, codes string }{
		{"1-filter-map.yaml", "step.unsupported tests.unsupported"},
		{"2-window-join.yaml", "step.unsupported step.unsupported expr setting.unsupported"},
		{"3-cdc.yaml", "setting.unsupported expr step.unsupported env.unset setting.unsupported setting.unsupported setting.unsupported"},
		{"bad.yaml", "expr step.unknown expr expr step.unsupported duration expr.type ref"},
	} {
		opts := options()
		opts.Connectors = nil
		plan, faults := Load(filepath.Join("testdata/examples", c.file), opts)
		var codes []string
		for _, f := range faults.List {
			codes = append(codes, f.Code)
		}
		got := strings.Join(codes, " ")
		if got != c.codes || plan != nil {
			t.Errorf("%s: %s, want %s\n%s", c.file, got, c.codes, faults)
		}
	}
}

func TestLoadReportsFiles(t *testing.T) {
	for _, path := range []string{"testdata/none.yaml", "testdata"} {
		plan, faults := Load(path, Options{})
		if plan != nil || len(faults.List) != 1 || faults.List[0].Code != "file" {
			t.Errorf("%s: %v %v", path, plan, faults)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal("no files", err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(orders + "    steps:\n      - aggregate: { store: s, fields: { n: { count: true }, s: { sum: value.amount } } }\n    to: out\n"))
	f.Add([]byte(orders + "    steps:\n      - join: { table: customers, kind: left, select: { a: table?.name } }\n    to: { topic: t, key: key, headers: { h: value.a } }\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		plan, faults := Parse("f.yaml", text, options())
		if (plan == nil) != faults.HasErrors() {
			t.Fatalf("plan %v beside faults %v", plan, faults)
		}
		if s := fmt.Sprint(faults); len(faults.List) > 0 && s == "" {
			t.Fatal("faults without text")
		}
	})
}
