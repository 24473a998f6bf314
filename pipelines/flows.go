package pipelines

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/levada/levada/connectors/sdk"
	"github.com/levada/levada/pipelines/diagnostic"
	"github.com/levada/levada/pipelines/document"
	"github.com/levada/levada/pipelines/expression"
	"github.com/levada/levada/pipelines/row"
	"github.com/levada/levada/pipelines/spec"
)

// flow is a chain of steps.
type flow struct {
	name       string
	node, from *document.Node
	sources    []origin
	operations []operation
	in, out    state
	targets    []target
	visit      visit
	read       bool // by another flow
}

// visit marks flows for finding circles.
type visit int8

const (
	unseen visit = iota
	open
	done
)

// origin is one thing a flow reads: an input or another flow.
type origin struct {
	input *input
	flow  *flow
	// topic is the input's, with a table put in.
	topic string
}

func (o origin) state() state {
	if o.flow != nil {
		return o.flow.out
	}
	return o.input.state()
}

// target is one output.
type target struct {
	topic     string
	key       *expression.Program
	headers   []field
	format    string
	keyFormat string
	value     *row.Type
	sink      *connector
	table     string
}

// field is an expression with the name of what it makes.
type field struct {
	name    string
	program *expression.Program
}

// readFlows lists the flows, so that they can refer to each other.
func (c *checker) readFlows() {
	flows := c.root.Get("flows")
	if flows == nil || flows.Kind != document.Sequence {
		return
	}
	if len(flows.Items) == 0 {
		c.fault(flows.Span, "flow.none", "there are no flows", "add one: `- { name: …, from: …, to: … }`")
	}
	for i, n := range flows.Items {
		if n.Kind != document.Mapping {
			continue
		}
		f := &flow{name: n.Get("name").Text(), node: n, from: n.Get("from")}
		if other := c.findFlow(f.name); f.name != "" && other != nil {
			c.fault(n.Get("name").Span, "name.duplicate", fmt.Sprintf("flow %q is already on line %d", f.name, other.node.Span.Line), "give it another name")
			f.name = ""
		}
		if f.name == "" {
			f.name = fmt.Sprintf("flow-%d", i+1)
		} else if in := c.find("stream", f.name); in != nil && n.Get("from").Text() != f.name {
			c.warnAmbiguous(f, in)
		}
		c.flows = append(c.flows, f)
	}
}

// warnAmbiguous says which of two things of one name is meant in `from`.
func (c *checker) warnAmbiguous(f *flow, in *input) {
	for _, n := range c.root.Get("flows").Items {
		if from := n.Get("from"); from != nil && from.Text() == f.name {
			c.warn(from.Span, "ref.ambiguous", fmt.Sprintf("%q names a stream (line %d) and a flow (line %d); the stream is meant", f.name, in.node.Span.Line, f.node.Span.Line), "rename one of them")
		}
	}
}

func (c *checker) findFlow(name string) *flow {
	for _, f := range c.flows {
		if f.name == name {
			return f
		}
	}
	return nil
}

// resolve types a flow, and before it those that it reads.
func (c *checker) resolve(f *flow) {
	if f.visit != unseen {
		return
	}
	f.visit = open
	f.in = c.origins(f)
	f.out = f.in
	if steps := f.node.Get("steps"); steps != nil && steps.Kind == document.Sequence {
		for i, n := range steps.Items {
			c.step(f, i, n)
		}
	}
	if to := f.node.Get("to"); to != nil {
		c.target(f, to)
	}
	if also := f.node.Get("also_to"); also != nil && also.Kind == document.Sequence {
		for _, n := range also.Items {
			c.target(f, n)
		}
	} else if also != nil {
		c.target(f, also)
	}
	f.visit = done
}

// origins finds what a flow reads.
func (c *checker) origins(f *flow) state {
	unknown := state{key: row.Of(row.Any), keyFormat: "json", value: row.Of(row.Any), poisoned: true}
	var nodes []*document.Node
	switch {
	case f.from.IsNull():
		return unknown
	case f.from.Kind == document.Sequence:
		nodes = f.from.Items
		if len(nodes) == 0 {
			c.fault(f.from.Span, "ref", "the flow reads nothing", "name a stream")
		}
	default:
		nodes = []*document.Node{f.from}
	}
	st := unknown
	for i, n := range nodes {
		o, ok := c.origin(n)
		if !ok {
			st.poisoned = true
			continue
		}
		if slices.Contains(f.sources, o) {
			c.fault(n.Span, "ref.twice", fmt.Sprintf("%q is already in the list", n.Text()), "remove it")
			continue
		}
		f.sources = append(f.sources, o)
		if i == 0 || len(f.sources) == 1 {
			st = o.state()
			continue
		}
		st = c.merge(n, st, o.state())
	}
	return st
}

