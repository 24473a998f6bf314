package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/levada/levada/"

const (
	maxFileLines     = 600
	maxFunctionLines = 70
)

// arrows lists what each package may import of ours. A key that ends in "/..."
// holds for the packages below it, the longest key that matches counts. Every
// package may import internal/... and packages of its own folder's tests.
var arrows = map[string][]string{
	"dsl":                             {"dsl/serde", "operators", "runtime/topology", "statestore"},
	"dsl/serde":                       {},
	"operators":                       {"runtime/topology", "statestore", "dsl/serde"},
	"runtime/topology":                {"statestore"},
	"runtime":                         {"runtime/topology", "runtime/logclient", "runtime/assign", "statestore"},
	"runtime/assign":                  {},
	"runtime/logclient":               {},
	"runtime/logclient/kafka":         {"runtime/logclient", "runtime/logclient/wire", "runtime/assign"},
	"runtime/logclient/wire":          {"runtime/logclient", "runtime/assign"},
	"runtime/logclient/logclienttest": {"runtime/logclient", "runtime/assign"},
	"runtime/launch":                  {"runtime", "runtime/...", "statestore", "logbroker"},
	"runtime/streamtest":              {"runtime", "runtime/...", "dsl", "dsl/serde", "statestore"},
	"runtime/embedded":                {"runtime/logclient", "runtime/logclient/wire", "runtime/assign", "logbroker"},
	"statestore":                      {},
	"statestore/storetest":            {"statestore"},
	"connectors/proto":                {},
	"connectors/sdk":                  {"connectors/proto"},
	"connectors/...":                  {"connectors/...", "runtime/logclient"},
	"pipelines/...":                   {"pipelines/...", "dsl", "dsl/serde", "operators", "runtime", "runtime/...", "connectors/...", "statestore"},
	"pipelines":                       {"pipelines/...", "dsl", "dsl/serde", "operators", "runtime", "runtime/...", "connectors/...", "statestore"},
	"examples/...":                    {"dsl", "dsl/serde", "runtime", "runtime/...", "connectors/sdk", "pipelines", "pipelines/...", "statestore", "logbroker"},
	"bench/...":                       {"dsl", "dsl/serde", "runtime", "runtime/...", "connectors/sdk", "pipelines", "statestore", "logbroker", "bench/..."},
	"bench":                           {"dsl", "dsl/serde", "runtime", "runtime/...", "connectors/sdk", "pipelines", "statestore", "logbroker", "bench/..."},
	"logbroker":                       {"logbroker/..."},
	"logbroker/...":                   {"logbroker/..."},
	"cmd/...":                         {"..."},
	"internal/...":                    {"..."},
	"internal/checker":                {}, // it must not share the mistakes of what it checks
}

// testArrows are packages that only tests of any package may import.
var testArrows = []string{"runtime/logclient/logclienttest", "statestore/storetest", "connectors/connectortest", "runtime/streamtest"}

type file struct {
	path string // from the root, with slashes
	pkg  string
	src  []byte
	fset *token.FileSet
	ast  *ast.File
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func goFiles(t *testing.T) []file {
	t.Helper()
	dir := root(t)
	var files []file
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") && p != dir {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, p, src, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		rel = filepath.ToSlash(rel)
		files = append(files, file{path: rel, pkg: path.Dir(rel), src: src, fset: fset, ast: parsed})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d Go files found under %s", len(files), dir)
	}
	return files
}

func generated(f file) bool { return strings.HasSuffix(f.path, ".pb.go") }

func isTest(f file) bool { return strings.HasSuffix(f.path, "_test.go") }

// allowed finds the rule for a package.
func allowed(pkg string) (rule []string, ok bool) {
	if r, ok := arrows[pkg]; ok {
		return r, true
	}
	for p := pkg; p != "."; p = path.Dir(p) {
		if r, ok := arrows[p+"/..."]; ok {
			return r, true
		}
	}
	return nil, false
}

func matches(rule []string, pkg string) bool {
	for _, r := range rule {
		prefix, below := strings.CutSuffix(r, "...")
		if r == pkg || below && strings.HasPrefix(pkg+"/", prefix) {
			return true
		}
	}
	return false
}

