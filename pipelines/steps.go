package pipelines

import (
	"fmt"
	"slices"
	"strings"

	"github.com/levada/levada/pipelines/diagnostic"
	"github.com/levada/levada/pipelines/document"
	"github.com/levada/levada/pipelines/expression"
	"github.com/levada/levada/pipelines/row"
)

// operation is a step that has been checked.
type operation struct {
	// kind is the step's key, name that of its node.
	kind, name string
	program    *expression.Program
	fields     []field
	in, out    state
	aggregates []row.Aggregate
	table      *input
	left       bool
}

// step checks one step and moves the flow's state on.
func (c *checker) step(f *flow, i int, n *document.Node) {
	entry, s, ok := c.spec.StepOf(n)
	if !ok {
		f.out.poisoned = true
		if !c.keeps(n) {
			f.out.value = row.Of(row.Any)
		}
		return
	}
	if s.Later {
		f.out.poisoned = true
		if !s.Keeps {
			f.out.value = row.Of(row.Any)
		}
		return
	}
	o := operation{kind: s.Name, in: f.out, out: f.out, name: fmt.Sprintf("%s.%s-%d", f.name, s.Name, i+1)}
	before := len(c.faults)
	if name := n.Get("name").Text(); name != "" {
		o.name = name
		c.claim(n.Get("name"), name)
	}
	switch s.Name {
	case "filter":
		o.program = c.condition(entry.Value, "filter", f.out.scope())
	case "map":
		c.mapStep(&o, entry.Value)
	case "set":
		c.setStep(&o, entry.Value)
	case "flat_map":
		c.flatMapStep(&o, entry.Value)
	case "rekey":
		c.rekeyStep(&o, entry.Value)
	case "aggregate":
		c.aggregateStep(f, &o, n, entry)
	case "join":
		c.joinStep(f, &o, n, entry)
	}
	if len(c.faults) > before && c.faults[before:].HasErrors() {
		o.out.poisoned = true
	}
	f.operations = append(f.operations, o)
	f.out = o.out
}

// keeps tells whether an unknown step was probably meant to be one that keeps
// the types.
func (c *checker) keeps(n *document.Node) bool {
	for _, e := range n.Entries {
		if s := c.spec.Nearest(e.Key.Value); s != nil {
			return s.Keeps
		}
	}
	return false
}

// claim takes a name for a step.
func (c *checker) claim(n *document.Node, name string) {
	if at, taken := c.names[name]; taken {
		c.fault(n.Span, "name.duplicate", fmt.Sprintf("the name %q is already used on line %d", name, at.Line), "choose another: it names the node and its store")
		return
	}
	if in := c.find("table", name); in != nil {
		c.fault(n.Span, "name.duplicate", fmt.Sprintf("the name %q is that of a table (line %d), and so of its store", name, in.node.Span.Line), "choose another")
		return
	}
	c.names[name] = n.Span
}

// fields compiles a mapping of names to expressions. One that has a fault
// gives a field of unknown type.
func (c *checker) fields(n *document.Node, scope expression.Scope) ([]field, []row.Field) {
	var fields []field
	var types []row.Field
	for _, e := range entries(n) {
		t := row.Of(row.Any)
		if p := c.expr(e.Value, scope); p != nil {
			t = p.Type
			fields = append(fields, field{e.Key.Value, p})
		}
		types = append(types, row.Field{Name: e.Key.Value, Type: t})
	}
	return fields, types
}

func (c *checker) mapStep(o *operation, n *document.Node) {
	if n.Kind == document.Mapping {
		var types []row.Field
		o.fields, types = c.fields(n, o.in.scope())
		o.out.value = row.NewObject(types, false)
		return
	}
	o.out.value = row.Of(row.Any)
	if n.Kind == document.Sequence {
		return // reported by its shape
	}
	if o.program = c.expr(n, o.in.scope()); o.program != nil {
		o.out.value = o.program.Type
	}
}

