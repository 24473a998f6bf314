package topology_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// trace is a Build that notes the order, and passes on what follows.
func trace(log *[]string) func(*topology.TaskBuilder, []topology.Edge) (any, error) {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		*log = append(*log, t.Node().Name)
		var next []func() error
		for _, e := range down {
			next = append(next, e.To.(func() error))
		}
		name := t.Node().Name
		fn := func() error {
			*log = append(*log, "at "+name)
			for _, f := range next {
				if err := f(); err != nil {
					return err
				}
			}
			return nil
		}
		if len(t.Node().Inputs) == 0 {
			return topology.BatchFunc(func(rs []topology.Record) (int, error) { return len(rs), fn() }), nil
		}
		t.OnCommit(func() error { *log = append(*log, "commit "+name); return nil })
		return fn, nil
	}
}

// parts is source -> a, b -> sink, with a store in a.
func parts(log *[]string) topology.Parts {
	build := trace(log)
	src := &topology.Node{Name: "src", Kind: "source", Build: build}
	a := &topology.Node{Name: "a", Kind: "keep", Inputs: []*topology.Node{src}, Stores: []string{"kept"}, Build: build}
	b := &topology.Node{Name: "b", Kind: "map", Inputs: []*topology.Node{src}, Build: build}
	sink := &topology.Node{Name: "sink", Kind: "sink", Inputs: []*topology.Node{a, b}, Build: build, Detail: "detail"}
	return topology.Parts{
		Nodes:   []*topology.Node{src, a, b, sink},
		Sources: []*topology.Source{{Node: src, Topic: topology.Topic{Name: "in"}}},
		Sinks:   []*topology.Sink{{Node: sink, Topic: topology.Topic{Name: "out"}}},
		Stores: []*topology.Store{{
			Name: "kept", Changelog: topology.Topic{Name: "kept-changelog", Kind: topology.Changelog},
			New: func(p *statestore.Partition) (statestore.Store, error) {
				return statestore.NewKeyValue("kept", p, codec{}), nil
			},
		}},
	}
}

type codec struct{}

func (codec) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }

func (codec) Decode(b []byte) (string, error) { return string(b), nil }

func memory(t *testing.T) func(*topology.Store) (*statestore.Partition, error) {
	t.Helper()
	engine, err := statestore.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	var open []*statestore.Partition
	t.Cleanup(func() {
		for _, p := range open {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(s *topology.Store) (*statestore.Partition, error) {
		p, err := engine.Open(statestore.ID{App: "test", Store: s.Name})
		open = append(open, p)
		return p, err
	}
}

// TestTask: nodes are built from the sinks up, records walk down every edge,
// and commits run in topological order.
func TestTask(t *testing.T) {
	var log []string
	top, err := topology.New(parts(&log))
	if err != nil {
		t.Fatal(err)
	}
	ctx := &topology.Context{Offset: 5}
	task, err := top.Subtopologies[0].NewTask(ctx, memory(t))
	if err != nil {
		t.Fatal(err)
	}
	want := func(what, want string) {
		t.Helper()
		if got := strings.Join(log, ", "); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
		log = nil
	}
	want("build", "sink, b, a, src")
	if n, err := task.Sources["in"](make([]topology.Record, 1)); n != 1 || err != nil {
		t.Errorf("process: %d, %v", n, err)
	}
	want("process", "at src, at a, at sink, at b, at sink")
	if err := task.Commit(); err != nil {
		t.Error(err)
	}
	want("commit", "commit a, commit b, commit sink")
	if ctx.Offset != -1 {
		t.Errorf("during a commit the offset is %d, want -1", ctx.Offset)
	}
	if len(task.Stores) != 1 || task.Stores[0].Name() != "kept" {
		t.Errorf("stores: %v", task.Stores)
	}
}

func TestTaskErrors(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name   string
		change func(p *topology.Parts)
		want   string
	}{
		{"store", func(p *topology.Parts) {
			p.Stores[0].New = func(*statestore.Partition) (statestore.Store, error) { return nil, boom }
		}, `store "kept": boom`},
		{"node", func(p *topology.Parts) {
			p.Nodes[3].Build = func(*topology.TaskBuilder, []topology.Edge) (any, error) { return nil, boom }
		}, `node "sink": boom`},
		{"no such store", func(p *topology.Parts) {
			p.Nodes[3].Build = func(t *topology.TaskBuilder, _ []topology.Edge) (any, error) { return t.Store("other") }
		}, `node "sink": topology: node "sink" uses store "other", which subtopology 0 does not have`},
		{"no sink", func(p *topology.Parts) {
			p.Nodes[2].Build = func(t *topology.TaskBuilder, _ []topology.Edge) (any, error) { return t.SinkIndex() }
		}, `node "b": topology: node "b" is not a sink`},
		{"source that is none", func(p *topology.Parts) {
			p.Nodes[0].Build = func(*topology.TaskBuilder, []topology.Edge) (any, error) { return 1, nil }
		}, `topology: source "src" built a int, not a BatchFunc`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log []string
			p := parts(&log)
			c.change(&p)
			top, err := topology.New(p)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := top.Subtopologies[0].NewTask(&topology.Context{}, memory(t)); err == nil || err.Error() != c.want {
				t.Errorf("NewTask: %v, want %s", err, c.want)
			}
		})
	}
}

// TestFaults breaks a good plan in one way a case.
func TestFaults(t *testing.T) {
	repartition := topology.Topic{Name: "r", Kind: topology.Repartition}
	for _, c := range []struct {
		name   string
		change func(p *topology.Parts)
		want   string
	}{
		{"empty", func(p *topology.Parts) { *p = topology.Parts{} }, "topology: it has no nodes"},
		{"name twice", func(p *topology.Parts) { p.Nodes[2].Name = "a" }, `topology: two nodes are named "a"`},
		{"no name", func(p *topology.Parts) { p.Nodes[2].Name = "" }, "topology: a map node has no name"},
		{"no build", func(p *topology.Parts) { p.Nodes[2].Build = nil }, `topology: node "b" has no Build`},
		{"order", func(p *topology.Parts) { p.Nodes[2], p.Nodes[3] = p.Nodes[3], p.Nodes[2] }, `topology: node "sink" comes before its input`},
		{"no input", func(p *topology.Parts) { p.Nodes[2].Inputs = nil }, `topology: node "b" has no input and is no source`},
		{"source with inputs", func(p *topology.Parts) {
			p.Sources = append(p.Sources, &topology.Source{Node: p.Nodes[1], Topic: topology.Topic{Name: "x"}})
		}, `topology: the source of topic "x" is not a node without inputs`},
		{"foreign sink", func(p *topology.Parts) { p.Sinks[0].Node = &topology.Node{Name: "other"} }, `topology: the sink of topic "out" is not among the nodes`},
		{"topic read twice", func(p *topology.Parts) { p.Sources = append(p.Sources, p.Sources[0]) }, `topology: topic "in" has two sources`},
		{"changelog written", func(p *topology.Parts) { p.Sinks[0].Topic.Kind = topology.Changelog }, `topology: node "sink" writes to changelog "out"`},
		{"repartition not read", func(p *topology.Parts) { p.Sinks[0].Topic = repartition }, `topology: repartition topic "r" is written and never read`},
		{"repartition not written", func(p *topology.Parts) { p.Sources[0].Topic = repartition }, `topology: repartition topic "r" is read and never written`},
		{"store twice", func(p *topology.Parts) { p.Stores = append(p.Stores, p.Stores[0]) }, `topology: two stores are named "kept"`},
		{"store not used", func(p *topology.Parts) { p.Nodes[1].Stores = nil }, `topology: store "kept" is used by no node`},
		{"store missing", func(p *topology.Parts) { p.Stores = nil }, `topology: node "a" uses store "kept", which does not exist`},
		{"store without New", func(p *topology.Parts) { p.Stores[0].New = nil }, `topology: store "kept" has no New`},
		{"store of a topic not read", func(p *topology.Parts) { p.Stores[0].SourceTopic = &repartition }, `topology: store "kept" has topic "r" as its source, which is not read`},
		{"alike alone", func(p *topology.Parts) {
			p.Copartitioned = []topology.Copartition{{Topics: []topology.Topic{{Name: "in"}}, Node: "j"}}
		}, `topology: node "j": fewer than two topics to be partitioned alike`},
		{"alike not read", func(p *topology.Parts) {
			p.Copartitioned = []topology.Copartition{{Topics: []topology.Topic{{Name: "in"}, {Name: "x"}}, Node: "j"}}
		}, `topology: node "j": topic "x", to be partitioned like others, is not read`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log []string
			p := parts(&log)
			c.change(&p)
			if _, err := topology.New(p); err == nil || err.Error() != c.want {
				t.Errorf("New: %v, want %s", err, c.want)
			}
		})
	}
}

