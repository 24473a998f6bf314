package dsl

import (
	"fmt"

	"github.com/levada/levada/operators"
	"github.com/levada/levada/runtime/topology"
)

// Builder collects a topology. It is not safe for concurrent use. A Builder
// builds one topology; make another one for another.
type Builder struct {
	parts    topology.Parts
	steps    []*step
	sources  map[string]*sourceStep
	names    map[string]caller // of stateful steps
	kinds    map[string]int    // nodes of each kind so far, to number them
	mistakes []Mistake
}

// NewBuilder returns an empty Builder.
func NewBuilder() *Builder {
	return &Builder{sources: map[string]*sourceStep{}, names: map[string]caller{}, kinds: map[string]int{}}
}

// step is a node with what the mistakes about it need.
type step struct {
	node *topology.Node
	at   caller
	// consumers counts what follows, mustFlow tells that something must.
	consumers int
	mustFlow  bool
}

// sourceStep is a topic that is read, with the serdes it is read by.
type sourceStep struct {
	*step
	source     *topology.Source
	key, value any
	types      string
}

// add appends a node. An empty name takes the kind and a number.
func (b *Builder) add(kind, name string, at caller, build operators.Build, inputs ...*step) *step {
	if name == "" {
		name = b.numbered(kind)
	}
	n := &topology.Node{Name: name, Kind: kind, Build: build}
	for _, in := range inputs {
		n.Inputs = append(n.Inputs, in.node)
		in.consumers++
	}
	s := &step{node: n, at: at}
	b.parts.Nodes = append(b.parts.Nodes, n)
	b.steps = append(b.steps, s)
	return s
}

// numbered makes up a name.
func (b *Builder) numbered(kind string) string {
	for {
		b.kinds[kind]++
		if name := fmt.Sprintf("%s-%d", kind, b.kinds[kind]); !b.nodeNamed(name) {
			return name
		}
	}
}

// Build checks everything and returns the topology, or a *BuildError with all
// mistakes.
func (b *Builder) Build() (*topology.Topology, error) {
	mistakes := append([]Mistake(nil), b.mistakes...)
	for _, s := range b.steps {
		if s.mustFlow && s.consumers == 0 {
			mistakes = append(mistakes, s.at.mistake(s.node.Name, "its result goes nowhere: write it with To, or call Discard"))
		}
	}
	if len(b.steps) == 0 && len(mistakes) == 0 {
		mistakes = append(mistakes, callerOf().mistake("", "the topology is empty: begin with Topic.Stream or Topic.Table"))
	}
	if len(mistakes) > 0 {
		sortMistakes(mistakes)
		return nil, &BuildError{Mistakes: mistakes}
	}
	return topology.New(b.parts)
}
