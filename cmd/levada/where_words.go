package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
)

// What the library says of values that are of another kind than what is done with them
// needs, in Go's words.
var (
	conversion = regexp.MustCompile(`^interface conversion: interface \{\} is (.+?), not (\S+)$`)
	operation  = regexp.MustCompile(`^invalid operation: (.+) ([-+*/%<>=]+) (.+)$`)
	negation   = regexp.MustCompile(`^invalid operation: - (.+)$`)
	function   = regexp.MustCompile(`^invalid (?:operation: (\w+)\((.+)\)|argument for (\w+) \(type (.+)\))$`)
	fetch      = regexp.MustCompile(`^cannot (?:fetch|get) (.+) from (.+)$`)
	listed     = regexp.MustCompile(`^reflect: call of reflect\.Value\.\w+ on (\S+) Value$`)
	within     = regexp.MustCompile(`^operator "in" not defined on (.+)$`)
)

// inWords is an error of an expression in the words of who wrote it: what of the record
// is of which kind, and which is needed, as far as the library tells. The place in the
// expression follows.
func (w *where) inWords(err error) string {
	fault := (*file.Error)(nil)
	if !errors.As(err, &fault) {
		return err.Error()
	}
	told := fault.Message
	at := &operand{from: fault.From}
	if node := w.program.Node(); node != nil {
		ast.Walk(&node, at)
	}
	if words := at.words(told); words != "" {
		told = words
	}
	return fmt.Sprintf("%s (%d:%d)%s", told, fault.Line, fault.Column+1, fault.Snippet)
}

// operand finds the part of an expression that failed by where it stands.
type operand struct {
	from int
	node ast.Node
}

// Visit implements ast.Visitor: of several the outermost comes last.
func (o *operand) Visit(node *ast.Node) {
	if (*node).Location().From == o.from {
		o.node = *node
	}
}

// words say what the library told; empty if it is not of the kinds of values.
func (o *operand) words(told string) string {
	if m := conversion.FindStringSubmatch(told); m != nil {
		out := fmt.Sprintf("%s is %s, and %s is needed", o.part(0), kindOf(m[1]), kindOf(m[2]))
		if m[2] == "string" || m[2] == "[]uint8" {
			out = fmt.Sprintf("%s is %s, and text is needed (text is the value as text, string(…) makes text of anything)", o.part(0), kindOf(m[1]))
		}
		return out
	}
	if m := operation.FindStringSubmatch(told); m != nil {
		return o.between(kindOf(m[1]), m[2], kindOf(m[3]))
	}
	if m := negation.FindStringSubmatch(told); m != nil {
		return fmt.Sprintf("%s is %s, and a number is needed", o.part(0), kindOf(m[1]))
	}
	if m := fetch.FindStringSubmatch(told); m != nil {
		return fmt.Sprintf("%s is %s, and %s of it is asked for, which only an object has", o.part(0), kindOf(m[2]), m[1])
	}
	if m := within.FindStringSubmatch(told); m != nil {
		return fmt.Sprintf("%s is %s, and a list or an object is needed", o.part(1), kindOf(m[1]))
	}
	if m := listed.FindStringSubmatch(told); m != nil {
		return fmt.Sprintf("%s is %s, and a list is needed", o.part(0), kindOf(m[1]))
	}
	if strings.HasPrefix(told, "cannot slice ") {
		return o.part(0) + " is neither text nor a list, of which there are parts from one place to another"
	}
	if m := function.FindStringSubmatch(told); m != nil {
		return o.called(m[1]+m[3], m[2]+m[4])
	}
	return ""
}

// between is for an operator with what is on both sides of it, or with what a function such
// as sum puts there.
func (o *operand) between(left, operator, right string) string {
	takes := "two numbers"
	if strings.ContainsAny(operator, "+<>") {
		takes = "two numbers, or text twice"
	}
	if _, ok := o.node.(*ast.BinaryNode); !ok {
		return fmt.Sprintf("%s and %s meet, and %s takes %s", left, right, operator, takes)
	}
	return fmt.Sprintf("%s is %s and %s is %s, and %s takes %s", o.part(0), left, o.part(1), right, operator, takes)
}

// called is for functions, which the library also uses itself: for the index of a list,
// and for powers.
func (o *operand) called(name, of string) string {
	switch node := o.node.(type) {
	case *ast.MemberNode:
		return fmt.Sprintf("%s is text or a list, and %s of it is asked for, which only an object has", o.part(0), node.Property)
	case *ast.BinaryNode:
		return fmt.Sprintf("%s takes two numbers, and one of both is %s", node.Operator, kindOf(of))
	}
	if name == "len" {
		return fmt.Sprintf("%s is %s, which has no length", o.part(0), kindOf(of))
	}
	if !isGoType(of) { // text, as it is
		return fmt.Sprintf("%s is text that is no number: %q", o.part(0), of)
	}
	return fmt.Sprintf("%s is %s, of which %s makes nothing: a number is needed", o.part(0), kindOf(of), name)
}

// isGoType tells the name of a type from a text of the record.
func isGoType(s string) bool {
	switch s {
	case "string", "bool", "<nil>", "int", "float64":
		return true
	}
	return strings.HasPrefix(s, "map[") || strings.HasPrefix(s, "[]")
}

// part is what the failed operation is done with, as it is written: the nth of it.
func (o *operand) part(n int) string {
	var parts []ast.Node
	switch node := o.node.(type) {
	case *ast.BinaryNode:
		parts = []ast.Node{node.Left, node.Right}
	case *ast.UnaryNode:
		parts = []ast.Node{node.Node}
	case *ast.MemberNode:
		parts = []ast.Node{node.Node}
	case *ast.SliceNode:
		parts = []ast.Node{node.Node}
	case *ast.ConditionalNode:
		parts = []ast.Node{node.Cond}
	case *ast.BuiltinNode:
		parts = node.Arguments
	case *ast.CallNode:
		parts = node.Arguments
	}
	if n >= len(parts) {
		return "this"
	}
	return parts[n].String()
}
