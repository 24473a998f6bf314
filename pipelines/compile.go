package pipelines

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/levada/levada/dsl"
	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/pipelines/document"
	"github.com/levada/levada/pipelines/row"
	"github.com/levada/levada/pipelines/spec"
	"github.com/levada/levada/runtime"
	"github.com/levada/levada/runtime/topology"
)

type (
	stream = dsl.Stream[any, *row.Row]
	table  = dsl.Table[any, *row.Row]
	topic  = dsl.Topic[any, *row.Row]
)

// compiler turns checked flows into a topology.
type compiler struct {
	*checker
	builder *dsl.Builder
	pool    *machines
	types   map[string]*row.Type // one pointer for each type, so that serdes are equal
	streams map[*flow]*stream
	tables  map[string]*table
	kinds   map[string]string // of nodes, by name
	times   map[string]*input // inputs with a timestamp, by topic
	headers map[string]bool   // sink topics whose rows carry headers
	plan    *Plan
}

// compile makes the plan of a file without faults.
func (c *checker) compile() (*Plan, error) {
	x := &compiler{
		checker: c, builder: dsl.NewBuilder(), pool: newMachines(c.opts.Now), types: map[string]*row.Type{},
		streams: map[*flow]*stream{}, tables: map[string]*table{}, kinds: map[string]string{}, times: map[string]*input{}, headers: map[string]bool{},
		plan: &Plan{Name: c.root.Get("name").Text()},
	}
	for _, f := range c.flows {
		x.flow(f)
	}
	top, err := x.builder.Build()
	if err != nil {
		return nil, fmt.Errorf("the flows cannot be put together: %s", withoutPlaces(err))
	}
	x.decorate(top)
	x.plan.Topology = top
	x.settings()
	x.external()
	return x.plan, nil
}

// withoutPlaces leaves out the Go files that dsl names.
func withoutPlaces(err error) string {
	build, ok := err.(*dsl.BuildError)
	if !ok {
		return err.Error()
	}
	parts := make([]string, len(build.Mistakes))
	for i, m := range build.Mistakes {
		parts[i] = m.Text
		if m.Step != "" {
			parts[i] = fmt.Sprintf("step %q: %s", m.Step, m.Text)
		}
	}
	return strings.Join(parts, "; ")
}

func (x *compiler) valueSerde(format string, t *row.Type) serde.Serde[*row.Row] {
	switch format {
	case "text":
		return row.Text{}
	case "bytes":
		return row.Binary{}
	}
	name := t.String()
	if x.types[name] == nil {
		x.types[name] = t
	}
	return row.JSON{Type: x.types[name]}
}

func (x *compiler) topicOf(name string, in *input) topic {
	return dsl.NewTopic(name, row.KeySerde(in.keyFormat), x.valueSerde(in.format, in.value))
}

// flow builds a flow once, after those that it reads.
func (x *compiler) flow(f *flow) *stream {
	if s := x.streams[f]; s != nil {
		return s
	}
	var all []*stream
	for _, o := range f.sources {
		if o.flow != nil {
			all = append(all, x.flow(o.flow))
			continue
		}
		if o.input.timestamp != nil {
			x.times[o.topic] = o.input
		}
		x.needs(o.topic, false)
		all = append(all, x.topicOf(o.topic, o.input).Stream(x.builder))
	}
	s := all[0]
	if len(all) > 1 {
		s = s.Merge(all[1:]...)
		s = x.named(s, f.name+".merge", "merge")
	}
	for i := range f.operations {
		s = x.operation(s, &f.operations[i])
	}
	x.streams[f] = s
	for i := range f.targets {
		x.target(s, f, i)
	}
	return s
}

func (x *compiler) named(s *stream, name, kind string) *stream {
	x.kinds[name] = kind
	return s.Named(name)
}

