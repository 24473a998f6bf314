package expression

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/types"

	"github.com/levada/levada/pipelines/row"
)

const (
	streamTime = "stream_time"
	wallTime   = "wall_time"
	wordsOf    = "words"
)

// Scope is the names known in a place, with their types.
type Scope map[string]*row.Type

// Fault says what is wrong with characters From to To.
type Fault struct {
	From, To            int
	Code, Message, Help string
}

// Compile compiles an expression. It returns a Fault, or a Program.
func Compile(text string, scope Scope) (p *Program, fault *Fault) {
	if len(text) > MaxBytes {
		return nil, &Fault{Code: "expr.limit", Message: fmt.Sprintf("the expression has %d bytes, at most %d are possible", len(text), MaxBytes)}
	}
	if strings.TrimSpace(text) == "" {
		return nil, &Fault{Code: "expr", Message: "the expression is empty", Help: `write one, or "''" for an empty text`}
	}
	defer func() {
		if r := recover(); r != nil {
			p, fault = nil, &Fault{To: len(text), Code: "expr", Message: fmt.Sprintf("the expression cannot be compiled: %v", r)}
		}
	}()
	options := []expr.Option{
		expr.Env(environment(scope)), expr.MaxNodes(MaxNodes), expr.DisableBuiltin("now"),
		expr.Function("int", toInt, new(func(int) int), new(func(float64) int), new(func(string) int)),
		expr.Function(wordsOf, toWords, new(func(string) []string)),
	}
	config := conf.CreateNew()
	for _, o := range options {
		o(config)
	}
	delete(config.Builtins, "now")
	tree, err := checker.ParseCheck(text, config)
	if err != nil {
		var node ast.Node
		if tree != nil {
			node = tree.Node
		}
		return nil, translate(err, text, node, scope)
	}
	t := &typer{scope: scope, cache: &config.NtCache}
	out := &Program{Type: t.of(tree.Node)}
	if fault := t.inspect(tree.Node, out); fault != nil {
		return nil, fault
	}
	compiled, err := expr.Compile(text, options...)
	if err != nil {
		return nil, translate(err, text, tree.Node, scope)
	}
	out.program = compiled
	return out, nil
}

// toInt is int(…): unlike expr-lang's own it refuses what has no whole number
// of 64 bits.
func toInt(args ...any) (any, error) {
	switch v := args[0].(type) {
	case int:
		return v, nil
	case float64:
		if t := math.Trunc(v); t >= -1<<63 && t < 1<<63 {
			return int(t), nil
		}
		return nil, fmt.Errorf("int(%v): out of range", v)
	case string:
		i, err := strconv.Atoi(v)
		if err != nil {
			return nil, fmt.Errorf("int(%.40q): no whole number", v)
		}
		return i, nil
	}
	return nil, fmt.Errorf("int of a %T", args[0])
}

// environment is the scope as expr-lang takes it.
func environment(scope Scope) types.Map {
	env := types.Map{
		streamTime: types.TypeOf(func() time.Time { return time.Time{} }),
		wallTime:   types.TypeOf(time.Now),
	}
	for name, t := range scope {
		env[name] = typeOf(t)
	}
	return env
}

// typeOf is a type as expr-lang takes it. What may be null must be any, or it
// could not be compared with nil.
func typeOf(t *row.Type) types.Type {
	if t == nil || t.Nullable {
		return types.Any
	}
	switch t.Kind {
	case row.String:
		return types.String
	case row.Int:
		return types.Int
	case row.Float:
		return types.Float64
	case row.Bool:
		return types.Bool
	case row.Timestamp:
		return types.TypeOf(time.Time{})
	case row.Duration:
		return types.TypeOf(time.Duration(0))
	case row.Bytes:
		return types.TypeOf([]byte(nil))
	case row.List:
		return types.Array(typeOf(t.Elem))
	case row.Object:
		if t.Fields == nil {
			return types.TypeOf(map[string]any{})
		}
		m := types.Map{}
		for _, f := range t.Fields {
			m[f.Name] = typeOf(f.Type)
		}
		return m
	}
	return types.Any
}

// translate makes a Fault of what expr-lang says.
func translate(err error, text string, root ast.Node, scope Scope) *Fault {
	var fe *file.Error
	if !errors.As(err, &fe) {
		message, _, _ := strings.Cut(err.Error(), "\n")
		return &Fault{To: len([]rune(text)), Code: "expr", Message: message}
	}
	f := &Fault{From: fe.From, To: max(fe.To, fe.From+1), Code: "expr", Message: strings.TrimSpace(fe.Message)}
	if name, ok := strings.CutPrefix(f.Message, "unknown name "); ok {
		f.Help = unknownName(name, text, fe, scope)
	}
	if name, ok := strings.CutPrefix(f.Message, "unknown field "); ok {
		unknownField(f, name, root, scope)
	}
	switch {
	case strings.Contains(f.Message, "exceeds maximum allowed nodes"):
		f.Code, f.From, f.To = "expr.limit", 0, len([]rune(text))
		f.Message = fmt.Sprintf("the expression has more than %d parts", MaxNodes)
	case strings.Contains(f.Message, "unexpected token EOF"):
		f.Message, f.Help = "the expression ends early", "something is missing after it"
	case strings.HasPrefix(f.Message, "cannot use nil"), strings.Contains(f.Message, "and nil)"):
		f.Help = "a type with ? in `fields:` may be null"
	case strings.Contains(f.Message, "mismatched types"):
		f.Help = mixHelp(f.Message)
	}
	return f
}

func mixHelp(message string) string {
	switch {
	case strings.Contains(message, "string") && (strings.Contains(message, "int") || strings.Contains(message, "float64")):
		return "convert one side with string(…), int(…) or float(…)"
	case strings.Contains(message, "time.Time"):
		return `make a timestamp of a text with date("2026-01-02T15:04:05Z")`
	}
	return ""
}