// origin finds one thing that is read.
func (c *checker) origin(n *document.Node) (origin, bool) {
	if n.Kind == document.Mapping {
		return c.sourceTopic(n)
	}
	if n.Kind != document.Scalar || n.Unset {
		return origin{}, false
	}
	if in := c.find("stream", n.Value); in != nil {
		in.used = true
		return origin{input: in, topic: in.topic}, true
	}
	if other := c.findFlow(n.Value); other != nil {
		if other.visit == open {
			c.fault(n.Span, "flow.cycle", fmt.Sprintf("flow %q reads itself, by way of this", n.Value), "write to a topic, and read it as a stream, if that is meant")
			return origin{}, false
		}
		other.read = true
		c.resolve(other)
		return origin{flow: other}, true
	}
	names := c.inputNames("stream")
	for _, f := range c.flows {
		names = append(names, f.name)
	}
	help := diagnostic.Suggest(n.Value, names)
	switch {
	case c.find("table", n.Value) != nil:
		help = fmt.Sprintf("%q is a table: join it, or declare its topic under `streams` too", n.Value)
	case c.find("source", n.Value) != nil:
		help = fmt.Sprintf("write `from: { source: %s }`", n.Value)
	}
	c.fault(n.Span, "ref", fmt.Sprintf("no stream %q", n.Value), help)
	return origin{}, false
}

func (c *checker) sourceTopic(n *document.Node) (origin, bool) {
	name := n.Get("source")
	if name.Text() == "" {
		return origin{}, false
	}
	in := c.find("source", name.Text())
	if in == nil {
		c.fault(name.Span, "ref", fmt.Sprintf("no source %q", name.Text()), diagnostic.Suggest(name.Text(), c.inputNames("source")))
		return origin{}, false
	}
	in.used = true
	table := n.Get("table")
	switch wants := strings.Contains(in.topic, "{table}"); {
	case wants && table == nil:
		c.fault(n.Span, "ref.table", fmt.Sprintf("the topics of source %q depend on the table", in.name), "add `table: …`")
		return origin{}, false
	case !wants && table != nil:
		c.fault(table.Span, "ref.table", fmt.Sprintf("the topic of source %q does not depend on a table", in.name), "remove it, or write `{table}` in the source's `topics`")
		return origin{}, false
	}
	topic := strings.ReplaceAll(in.topic, "{table}", table.Text())
	if wrong := spec.TopicFault(topic); wrong != "" {
		c.fault(n.Span, "topic.name", fmt.Sprintf("topic name %q %s", topic, wrong), "")
		return origin{}, false
	}
	return origin{input: in, topic: topic}, true
}

// merge is the types of records that come from two places.
func (c *checker) merge(n *document.Node, a, b state) state {
	if a.poisoned || b.poisoned {
		a.poisoned = true
		return a
	}
	if a.keyFormat != b.keyFormat {
		c.fault(n.Span, "merge", fmt.Sprintf("keys of %q are %s, those of the others %s", n.Value, b.key, a.key), "bring them to one type with rekey in flows of their own")
		a.poisoned = true
	}
	textual := func(t *row.Type) bool { return t.Kind == row.String || t.Kind == row.Bytes }
	if textual(a.value) != textual(b.value) || textual(a.value) && a.value.Kind != b.value.Kind {
		c.fault(n.Span, "merge", fmt.Sprintf("values of %q are %s, those of the others %s", n.Value, b.value, a.value), "bring them to one type with map in flows of their own")
		a.poisoned = true
	}
	a.value = mergeTypes(a.value, b.value)
	return a
}

// mergeTypes keeps the fields that both have; one that only one has may be
// null.
func mergeTypes(a, b *row.Type) *row.Type {
	if a.Kind != row.Object || b.Kind != row.Object || a.Fields == nil || b.Fields == nil {
		return row.Unify(a, b)
	}
	var fields []row.Field
	for _, f := range a.Fields {
		if other := b.Field(f.Name); other != nil {
			fields = append(fields, row.Field{Name: f.Name, Type: mergeTypes(f.Type, other)})
		} else {
			fields = append(fields, row.Field{Name: f.Name, Type: f.Type.OrNull()})
		}
	}
	for _, f := range b.Fields {
		if a.Field(f.Name) == nil {
			fields = append(fields, row.Field{Name: f.Name, Type: f.Type.OrNull()})
		}
	}
	t := row.NewObject(fields, true)
	if a.Nullable || b.Nullable {
		t = t.OrNull()
	}
	return t
}