func (c *checker) setStep(o *operation, n *document.Node) {
	if k := o.in.value.Kind; k != row.Object && k != row.Any {
		c.fault(n.Span, "step.value", fmt.Sprintf("set needs a value with fields, this one is %s", o.in.value), "make one with `map: { … }`")
		o.out.value = row.Of(row.Any)
		return
	}
	var types []row.Field
	o.fields, types = c.fields(n, o.in.scope())
	if o.in.value.Kind == row.Object && o.in.value.Fields != nil {
		o.out.value = o.in.value.With(types)
	}
}

func (c *checker) flatMapStep(o *operation, n *document.Node) {
	o.out.value = row.Of(row.Any)
	if o.program = c.expr(n, o.in.scope()); o.program == nil {
		return
	}
	switch t := o.program.Type; {
	case t.Kind == row.List && t.Elem != nil:
		o.out.value = t.Elem
	case t.Kind != row.List && t.Kind != row.Any:
		c.fault(n.Span, "expr.type", fmt.Sprintf("flat_map needs a list, this gives %s", t), "write [ … ], or split a text with split(value, \" \")")
	}
}

func (c *checker) rekeyStep(o *operation, n *document.Node) {
	o.out.key, o.out.keyFormat = row.Of(row.Any), "json"
	if o.program = c.expr(n, o.in.scope()); o.program == nil {
		return
	}
	format, ok := row.KeyFormat(o.program.Type)
	if !ok && !o.in.poisoned {
		c.unknownKey(n)
		return
	}
	o.out.key, o.out.keyFormat = o.program.Type.NotNull(), format
}

func (c *checker) unknownKey(n *document.Node) {
	c.fault(n.Span, "key.type", "the type of the key is not known", fmt.Sprintf("write string(%s) or int(%s), or declare `fields:`", n.Value, n.Value))
}

func (c *checker) aggregateStep(f *flow, o *operation, n *document.Node, e document.Entry) {
	store, name := e.Value.Get("store"), n.Get("name")
	switch {
	case store.Text() != "" && name.Text() != "" && store.Text() != name.Text():
		c.fault(store.Span, "step.name", fmt.Sprintf("the step is named %q and its store %q", name.Text(), store.Text()), "keep one of them")
	case store.Text() != "":
		o.name = store.Text()
		if name == nil {
			c.claim(store, o.name)
		}
	case name == nil && store == nil:
		c.fault(e.Key.Span, "step.unnamed", "aggregate has no name: it names the store and its topics, and the state is kept under it", fmt.Sprintf("add `store: %s`", c.propose(f)))
	}
	if list := e.Value.Get("fields"); list != nil && list.Kind == document.Mapping && len(list.Entries) == 0 {
		c.fault(list.Span, "aggregate.one", "the aggregate has no fields", "add one, as in `count: { count: true }`")
	}
	var types []row.Field
	for _, a := range entries(e.Value.Get("fields")) {
		agg, ok := c.aggregate(o, a)
		t := row.Of(row.Any)
		if ok {
			o.aggregates = append(o.aggregates, agg)
			t = agg.Result()
		}
		types = append(types, row.Field{Name: a.Key.Value, Type: t})
	}
	o.out.value = row.NewObject(types, false)
}

// propose makes a name for a step that lacks one: what it is by.
func (c *checker) propose(f *flow) string {
	by := "key"
	for _, o := range slices.Backward(f.operations) {
		if o.kind == "rekey" && o.program != nil {
			by = strings.Trim(nonLetters(o.program.Text()), "-")
			break
		}
	}
	name := f.name + "-by-" + by
	for i := 2; ; i++ {
		if _, taken := c.names[name]; !taken && c.find("table", name) == nil {
			return name
		}
		name = fmt.Sprintf("%s-by-%s-%d", f.name, by, i)
	}
}

// nonLetters makes a name of the last word of an expression.
func nonLetters(s string) string {
	words := strings.FieldsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_')
	})
	if len(words) == 0 || len(words[len(words)-1]) > 40 {
		return "key"
	}
	return words[len(words)-1]
}