// asKeyed gives a stream the serdes by which its records can travel and meet.
func (x *compiler) asKeyed(s *stream, st state) *stream {
	return s.WithSerdes(row.KeySerde(st.keyFormat), x.valueSerde("json", st.value))
}

func (x *compiler) operation(s *stream, o *operation) *stream {
	switch o.kind {
	case "filter":
		return x.named(dsl.ProcessValues(s, x.pool.filter(o)), o.name, o.kind)
	case "map":
		return x.named(dsl.ProcessValues(s, x.pool.mapValue(o)), o.name, o.kind)
	case "set":
		return x.named(dsl.ProcessValues(s, x.pool.set(o)), o.name, o.kind)
	case "flat_map":
		return x.named(dsl.ProcessValues(s, x.pool.flatMap(o)), o.name, o.kind)
	case "rekey":
		return x.named(dsl.Process(s, x.pool.rekey(o.program)), o.name, o.kind)
	case "aggregate":
		return x.aggregate(s, o)
	}
	return x.join(s, o)
}

func (x *compiler) aggregate(s *stream, o *operation) *stream {
	aggregates := &o.aggregates
	args := x.named(dsl.ProcessValues(s, x.pool.arguments(o)), o.name+".arguments", "arguments")
	args = args.WithSerdes(row.KeySerde(o.in.keyFormat), row.ArgsSerde{Aggregates: aggregates})
	sums := dsl.Aggregate(args.GroupByKey(), o.name,
		func() *row.Sums { return row.NewSums(len(*aggregates)) },
		func(_ any, r *row.Row, sum *row.Sums) *row.Sums {
			sum.Add(*aggregates, r.Value.([]any))
			return sum
		},
		dsl.StoredAs[*row.Sums](row.SumsSerde{Aggregates: aggregates}))
	results := dsl.MapValues(sums.Stream(), func(sum *row.Sums) *row.Row {
		if sum == nil {
			return nil
		}
		return sum.Row(*aggregates)
	})
	return x.named(results, o.name+".result", "result")
}

// joined is a record with its partner, on the way to the select of a join.
type joined struct {
	value, table *row.Row
}

func (x *compiler) join(s *stream, o *operation) *stream {
	s = x.asKeyed(s, o.in)
	t := x.tables[o.table.name]
	if t == nil {
		t = x.topicOf(o.table.topic, o.table).Table(x.builder, o.table.name)
		x.tables[o.table.name] = t
		x.needs(o.table.topic, true)
	}
	var pairs *dsl.Stream[any, *joined]
	if o.left {
		pairs = dsl.LeftJoin(s, t, o.name, func(v, w *row.Row, _ bool) *joined { return &joined{v, w} })
	} else {
		pairs = dsl.Join(s, t, o.name, func(v, w *row.Row) *joined { return &joined{v, w} })
	}
	return x.named(dsl.ProcessValues(pairs, x.pool.selected(o)), o.name+".select", "select")
}

// target writes a flow's results to a topic.
func (x *compiler) target(s *stream, f *flow, i int) {
	t := &f.targets[i]
	name := fmt.Sprintf("%s.to-%d", f.name, i+1)
	if len(t.headers) > 0 {
		s = x.named(dsl.ProcessValues(s, x.pool.headers(t.headers)), name+".headers", "headers")
		x.headers[t.topic] = true
	}
	if t.key != nil {
		s = x.named(dsl.Process(s, x.pool.rekey(t.key)), name+".key", "key")
	}
	x.needs(t.topic, false)
	s.To(dsl.NewTopic(t.topic, row.KeySerde(t.keyFormat), x.valueSerde(t.format, t.value)))
	if t.sink != nil {
		x.sink(t)
	}
}

// needs notes a topic that must exist.
func (x *compiler) needs(name string, compacted bool) {
	for i := range x.plan.Topics {
		if x.plan.Topics[i].Name == name {
			x.plan.Topics[i].Compacted = x.plan.Topics[i].Compacted || compacted
			return
		}
	}
	x.plan.Topics = append(x.plan.Topics, Topic{Name: name, Partitions: x.partitions(), Compacted: compacted})
}

