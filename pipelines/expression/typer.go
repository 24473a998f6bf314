package expression

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker/nature"

	"github.com/levada/levada/pipelines/diagnostic"
	"github.com/levada/levada/pipelines/row"
)

// typer finds types of nodes. It knows more than expr-lang's checker: what
// may be null keeps its type, and objects that are written out have fields.
type typer struct {
	scope Scope
	cache *nature.Cache
}

// of is the type of a node that has been checked.
func (t *typer) of(n ast.Node) *row.Type {
	if known := t.known(n); known != nil {
		return known
	}
	if n.Nature() == nil {
		return row.Of(row.Any)
	}
	return ofNature(*n.Nature(), 0)
}

// known is the type as far as it follows from the scope; nil: ask the checker.
func (t *typer) known(n ast.Node) *row.Type {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return t.scope[n.Value]
	case *ast.ChainNode:
		return t.known(n.Node)
	case *ast.MemberNode:
		return t.member(n)
	case *ast.BinaryNode:
		if n.Operator == "??" {
			return t.coalesce(n)
		}
	case *ast.ConditionalNode:
		return t.conditional(n)
	case *ast.MapNode:
		return t.object(n)
	case *ast.ArrayNode:
		if len(n.Nodes) == 0 {
			return row.Of(row.List)
		}
		elem := t.of(n.Nodes[0])
		for _, item := range n.Nodes[1:] {
			elem = row.Unify(elem, t.of(item))
		}
		return row.ListOf(elem)
	case *ast.BuiltinNode:
		if n.Name == "split" {
			return row.ListOf(row.Of(row.String))
		}
	case *ast.CallNode:
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok && callee.Value == wordsOf {
			return row.ListOf(row.Of(row.String))
		}
	}
	return nil
}

func (t *typer) member(n *ast.MemberNode) *row.Type {
	base := t.known(n.Node)
	if base == nil {
		return nil
	}
	var out *row.Type
	switch p := n.Property.(type) {
	case *ast.StringNode:
		if base.Kind == row.Object {
			out = base.Field(p.Value)
		}
	default:
		if base.Kind == row.List {
			out = base.Elem
		}
	}
	if out != nil && base.Nullable {
		return out.OrNull()
	}
	return out
}

func (t *typer) coalesce(n *ast.BinaryNode) *row.Type {
	l, r := t.known(n.Left), t.of(n.Right)
	if l == nil {
		return nil
	}
	if isNil(n.Right) {
		return l.OrNull()
	}
	both := row.Unify(l.NotNull(), r.NotNull())
	if r.Nullable {
		return both.OrNull()
	}
	return both
}

func (t *typer) conditional(n *ast.ConditionalNode) *row.Type {
	switch {
	case isNil(n.Exp1) && isNil(n.Exp2):
		return nil
	case isNil(n.Exp1):
		return t.of(n.Exp2).OrNull()
	case isNil(n.Exp2):
		return t.of(n.Exp1).OrNull()
	}
	return row.Unify(t.of(n.Exp1), t.of(n.Exp2))
}

func (t *typer) object(n *ast.MapNode) *row.Type {
	var fields []row.Field
	for _, p := range n.Pairs {
		pair, ok := p.(*ast.PairNode)
		if !ok {
			return nil
		}
		key, ok := pair.Key.(*ast.StringNode)
		if !ok || slices.ContainsFunc(fields, func(f row.Field) bool { return f.Name == key.Value }) {
			return nil
		}
		fields = append(fields, row.Field{Name: key.Value, Type: t.of(pair.Value)})
	}
	return row.NewObject(fields, false)
}

func isNil(n ast.Node) bool {
	_, ok := n.(*ast.NilNode)
	return ok
}

// maxNature bounds how deep a nature is followed.
const maxNature = 16

