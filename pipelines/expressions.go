package pipelines

import (
	"fmt"
	"strings"

	"github.com/levada/levada/pipelines/document"
	"github.com/levada/levada/pipelines/expression"
	"github.com/levada/levada/pipelines/row"
)

// scope is the names known to a step.
func (s state) scope() expression.Scope {
	return expression.Scope{
		"key": s.key, "value": s.value, "timestamp": row.Of(row.Timestamp), "topic": row.Of(row.String),
		"partition": row.Of(row.Int), "offset": row.Of(row.Int), "headers": row.Of(row.Object),
	}
}

// expr compiles what stands in the place of an expression: text is one; a
// number, boolean or null is itself. nil: there is a fault.
func (c *checker) expr(n *document.Node, scope expression.Scope) *expression.Program {
	switch {
	case n == nil || n.Unset:
		return nil
	case n.CustomTag:
		c.fault(n.Span, "expr.tag", fmt.Sprintf("the expression starts with `!`, which YAML takes for a tag: %s", n.Tag), "write `not …` or quote it")
		return nil
	case n.Kind == document.Mapping:
		c.fault(n.Span, "expr.mapping", "a mapping stands where an expression is wanted", "to make an object, quote the whole expression: '{\"k\": value.x}'; the step `map:` takes a mapping of fields")
		return nil
	case n.Kind == document.Sequence:
		c.fault(n.Span, "expr.mapping", "a list stands where an expression is wanted", "to make a list, quote the whole expression: '[value.x, value.y]'")
		return nil
	case n.Tag == "!!timestamp":
		c.fault(n.Span, "expr.timestamp", "a date stands where an expression is wanted", fmt.Sprintf("write 'date(%q)'", n.Value))
		return nil
	}
	if p, ok := c.literal(n); ok || p != nil {
		return p
	}
	p, fault := expression.Compile(n.Value, scope)
	if fault == nil {
		c.checkClock(n, p)
		return p
	}
	if n.Style == document.Plain && strings.HasPrefix(n.Comment, "#") && cutShort(fault) {
		c.fault(n.At(len([]rune(n.Value))-1, len([]rune(n.Value))), "expr.comment", fmt.Sprintf("`#` began a comment, so that the expression is only %s", shorten(n.Value)), "quote the expression")
		return nil
	}
	c.fault(n.At(fault.From, fault.To), fault.Code, fault.Message, fault.Help)
	return nil
}

// cutShort tells whether a fault may come from a text that ends early.
func cutShort(f *expression.Fault) bool {
	return strings.Contains(f.Message, "ends early") || strings.Contains(f.Message, "unexpected") || strings.Contains(f.Message, "not terminated") ||
		strings.Contains(f.Message, "unclosed") || strings.Contains(f.Message, "empty")
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 40 {
		s = string(r[:40]) + "…"
	}
	return "`" + s + "`"
}

// literal is a value that YAML itself has. ok is false for text.
func (c *checker) literal(n *document.Node) (p *expression.Program, ok bool) {
	switch {
	case n.IsNull() && n.Value == "":
		message, help := "the expression is empty", "write one; null is nothing, \"''\" an empty text"
		if strings.HasPrefix(n.Comment, "#") {
			message, help = "`#` began a comment, so that there is no expression", "quote the expression"
		}
		c.fault(n.Span, "expr", message, help)
		return nil, true
	case n.IsNull():
		return expression.Constant(nil, row.Of(row.Any)), true
	}
	if b, is := n.Bool(); is {
		return expression.Constant(b, row.Of(row.Bool)), true
	}
	if i, is := n.Int(); is {
		return expression.Constant(int(i), row.Of(row.Int)), true
	}
	if f, is := n.Float(); is {
		return expression.Constant(f, row.Of(row.Float)), true
	}
	if n.Tag == "!!int" || n.Tag == "!!float" {
		c.fault(n.Span, "expr", fmt.Sprintf("the number %s is out of range", shorten(n.Value)), "")
		return nil, true
	}
	return nil, false
}

// checkClock warns of results that are not a function of the data.
func (c *checker) checkClock(n *document.Node, p *expression.Program) {
	if !p.UsesName("wall_time") || c.root.Get("settings").Get("guarantee").Text() == "at_least_once" {
		return
	}
	c.warn(n.Span, "expr.clock", "wall_time() gives another result when a record is processed again after a crash", "use `timestamp` or stream_time() where that matters")
}

// condition compiles a true/false expression.
func (c *checker) condition(n *document.Node, what string, scope expression.Scope) *expression.Program {
	p := c.expr(n, scope)
	if p == nil {
		return nil
	}
	switch t := p.Type; {
	case t.Kind == row.Any:
	case t.Kind != row.Bool:
		help := "compare it with something, e.g. `" + example(n, t) + "`"
		c.fault(n.Span, "expr.type", fmt.Sprintf("%s needs a true/false expression, this one gives %s", what, t), help)
		return nil
	case t.Nullable:
		c.fault(n.Span, "expr.null", fmt.Sprintf("%s needs true or false, this may be null", what), fmt.Sprintf("write `%s ?? false`", n.Value))
		return nil
	}
	return p
}

// example is a comparison with an expression.
func example(n *document.Node, t *row.Type) string {
	text := n.Value
	if r := []rune(text); len(r) > 40 || strings.Contains(text, "\n") {
		text = "value.x"
	}
	switch t.Kind {
	case row.Int, row.Float:
		return text + " > 0"
	case row.String:
		return text + ` != ""`
	}
	return text + " != nil"
}

// timestamp compiles the expression for the time of a record.
func (c *checker) timestamp(n *document.Node, in *input) *expression.Program {
	p := c.expr(n, in.state().scope())
	if p == nil {
		return nil
	}
	switch t := p.Type; {
	case t.Nullable:
		c.fault(n.Span, "expr.null", "the timestamp may be null", fmt.Sprintf("write `%s ?? timestamp`", n.Value))
	case t.Kind != row.Timestamp && t.Kind != row.Int && t.Kind != row.Any:
		c.fault(n.Span, "expr.type", fmt.Sprintf("timestamp needs a timestamp or whole milliseconds, this gives %s", t), "declare the field as `timestamp`, or write date(…)")
	default:
		return p
	}
	return nil
}
