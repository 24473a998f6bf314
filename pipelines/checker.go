package pipelines

import (
	"fmt"
	"slices"
	"strings"

	"github.com/levada/levada/pipelines/diagnostic"
	"github.com/levada/levada/pipelines/document"
	"github.com/levada/levada/pipelines/expression"
	"github.com/levada/levada/pipelines/row"
	"github.com/levada/levada/pipelines/spec"
)

// checker reads one file. Faults of shape are reported by package spec; what
// has a wrong shape is passed over here.
type checker struct {
	file   string
	opts   Options
	root   *document.Node
	spec   *spec.Checker
	faults diagnostic.List

	inputs     []*input
	connectors []*connector
	flows      []*flow
	names      map[string]diagnostic.Span // of stateful steps
}

// input is a stream, a table, or the topic of a source.
type input struct {
	kind, name string
	node       *document.Node
	topic      string
	keyFormat  string
	format     string
	value      *row.Type
	timestamp  *expression.Program
	used       bool
}

// connector is a source or a sink.
type connector struct {
	kind, name string
	node       *document.Node
	plugin     string
	used       bool
}

// state is the types of the records between two steps.
type state struct {
	key       *row.Type
	keyFormat string
	value     *row.Type
	// poisoned: a fault came before, so what follows from the types is not to
	// be reported.
	poisoned bool
}

func (c *checker) fault(at diagnostic.Span, code, message, help string) {
	c.faults = append(c.faults, diagnostic.Diagnostic{File: c.file, Span: at, Code: code, Message: message, Help: help})
}

func (c *checker) warn(at diagnostic.Span, code, message, help string) {
	c.faults = append(c.faults, diagnostic.Diagnostic{File: c.file, Span: at, Severity: diagnostic.Warning, Code: code, Message: message, Help: help})
}

// declarations reads streams, tables, sources and sinks.
func (c *checker) declarations() {
	c.names = map[string]diagnostic.Span{}
	for _, part := range []struct{ key, kind string }{{"streams", "stream"}, {"tables", "table"}, {"sources", "source"}} {
		for _, e := range entries(c.root.Get(part.key)) {
			c.declare(part.kind, e)
		}
	}
	for _, part := range []struct{ key, kind string }{{"sources", "source"}, {"sinks", "sink"}} {
		for _, e := range entries(c.root.Get(part.key)) {
			conn := &connector{kind: part.kind, name: e.Key.Value, node: e.Value, plugin: e.Value.Get("connector").Text()}
			c.connectors = append(c.connectors, conn)
			c.checkErrors(e.Value.Get("errors"))
		}
	}
	c.checkErrors(c.root.Get("errors"))
	if t := c.root.Get("tests"); t != nil && !t.IsNull() {
		c.warn(t.Span, "tests.unsupported", "this release does not run the tests in a file", "")
	}
	if d, ok := spec.ParseDuration(c.root.Get("settings").Get("commit_interval").Text()); ok && (d < minCommit || d > maxCommit) {
		c.fault(c.root.Get("settings").Get("commit_interval").Span, "range", fmt.Sprintf("commit_interval is %v, not within %v and %v", d, minCommit, maxCommit), "")
	}
}

func entries(n *document.Node) []document.Entry {
	if n == nil {
		return nil
	}
	return n.Entries
}

// declare reads one input.
func (c *checker) declare(kind string, e document.Entry) {
	n := e.Value
	if n.Kind != document.Mapping {
		n = &document.Node{Kind: document.Mapping, Span: e.Key.Span}
	}
	in := &input{kind: kind, name: e.Key.Value, node: e.Key, keyFormat: "string", format: "json", value: row.Of(row.Any)}
	for _, other := range c.inputs {
		if other.name == in.name && other.kind == in.kind {
			return // a duplicate key, reported as such
		}
	}
	c.inputs = append(c.inputs, in)
	in.topic = n.Get("topic").Text()
	if kind == "source" {
		in.topic = n.Get("topics").Text()
		if in.topic == "" {
			in.topic = c.root.Get("name").Text() + "." + in.name
		}
	}
	if f := n.Get("key").Text(); f != "" {
		in.keyFormat = f
	}
	c.declareValue(in, n.Get("value"))
	if ts := n.Get("timestamp"); ts != nil {
		in.timestamp = c.timestamp(ts, in)
	}
}

func (c *checker) declareValue(in *input, v *document.Node) {
	if v == nil {
		return
	}
	format := v.Text()
	if v.Kind == document.Mapping {
		format = v.Get("format").Text()
	}
	fields := v.Get("fields")
	switch format {
	case "text":
		in.format, in.value = "text", row.Of(row.String)
	case "bytes":
		in.format, in.value = "bytes", row.Of(row.Bytes)
	}
	switch {
	case fields == nil:
	case in.format != "json":
		c.fault(fields.Span, "fields", fmt.Sprintf("values of format %s have no fields", in.format), "remove `fields`, or write `format: json`")
	default:
		in.value = c.object(fields)
	}
}