func TestImportArrows(t *testing.T) {
	for _, f := range goFiles(t) {
		rule, ok := allowed(f.pkg)
		if !ok {
			t.Errorf("%s: package %s has no rule in internal/tidy: which packages may it import?", f.path, f.pkg)
			continue
		}
		for _, imp := range f.ast.Imports {
			p, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			pkg, ours := strings.CutPrefix(p, module)
			if !ours || pkg == f.pkg || strings.HasPrefix(pkg, "internal/") || matches(rule, pkg) {
				continue
			}
			if isTest(f) {
				continue // tests may look further: they put rooms together
			}
			t.Errorf("%s: %s may not import %s", f.fset.Position(imp.Pos()), f.pkg, pkg)
		}
	}
}

func TestTestPackagesStayInTests(t *testing.T) {
	for _, f := range goFiles(t) {
		if isTest(f) || strings.HasSuffix(f.pkg, "test") || strings.HasPrefix(f.pkg, "runtime/streamtest") {
			continue
		}
		for _, imp := range f.ast.Imports {
			pkg := strings.TrimPrefix(strings.Trim(imp.Path.Value, `"`), module)
			if matches(testArrows, pkg) && !strings.HasPrefix(f.pkg, "pipelines") {
				t.Errorf("%s: %s is for tests only", f.fset.Position(imp.Pos()), pkg)
			}
		}
	}
}

// longFunctions may be longer, each for a reason.
var longFunctions = map[string]string{}

func TestSizes(t *testing.T) {
	for _, f := range goFiles(t) {
		if generated(f) {
			continue
		}
		if n := strings.Count(string(f.src), "\n"); n > maxFileLines {
			t.Errorf("%s: %d lines, more than %d: split it by its nouns", f.path, n, maxFileLines)
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil || isTest(f) {
				continue
			}
			n := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1
			if n > maxFunctionLines && longFunctions[f.pkg+"."+fn.Name.Name] == "" {
				t.Errorf("%s: %s has %d lines, more than %d", f.fset.Position(fn.Pos()), fn.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	has, pkgs := map[string]bool{}, map[string]bool{}
	for _, f := range goFiles(t) {
		if isTest(f) {
			continue
		}
		pkgs[f.pkg] = true
		if f.ast.Doc != nil && len(f.ast.Doc.Text()) > 40 {
			has[f.pkg] = true
		}
	}
	for pkg := range pkgs {
		if !has[pkg] {
			t.Errorf("%s: no package comment that says what it promises and what it leaves out (doc.go)", pkg)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for _, f := range goFiles(t) {
		if isTest(f) || generated(f) || strings.HasPrefix(f.pkg, "internal/tidy") {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
					t.Errorf("%s: %s has no doc comment", f.fset.Position(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				if d.Tok != token.TYPE {
					continue
				}
				for _, s := range d.Specs {
					ts := s.(*ast.TypeSpec)
					if ts.Name.IsExported() && d.Doc == nil && ts.Doc == nil {
						t.Errorf("%s: %s has no doc comment", f.fset.Position(ts.Pos()), ts.Name.Name)
					}
				}
			}
		}
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// unwanted are words that say that something is not finished.
var unwanted = regexp.MustCompile(`\b(TODO|FIXME|XXX|not implemented|unimplemented)\b`)

func TestNothingIsLeftOpen(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.pkg == "internal/tidy" || generated(f) {
			continue
		}
		for i, line := range strings.Split(string(f.src), "\n") {
			if unwanted.MatchString(line) {
				t.Errorf("%s:%d: %s", f.path, i+1, strings.TrimSpace(line))
			}
			if isTest(f) && strings.Contains(line, "time."+"Sleep(") {
				t.Errorf("%s:%d: a sleep in a test: wait for the condition", f.path, i+1)
			}
		}
	}
}

func TestTopLevel(t *testing.T) {
	want := map[string]bool{
		"runtime": true, "dsl": true, "operators": true, "statestore": true, "logbroker": true, "connectors": true, "examples": true,
		"pipelines": true, "docs": true, "cmd": true, "internal": true, "bench": true, "ui": true, "bin": true, "data": true,
	}
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !want[e.Name()] {
			t.Errorf("folder %s does not belong at the top", e.Name())
		}
	}
}