// TestCut: edges, stores and topics that meet hold a subtopology together;
// topics that join two parts do not.
func TestCut(t *testing.T) {
	var log []string
	build := trace(&log)
	node := func(name string, inputs ...*topology.Node) *topology.Node {
		return &topology.Node{Name: name, Kind: "kind", Inputs: inputs, Build: build}
	}
	p := parts(&log)
	x, y, z := node("x"), node("y"), node("z")
	w := node("w", p.Nodes[3])
	user := node("user", x)
	user.Stores = []string{"kept"}
	via := topology.Topic{Name: "via", Kind: topology.Repartition, Partitions: 3}
	p.Nodes = append(p.Nodes, w, x, user, y, z)
	p.Sinks = append(p.Sinks, &topology.Sink{Node: w, Topic: via})
	p.Sources = append(
		p.Sources,
		&topology.Source{Node: x, Topic: topology.Topic{Name: "xs"}, Reset: topology.Latest},
		&topology.Source{Node: y, Topic: topology.Topic{Name: "ys"}},
		&topology.Source{Node: z, Topic: via},
	)
	p.Copartitioned = []topology.Copartition{{Topics: []topology.Topic{{Name: "ys"}, via}, Node: "z"}}
	top, err := topology.New(p)
	if err != nil {
		t.Fatal(err)
	}
	want := `subtopology 0
  src: source of topic in from earliest
  a: keep <- src [store kept]
  b: map <- src
  sink: sink <- a, b to topic out (detail)
  w: kind <- sink to repartition topic via of 3 partitions
  x: kind of topic xs from latest
  user: kind <- x [store kept]
  store kept: changelog kept-changelog

subtopology 1
  y: kind of topic ys from earliest
  z: kind of repartition topic via of 3 partitions
  partitioned alike for z: ys, via
`
	if got := top.Describe(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestFullName(t *testing.T) {
	for kind, want := range map[topology.TopicKind]string{
		topology.External: "t", topology.Repartition: "app-t", topology.Changelog: "app-t",
	} {
		if got := (topology.Topic{Name: "t", Kind: kind}).FullName("app"); got != want {
			t.Errorf("%s topic t of app is %q, want %q", kind, got, want)
		}
	}
}