// ofNature is the type that expr-lang's checker found.
func ofNature(nt nature.Nature, depth int) *row.Type {
	if nt.Type == nil || depth > maxNature {
		return row.Of(row.Any)
	}
	switch nt.Type {
	case reflect.TypeFor[time.Time]():
		return row.Of(row.Timestamp)
	case reflect.TypeFor[time.Duration]():
		return row.Of(row.Duration)
	case reflect.TypeFor[[]byte]():
		return row.Of(row.Bytes)
	}
	switch nt.Type.Kind() {
	case reflect.String:
		return row.Of(row.String)
	case reflect.Bool:
		return row.Of(row.Bool)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return row.Of(row.Int)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return row.Of(row.Int)
	case reflect.Float32, reflect.Float64:
		return row.Of(row.Float)
	case reflect.Slice, reflect.Array:
		if nt.Ref != nil {
			return row.ListOf(ofNature(*nt.Ref, depth+1))
		}
		if elem := nt.Type.Elem(); elem.Kind() != reflect.Interface {
			return row.ListOf(ofNature(nature.FromType(elem), depth+1))
		}
		return row.Of(row.List)
	case reflect.Map:
		if nt.TypeData == nil || nt.Fields == nil {
			return row.Of(row.Object)
		}
		var fields []row.Field
		for _, name := range slices.Sorted(maps.Keys(nt.Fields)) {
			fields = append(fields, row.Field{Name: name, Type: ofNature(nt.Fields[name], depth+1)})
		}
		return row.NewObject(fields, true)
	}
	return row.Of(row.Any)
}

// inspect notes what the expression uses, and finds faults that expr-lang's
// checker does not see because what may be null is any to it.
func (t *typer) inspect(root ast.Node, out *Program) (fault *Fault) {
	ast.Walk(&root, visitor(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.IdentifierNode:
			if n.Value == "$env" && fault == nil {
				fault = at(n, "expr", "`$env` is not available", "write the names themselves: value, key, …")
			}
			if _, ok := t.scope[n.Value]; (ok || n.Value == streamTime || n.Value == wallTime) && !out.UsesName(n.Value) {
				out.Uses = append(out.Uses, n.Value)
			}
		case *ast.BinaryNode:
			if (n.Operator == "==" || n.Operator == "!=") && (isNil(n.Left) || isNil(n.Right)) {
				out.ChecksNull = true
			}
		}
	}))
	if fault != nil {
		return fault
	}
	slices.Sort(out.Uses)
	ast.Walk(&root, visitor(func(n ast.Node) {
		m, ok := n.(*ast.MemberNode)
		if !ok || fault != nil {
			return
		}
		base := t.known(m.Node)
		name, isName := m.Property.(*ast.StringNode)
		if base == nil || base.Kind == row.Any || !base.Nullable || !isName || m.Method {
			return
		}
		switch {
		case base.Kind != row.Object:
			if base.Kind != row.Timestamp && base.Kind != row.Duration {
				fault = at(m.Property, "expr", fmt.Sprintf("%q is %s, which has no field %q", m.Node.String(), base, name.Value), "")
			}
		case base.Fields != nil && base.Field(name.Value) == nil:
			fault = at(m.Property, "expr", fmt.Sprintf("%q has no field %q", m.Node.String(), name.Value), diagnostic.Suggest(name.Value, base.FieldNames()))
		case !m.Optional && !out.ChecksNull && !chained(m.Node):
			fault = at(m.Node, "expr.null", fmt.Sprintf("%q may be null", m.Node.String()), fmt.Sprintf("write %s?.%s", m.Node.String(), name.Value))
		}
	}))
	return fault
}

// chained tells whether an earlier ?. of the chain already takes care of null.
func chained(n ast.Node) bool {
	m, ok := n.(*ast.MemberNode)
	return ok && (m.Optional || chained(m.Node))
}

func at(n ast.Node, code, message, help string) *Fault {
	l := n.Location()
	return &Fault{From: l.From, To: max(l.To, l.From+1), Code: code, Message: message, Help: help}
}