func (x *compiler) partitions() int32 {
	if n, ok := x.root.Get("settings").Get("partitions").Int(); ok {
		return int32(n)
	}
	return defaultPartitions
}

func (x *compiler) settings() {
	s := x.root.Get("settings")
	x.plan.Guarantee = runtime.Guarantee(cmp.Or(s.Get("guarantee").Text(), string(runtime.ExactlyOnce)))
	x.plan.CommitInterval, _ = spec.ParseDuration(cmp.Or(s.Get("commit_interval").Text(), "100ms"))
	x.plan.Workers = 1
	if n, ok := s.Get("workers").Int(); ok {
		x.plan.Workers = int(n)
	}
	on, topic := errorsOf(x.root.Get("errors"))
	x.plan.OnError, x.plan.DeadLetterTopic = runtime.OnError(cmp.Or(on, string(runtime.Fail))), topic
}

func errorsOf(n *document.Node) (on, topic string) {
	if n != nil && n.Kind == document.Mapping {
		return n.Get("on_error").Text(), n.Get("topic").Text()
	}
	return n.Text(), ""
}

// external notes the sources, one for each topic that they write.
func (x *compiler) external() {
	for _, conn := range x.connectors {
		if conn.kind != "source" {
			continue
		}
		in := x.find("source", conn.name)
		topics := []string{in.topic}
		if strings.Contains(in.topic, "{table}") {
			topics = nil
		}
		for _, f := range x.flows {
			for _, o := range f.sources {
				if o.input == in && !slices.Contains(topics, o.topic) {
					topics = append(topics, o.topic)
				}
			}
		}
		for _, topic := range topics {
			x.needs(topic, false)
			x.plan.Sources = append(x.plan.Sources, x.connector(conn, topic, ""))
		}
	}
	slices.SortFunc(x.plan.Topics, func(a, b Topic) int { return strings.Compare(a.Name, b.Name) })
}

// sink notes a sink, once for each topic.
func (x *compiler) sink(t *target) {
	for _, s := range x.plan.Sinks {
		if s.Topic == t.topic {
			return
		}
	}
	x.plan.Sinks = append(x.plan.Sinks, x.connector(t.sink, t.topic, t.table))
}

func (x *compiler) connector(conn *connector, topic, table string) Connector {
	out := Connector{
		Name: x.plan.Name + "-" + conn.name, Plugin: conn.plugin, Topic: topic, Partitions: x.partitions(),
		Config: configJSON(conn.node.Get("config"), table),
	}
	if table != "" {
		out.Name += "-" + table
	}
	if out.OnError, out.DeadLetterTopic = errorsOf(conn.node.Get("errors")); out.OnError == "" {
		out.OnError, out.DeadLetterTopic = errorsOf(x.root.Get("errors"))
		out.OnError = cmp.Or(out.OnError, string(runtime.Fail))
	}
	return out
}

// decorate finishes the nodes for which dsl has no words: sources with a
// timestamp, sinks of rows with headers, and the kinds that people know.
func (x *compiler) decorate(top *topology.Topology) {
	for _, sub := range top.Subtopologies {
		for _, n := range sub.Nodes {
			if kind := x.kinds[n.Name]; kind != "" {
				n.Kind = kind
			}
		}
		for _, s := range sub.Sources {
			if in := x.times[s.Topic.Name]; in != nil && s.Topic.Kind == topology.External {
				s.Node.Build = x.pool.timed(s.Node.Build, in.timestamp)
				s.Node.Detail = "timestamp by expression"
			}
		}
		for _, s := range sub.Sinks {
			if x.headers[s.Topic.Name] && s.Topic.Kind == topology.External {
				s.Node.Build = withHeaders(s.Node.Build)
			}
		}
	}
}
