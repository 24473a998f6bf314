package expression

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"

	"github.com/levada/levada/pipelines/diagnostic"
	"github.com/levada/levada/pipelines/row"
)

// names lists the scope, sorted.
func (s Scope) names() []string { return slices.Sorted(maps.Keys(s)) }

// known are names that exist in other places than this one.
var known = map[string]string{
	"now":    "clocks are stream_time(), which is the same when the input is read again, and wall_time()",
	"table":  "`table` is known in the `select` of a join",
	"other":  "`other` is known after a join of two streams, which this release does not run",
	"window": "`window` is known after a window, which this release does not run",
	"op":     "`op`, `before`, `after` and `source` are known in records of change data capture, which this release does not run",
	"before": "write value.before if the value has such a field",
	"after":  "write value.after if the value has such a field",
	"source": "write value.source if the value has such a field",
	"null":   "write nil",
	"this":   "write value",
	"env":    "write ${NAME} in the file: it is put in before the expression is read",
}

// unknownName is the help for a name that is not known.
func unknownName(name, text string, at *file.Error, scope Scope) string {
	if help, ok := known[name]; ok && scope[name] == nil {
		return help
	}
	runes := []rune(text)
	if called := strings.HasPrefix(strings.TrimSpace(string(runes[min(at.To, len(runes)):])), "("); called {
		functions := []string{streamTime, wallTime, wordsOf}
		for _, f := range builtin.Builtins {
			if f.Name != "now" {
				functions = append(functions, f.Name)
			}
		}
		if near := diagnostic.Nearest(name, functions); near != "" {
			return fmt.Sprintf("did you mean %q?", near)
		}
		return "docs/pipelines.md lists the functions"
	}
	if v := scope["value"]; v != nil && v.Field(name) != nil {
		return fmt.Sprintf("write value.%s", name)
	}
	if near := diagnostic.Nearest(name, scope.names()); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return fmt.Sprintf(`a bare word is a variable; for the text %q write "'%s'"`, name, name)
}

// unknownField words the fault of a field that an object lacks.
func unknownField(f *Fault, name string, root ast.Node, scope Scope) {
	f.Message = fmt.Sprintf("no field %q", name)
	if root == nil {
		return
	}
	t := &typer{scope: scope}
	ast.Walk(&root, visitor(func(n ast.Node) {
		m, ok := n.(*ast.MemberNode)
		if !ok || m.Property.Location().From != f.From {
			return
		}
		if base := t.known(m.Node); base != nil && base.Kind == row.Object {
			f.Message = fmt.Sprintf("%q has no field %q", m.Node.String(), name)
			f.Help = diagnostic.Suggest(name, base.FieldNames())
		}
	}))
}

// visitor makes an ast.Visitor of a function.
type visitor func(ast.Node)

// Visit implements ast.Visitor.
func (v visitor) Visit(n *ast.Node) { v(*n) }