// aggregate reads one field of an aggregate.
func (c *checker) aggregate(o *operation, e document.Entry) (row.Aggregate, bool) {
	agg := row.Aggregate{Field: e.Key.Value}
	if e.Value.Kind != document.Mapping {
		return agg, false
	}
	if len(e.Value.Entries) != 1 {
		c.fault(e.Value.Span, "aggregate.one", fmt.Sprintf("field %q has %d aggregates", agg.Field, len(e.Value.Entries)), "each field has one, as in `total: { sum: value.amount }`")
		return agg, false
	}
	fn := e.Value.Entries[0]
	kind, ok := row.AggregateNamed(fn.Key.Value)
	if !ok {
		return agg, false // unknown, reported by its shape
	}
	p := c.expr(fn.Value, o.in.scope())
	if p == nil {
		return agg, false
	}
	agg.Kind, agg.Arg = kind, p.Type
	if o.in.poisoned && p.Type.Kind == row.Any {
		return agg, false
	}
	if want := agg.Fault(); want != "" {
		help := fmt.Sprintf("convert it with float(%s) or int(%s), or declare its type in `fields:`", fn.Value.Value, fn.Value.Value)
		if p.Type.Kind != row.Any {
			help = ""
		}
		c.fault(fn.Value.Span, "aggregate.type", fmt.Sprintf("%s needs %s, this gives %s", kind, want, p.Type), help)
		return agg, false
	}
	o.fields = append(o.fields, field{agg.Field, p})
	return agg, true
}

func (c *checker) joinStep(f *flow, o *operation, n *document.Node, e document.Entry) {
	table := e.Value.Get("table")
	o.left = e.Value.Get("kind").Text() == "left"
	scope := o.in.scope()
	scope["table"] = row.Of(row.Any)
	switch {
	case table == nil && e.Value.Kind == document.Mapping && e.Value.Get("stream") == nil:
		c.fault(e.Key.Span, "join.table", "join names no table", diagnostic.Suggest("", c.inputNames("table")))
	case table.Text() != "":
		if o.table = c.joinTable(o, table); o.table != nil {
			scope["table"] = o.table.value
			if o.left {
				scope["table"] = o.table.value.OrNull()
			}
		}
	}
	if n.Get("name") == nil && table.Text() != "" {
		o.name = f.name + "-" + table.Text()
		if _, taken := c.names[o.name]; taken {
			c.fault(e.Key.Span, "step.unnamed", fmt.Sprintf("a join is named by its flow and table, and %q is taken", o.name), fmt.Sprintf("add `name: %s-2` beside join", o.name))
		}
		c.names[o.name] = e.Key.Span
	}
	var types []row.Field
	o.fields, types = c.fields(e.Value.Get("select"), scope)
	o.out.value = row.NewObject(types, false)
}

// joinTable finds the table, and checks that keys can meet.
func (c *checker) joinTable(o *operation, n *document.Node) *input {
	in := c.find("table", n.Text())
	if in == nil {
		help := diagnostic.Suggest(n.Text(), c.inputNames("table"))
		if c.find("stream", n.Text()) != nil {
			help = fmt.Sprintf("%q is a stream; declare its topic under `tables` to look records up", n.Text())
		}
		c.fault(n.Span, "ref", fmt.Sprintf("no table %q", n.Text()), help)
		return nil
	}
	in.used = true
	if in.keyFormat != o.in.keyFormat && !o.in.poisoned {
		convert := map[string]string{"string": "string(…)", "int": "int(…)", "float": "float(…)"}[in.keyFormat]
		help := ""
		if convert != "" {
			help = "before it, `rekey: " + convert + "`"
		}
		c.fault(n.Span, "join.key", fmt.Sprintf("keys of the stream are %s, those of table %q are %s: they would never meet", o.in.key, in.name, in.keyFormat), help)
	}
	return in
}
