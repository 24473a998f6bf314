package operators_test

import (
	"strings"
	"testing"

	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/operators"
	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// plan collects the parts of a topology that is wired by hand.
type plan struct{ topology.Parts }

func (p *plan) node(name string, build operators.Build, stores []string, inputs ...*topology.Node) *topology.Node {
	n := &topology.Node{Name: name, Kind: "test", Inputs: inputs, Stores: stores, Build: build}
	p.Nodes = append(p.Nodes, n)
	return n
}

func (p *plan) source(topic string) *topology.Node {
	n := p.node("read "+topic, operators.Source(topic, text, text), nil)
	p.Sources = append(p.Sources, &topology.Source{Node: n, Topic: topology.Topic{Name: topic}})
	return n
}

func (p *plan) sink(topic string, build operators.Build, input *topology.Node) {
	n := p.node("write "+topic, build, nil, input)
	p.Sinks = append(p.Sinks, &topology.Sink{Node: n, Topic: topology.Topic{Name: topic}})
}

func (p *plan) store(name string, create func(*statestore.Partition) (statestore.Store, error)) {
	p.Stores = append(p.Stores, &topology.Store{Name: name, New: create, Changelog: topology.Topic{Name: name, Kind: topology.Changelog}})
}

var text = serde.String{}

// build makes the only task of the plan, over stores in memory.
func (p *plan) build(t testing.TB, out topology.Output) (*topology.Task, error) {
	t.Helper()
	top, err := topology.New(p.Parts)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := statestore.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	var open []*statestore.Partition
	t.Cleanup(func() {
		for _, part := range open {
			if err := part.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return top.Subtopologies[0].NewTask(&topology.Context{Out: out, StreamTime: -1}, func(s *topology.Store) (*statestore.Partition, error) {
		part, err := engine.Open(statestore.ID{App: "test", Store: s.Name})
		if err == nil {
			open = append(open, part)
		}
		return part, err
	})
}

// TestWrongWiring: types meet when a task is built; what does not fit is an
// error that names the node and both types, never a panic at the first record.
func TestWrongWiring(t *testing.T) {
	numbers := operators.StoreConfig[string, int64]{Name: "store", Key: text, Value: serde.Int64{}}
	sink := operators.Sink(operators.SinkConfig[string, string]{Key: text, Value: text})
	upper := operators.MapValues(func(_, v string) string { return strings.ToUpper(v) }, false)
	for _, test := range []struct {
		name string
		make func(p *plan)
		want []string // parts of the error
	}{
		{"another type of value", func(p *plan) {
			length := operators.MapValues(func(_, v string) int { return len(v) }, false)
			p.sink("out", sink, p.node("length", length, nil, p.source("in")))
		}, []string{`"length"`, "[string,int]", "[string,string]"}},
		{"another type of key", func(p *plan) {
			byLength := operators.SelectKey(func(_, v string) int { return len(v) })
			p.sink("out", sink, p.node("by length", byLength, nil, p.source("in")))
		}, []string{`"by length"`, "[int,string]", "[string,string]"}},
		{"store of another type", func(p *plan) {
			p.store("store", operators.StoreConfig[string, string]{Name: "store", Key: text, Value: text}.NewStore)
			p.node("count", operators.Count[string, string](numbers), []string{"store"}, p.source("in"))
		}, []string{`"count"`, `"store"`, "int64"}},
		{"branch without branches", func(p *plan) {
			split := operators.Branch([]func(string, string) bool{func(string, string) bool { return true }})
			p.sink("out", sink, p.node("split", split, nil, p.source("in")))
		}, []string{`"split"`, "want a branch"}},
		{"branch beyond the last", func(p *plan) {
			split := operators.Branch([]func(string, string) bool{func(string, string) bool { return true }})
			n := p.node("split", split, nil, p.source("in"))
			p.sink("out", sink, p.node("third", operators.BranchOf[string, string](2), nil, n))
		}, []string{`"split"`, "want a branch"}},
		{"try without its outputs", func(p *plan) {
			try := operators.Try(func(_, v string) (string, error) { return v, nil })
			p.node("upper", upper, nil, p.node("try", try, nil, p.source("in")))
		}, []string{`"try"`, "want an output of try"}},
		{"sink that is none", func(p *plan) {
			p.node("to nowhere", sink, nil, p.source("in"))
		}, []string{`"to nowhere"`, "is not a sink"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var p plan
			test.make(&p)
			_, err := p.build(t, nil)
			if err == nil {
				t.Fatal("the task was built")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not name %s", err, part)
				}
			}
		})
	}
}
