package pipelines

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/levada/levada/connectors/sdk"
)

// options are those of all tests: a few variables, the built-in connectors.
func options() Options {
	env := map[string]string{"TOPIC": "orders", "WORKERS": "2", "BAD": "value.nope", "SHOP_DSN": "dsn"}
	return Options{
		Env:        func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		Connectors: plugins(),
	}
}

// lines is the configuration of a source, rows that of a sink, as connectors
// have them.
type lines struct {
	Path   string `config:"path" required:"true" doc:"the file to read"`
	Key    string `config:"key" doc:"the field that becomes the key"`
	Follow bool   `config:"follow" default:"true" doc:"wait for more"`
}

type rows struct {
	Path       string   `config:"path" required:"true" doc:"the database file"`
	Table      string   `config:"table" required:"true" doc:"the table to write to"`
	Mode       string   `config:"mode" default:"upsert" choices:"upsert,insert" doc:"what is done to a row"`
	PrimaryKey []string `config:"primary_key" doc:"the columns that identify a row"`
}

// plugins are connectors that are never opened.
func plugins() []sdk.Plugin {
	never := errors.New("never opened")
	return []sdk.Plugin{
		{Name: "file", Source: sdk.SourceOf(func(context.Context, lines, sdk.SourceStart) (sdk.Source, error) { return nil, never })},
		{Name: "sqlite", Sink: sdk.SinkOf(func(context.Context, rows, sdk.SinkStart) (sdk.Sink, []sdk.Position, error) { return nil, nil, never })},
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

// TestMutations breaks files at random: whatever comes of it is checked
// without a panic and in bounded time.
func TestMutations(t *testing.T) {
	files, err := filepath.Glob("testdata/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	texts := []string{orders + "    steps:\n      - join: { table: customers, kind: left, select: { a: table?.name } }\n    to: { topic: t, key: key, headers: { h: value.a } }\n"}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(b))
	}
	for seed := range uint64(1500) {
		rng := rand.New(rand.NewPCG(seed, 1))
		b := []byte(texts[rng.IntN(len(texts))])
		for range 1 + rng.IntN(4) {
			b = mutate(rng, b)
		}
		start := time.Now()
		plan, faults := Parse("f.yaml", b, options())
		if d := time.Since(start); d > 5*time.Second {
			t.Fatalf("seed %d: %v for\n%s", seed, d, b)
		}
		if (plan == nil) != faults.HasErrors() {
			t.Fatalf("seed %d: plan %v beside faults %v for\n%s", seed, plan, faults, b)
		}
	}
}

func mutate(rng *rand.Rand, b []byte) []byte {
	if len(b) == 0 {
		return []byte("x")
	}
	at, from := rng.IntN(len(b)), rng.IntN(len(b))
	switch rng.IntN(3) {
	case 0:
		b[at] = byte(rng.IntN(128))
		return b
	case 1:
		return append(b[:at:at], b[min(len(b), at+rng.IntN(20)):]...)
	}
	part := string(b[from:min(len(b), from+rng.IntN(60))])
	return append(b[:at:at], part+string(b[at:])...)
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