// target reads one output.
func (c *checker) target(f *flow, n *document.Node) {
	t := target{value: f.out.value, keyFormat: f.out.keyFormat}
	switch n.Kind {
	case document.Scalar:
		t.topic = n.Text()
	case document.Mapping:
		if !c.targetObject(f, n, &t) {
			return
		}
	default:
		return
	}
	if t.topic == "" {
		return
	}
	if t.format == "" {
		t.format = "json"
		switch {
		case t.value.Nullable:
		case t.value.Kind == row.String:
			t.format = "text"
		case t.value.Kind == row.Bytes:
			t.format = "bytes"
		}
	}
	for _, o := range f.sources {
		if o.topic == t.topic {
			c.fault(n.Span, "flow.loop", fmt.Sprintf("the flow writes to the topic %q, which it reads", t.topic), "write to another topic")
		}
	}
	f.targets = append(f.targets, t)
}

// targetObject reads the long form.
func (c *checker) targetObject(f *flow, n *document.Node, t *target) bool {
	topic, sink := n.Get("topic"), n.Get("sink")
	switch {
	case topic == nil && sink == nil:
		c.fault(n.Span, "target", "`to` names neither a topic nor a sink", "write `topic: …` or `sink: …`")
		return false
	case topic != nil && sink != nil:
		c.fault(sink.Span, "target", "`to` names a topic and a sink", "use `also_to` for the second one")
	case sink == nil && n.Get("table") != nil:
		c.fault(n.Get("table").Span, "target", "`table` belongs to a sink", "remove it")
	}
	t.topic = topic.Text()
	ok := sink == nil || topic != nil || c.targetSink(sink, n.Get("table"), t)
	scope := f.out.scope()
	if key := n.Get("key"); key != nil {
		if t.key = c.expr(key, scope); t.key != nil {
			format, ok := row.KeyFormat(t.key.Type)
			if !ok && n.Get("key_format") == nil && !f.out.poisoned {
				c.unknownKey(key)
			}
			t.keyFormat = format
		}
	}
	for _, e := range entries(n.Get("headers")) {
		if p := c.expr(e.Value, scope); p != nil {
			t.headers = append(t.headers, field{e.Key.Value, p})
		}
	}
	if kf := n.Get("key_format").Text(); kf != "" {
		t.keyFormat = kf
	}
	t.format = n.Get("format").Text()
	c.checkFormat(f, n.Get("format"), t)
	return ok
}

// checkFormat finds formats that the value cannot have.
func (c *checker) checkFormat(f *flow, n *document.Node, t *target) {
	if f.out.poisoned || n == nil || t.value.Kind == row.Any {
		return
	}
	want := map[string]row.Kind{"text": row.String, "bytes": row.Bytes}
	if k, ok := want[t.format]; ok && t.value.Kind != k {
		c.fault(n.Span, "target.format", fmt.Sprintf("values are %s, which cannot be written as %s", t.value, t.format), "write `format: json`, or make a text with `map: string(…)`")
	}
}

func (c *checker) targetSink(sink, table *document.Node, t *target) bool {
	for _, conn := range c.connectors {
		if conn.kind == "sink" && conn.name == sink.Text() {
			conn.used = true
			t.sink, t.table = conn, table.Text()
			t.topic = c.root.Get("name").Text() + "." + conn.name
			if t.table != "" {
				t.topic += "." + t.table
			}
			if wrong := spec.TopicFault(t.topic); wrong != "" {
				c.fault(table.Span, "topic.name", fmt.Sprintf("topic name %q %s", t.topic, wrong), "use letters, digits, '.', '_' and '-'")
				return false
			}
			c.checkConfig(conn, t.table)
			return true
		}
	}
	var names []string
	for _, conn := range c.connectors {
		if conn.kind == "sink" {
			names = append(names, conn.name)
		}
	}
	if sink.Text() != "" {
		c.fault(sink.Span, "ref", fmt.Sprintf("no sink %q", sink.Text()), diagnostic.Suggest(sink.Text(), names))
	}
	return false
}