// object reads the fields of an object.
func (c *checker) object(n *document.Node) *row.Type {
	if n.Kind != document.Mapping {
		c.fault(n.Span, "shape", fmt.Sprintf("fields is %s, want %s", n.Kind, document.Mapping), "write `{ id: string, amount: float }`")
		return row.Of(row.Any)
	}
	fields := []row.Field{}
	for _, e := range n.Entries {
		fields = append(fields, row.Field{Name: e.Key.Value, Type: c.fieldType(e.Value)})
	}
	return row.NewObject(fields, true)
}

// fieldType reads a type: a name, an object, or a list with the type of its
// items.
func (c *checker) fieldType(n *document.Node) *row.Type {
	switch {
	case n.Kind == document.Mapping:
		return c.object(n)
	case n.Kind == document.Sequence && len(n.Items) == 1:
		return row.ListOf(c.fieldType(n.Items[0]))
	case n.Kind == document.Sequence:
		c.fault(n.Span, "type", "a list type has one type in its brackets", "write [string], or `list` for any items")
		return row.Of(row.List)
	}
	if t, ok := row.Named(n.Value); ok {
		return t
	}
	if n.Unset {
		return row.Of(row.Any)
	}
	if strings.HasPrefix(n.Value, "[") || strings.HasPrefix(n.Value, "{") {
		c.fault(n.Span, "type", fmt.Sprintf("unknown type %q", n.Value), "a list is [string], an object { a: int }, without quotes; `list?` and `object?` may be null")
		return row.Of(row.Any)
	}
	help := diagnostic.Nearest(strings.TrimSuffix(n.Value, "?"), row.TypeNames())
	if alias, ok := typeAliases[strings.ToLower(strings.TrimSuffix(n.Value, "?"))]; ok {
		help = alias
	}
	if help != "" {
		help = fmt.Sprintf("did you mean %q?", help)
	} else {
		help = "types are " + strings.Join(row.TypeNames(), ", ") + "; with ? it may be null"
	}
	c.fault(n.Span, "type", fmt.Sprintf("unknown type %q", n.Value), help)
	return row.Of(row.Any)
}

// typeAliases are names that other systems use.
var typeAliases = map[string]string{
	"str": "string", "text": "string", "varchar": "string", "integer": "int", "long": "int", "int64": "int", "bigint": "int",
	"double": "float", "number": "float", "decimal": "float", "float64": "float", "boolean": "bool", "date": "timestamp",
	"datetime": "timestamp", "time": "timestamp", "array": "list", "map": "object", "json": "any",
}

// checkErrors checks that dead letters have a topic.
func (c *checker) checkErrors(n *document.Node) {
	if n == nil || n.Kind != document.Mapping {
		return
	}
	on, topic := n.Get("on_error"), n.Get("topic")
	switch {
	case on.Text() == "dead_letter" && topic == nil:
		c.fault(on.Span, "errors.topic", "dead letters need a topic", "add `topic: "+c.root.Get("name").Text()+".dead-letters`")
	case on.Text() != "dead_letter" && on.Text() != "" && topic != nil:
		c.fault(topic.Span, "errors.topic", fmt.Sprintf("on_error: %s writes no dead letters", on.Text()), "remove the topic, or write `on_error: dead_letter`")
	}
}

// checkTopics finds topics that are read in two ways. What a source says of its
// topic counts if a flow reads the source.
func (c *checker) checkTopics() {
	reads := func(in *input) bool { return in.kind != "source" || in.used }
	for i, in := range c.inputs {
		for _, before := range c.inputs[:i] {
			if in.topic == "" || !reads(in) || !reads(before) || in.topic != before.topic || in.sameForm(before) {
				continue
			}
			c.fault(in.node.Span, "topic.twice", fmt.Sprintf("topic %q is read in another way by %s %q", in.topic, before.kind, before.name), "give both the same key, value and timestamp")
			break
		}
	}
}

func (in *input) sameForm(b *input) bool {
	// Programs cannot be compared, so a timestamp may stand only once.
	return in.keyFormat == b.keyFormat && in.format == b.format && in.value.String() == b.value.String() && in.timestamp == nil && b.timestamp == nil
}

// find looks an input up.
func (c *checker) find(kind, name string) *input {
	for _, in := range c.inputs {
		if in.kind == kind && in.name == name {
			return in
		}
	}
	return nil
}

func (c *checker) inputNames(kinds ...string) []string {
	var names []string
	for _, in := range c.inputs {
		if slices.Contains(kinds, in.kind) {
			names = append(names, in.name)
		}
	}
	return names
}

func (in *input) state() state {
	return state{key: row.KeyType(in.keyFormat), keyFormat: in.keyFormat, value: in.value}
}