// usage reports what is there for nothing.
func (c *checker) usage() {
	c.checkTopics()
	for _, f := range c.flows {
		if len(f.targets) == 0 && !f.read && f.node.Get("to") == nil && f.node.Get("also_to") == nil {
			c.fault(f.node.Span, "flow.nowhere", fmt.Sprintf("the results of flow %q go nowhere", f.name), "add `to: …`, or read it in another flow")
		}
	}
	for _, conn := range c.connectors {
		if conn.kind == "sink" && !conn.used {
			c.warn(conn.node.Span, "sink.unused", fmt.Sprintf("nothing is written to sink %q", conn.name), "name it in the `to` of a flow")
			c.checkConfig(conn, "")
		}
		if conn.kind == "source" {
			c.checkConfig(conn, "")
		}
	}
	for _, in := range c.inputs {
		if in.kind == "source" && strings.Contains(in.topic, "{table}") && !in.used {
			c.warn(in.node.Span, "source.unused", fmt.Sprintf("nothing reads source %q, so its topics are not known", in.name), "")
		}
	}
}

// checkConfig checks the settings of a connector that is known.
func (c *checker) checkConfig(conn *connector, table string) {
	if conn.plugin == "" || c.opts.Connectors == nil && c.opts.External == nil || holdsUnset(conn.node) {
		return
	}
	at := conn.node.Get("connector").Span
	var names []string
	for _, p := range c.opts.Connectors {
		names = append(names, p.Name)
		if p.Name != conn.plugin {
			continue
		}
		validate := roleOf(p, conn.kind)
		if validate == nil {
			c.fault(at, "connector.role", fmt.Sprintf("connector %q is no %s", p.Name, conn.kind), "")
			return
		}
		c.configFaults(conn, validate(configJSON(conn.node.Get("config"), table)))
		return
	}
	if !slices.Contains(c.opts.External, conn.plugin) {
		names = append(names, c.opts.External...)
		c.fault(at, "connector.unknown", fmt.Sprintf("no connector %q", conn.plugin), diagnostic.Suggest(conn.plugin, names))
	}
}

// holdsUnset tells whether a variable in the node could not be put in.
func holdsUnset(n *document.Node) bool {
	if n.Unset || slices.ContainsFunc(n.Items, holdsUnset) {
		return true
	}
	return slices.ContainsFunc(n.Entries, func(e document.Entry) bool { return holdsUnset(e.Value) })
}

func roleOf(p sdk.Plugin, kind string) func([]byte) []sdk.Fault {
	switch {
	case kind == "source" && p.Source != nil:
		return p.Source.Validate
	case kind == "sink" && p.Sink != nil:
		return p.Sink.Validate
	}
	return nil
}

func (c *checker) configFaults(conn *connector, faults []sdk.Fault) {
	config := conn.node.Get("config")
	for _, f := range faults {
		at := conn.node.Get("connector").Span
		if config != nil {
			at = config.Span
		}
		name, _, _ := strings.Cut(f.Field, ".")
		for _, e := range entries(config) {
			if e.Key.Value == name {
				at = e.Key.Span
			}
		}
		message := f.Message
		if f.Field != "" {
			message = f.Field + ": " + message
		}
		c.fault(at, "connector.config", fmt.Sprintf("%s %q: %s", conn.kind, conn.name, message), f.Mend)
	}
}

// configJSON is the settings of a connector as JSON.
func configJSON(n *document.Node, table string) []byte {
	v := plain(n)
	m, ok := v.(map[string]any)
	if !ok {
		m = map[string]any{}
	}
	if table != "" {
		m["table"] = table
	}
	b, err := json.Marshal(m)
	if err != nil {
		return []byte("{}") // a NaN, which no setting takes
	}
	return b
}

// plain is a node as a Go value.
func plain(n *document.Node) any {
	switch {
	case n.IsNull():
		return nil
	case n.Kind == document.Mapping:
		m := map[string]any{}
		for _, e := range n.Entries {
			m[e.Key.Value] = plain(e.Value)
		}
		return m
	case n.Kind == document.Sequence:
		items := []any{}
		for _, i := range n.Items {
			items = append(items, plain(i))
		}
		return items
	}
	if v, ok := n.Bool(); ok {
		return v
	}
	if v, ok := n.Int(); ok {
		return v
	}
	if v, ok := n.Float(); ok {
		return v
	}
	return n.Value
}
