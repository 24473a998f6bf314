package topology

import (
	"errors"
	"fmt"
	"slices"
)

// Parts is what a topology is made of, before it is cut.
type Parts struct {
	// Nodes are in topological order: inputs before outputs.
	Nodes         []*Node
	Sources       []*Source
	Sinks         []*Sink
	Stores        []*Store
	Copartitioned []Copartition
}

// New cuts parts into subtopologies, numbered by their first node, and checks
// the plan. Nodes belong together if they are joined by an edge, use the same
// store, or read topics that must be partitioned alike. It reports every fault.
func New(p Parts) (*Topology, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	group := p.groups()
	top := &Topology{}
	subs := map[*Node]*Subtopology{}
	for _, n := range p.Nodes {
		root := group.find(n)
		sub := subs[root]
		if sub == nil {
			sub = &Subtopology{ID: len(top.Subtopologies)}
			subs[root] = sub
			top.Subtopologies = append(top.Subtopologies, sub)
		}
		sub.Nodes = append(sub.Nodes, n)
	}
	for _, s := range p.Sources {
		sub := subs[group.find(s.Node)]
		sub.Sources = append(sub.Sources, s)
	}
	for _, s := range p.Sinks {
		sub := subs[group.find(s.Node)]
		sub.Sinks = append(sub.Sinks, s)
	}
	for _, s := range p.Stores {
		sub := subs[group.find(p.user(s.Name))]
		sub.Stores = append(sub.Stores, s)
	}
	for _, c := range p.Copartitioned {
		sub := subs[group.find(p.reader(c.Topics[0].Name))]
		sub.Copartitioned = append(sub.Copartitioned, c)
	}
	return top, nil
}

// groups joins the nodes that must be in one subtopology.
func (p *Parts) groups() *forest {
	group := &forest{parent: map[*Node]*Node{}}
	for _, n := range p.Nodes {
		for _, in := range n.Inputs {
			group.union(in, n)
		}
		for _, name := range n.Stores {
			group.union(p.user(name), n)
		}
	}
	for _, c := range p.Copartitioned {
		for _, t := range c.Topics {
			group.union(p.reader(c.Topics[0].Name), p.reader(t.Name))
		}
	}
	return group
}

// user is the first node that uses the store.
func (p *Parts) user(store string) *Node {
	for _, n := range p.Nodes {
		if slices.Contains(n.Stores, store) {
			return n
		}
	}
	return nil
}

// reader is the node that reads the topic.
func (p *Parts) reader(topic string) *Node {
	for _, s := range p.Sources {
		if s.Topic.Name == topic {
			return s.Node
		}
	}
	return nil
}

// check reports all that is wrong with the parts.
func (p *Parts) check() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("topology: "+format, args...)) }
	if len(p.Nodes) == 0 {
		fault("it has no nodes")
	}
	p.checkNodes(fault)
	p.checkTopics(fault)
	p.checkStores(fault)
	for _, c := range p.Copartitioned {
		if len(c.Topics) < 2 {
			fault("node %q: fewer than two topics to be partitioned alike", c.Node)
		}
		for _, t := range c.Topics {
			if p.reader(t.Name) == nil {
				fault("node %q: topic %q, to be partitioned like others, is not read", c.Node, t.Name)
			}
		}
	}
	return errors.Join(errs...)
}

func (p *Parts) checkNodes(fault func(string, ...any)) {
	seen := map[*Node]bool{}
	names := map[string]bool{}
	for _, n := range p.Nodes {
		switch {
		case n.Name == "":
			fault("a %s node has no name", n.Kind)
		case names[n.Name]:
			fault("two nodes are named %q", n.Name)
		}
		if n.Build == nil {
			fault("node %q has no Build", n.Name)
		}
		for _, in := range n.Inputs {
			if !seen[in] {
				fault("node %q comes before its input", n.Name)
			}
		}
		names[n.Name], seen[n] = true, true
	}
	for _, s := range p.Sources {
		if !seen[s.Node] || len(s.Node.Inputs) > 0 {
			fault("the source of topic %q is not a node without inputs", s.Topic.Name)
		}
	}
	for _, s := range p.Sinks {
		if !seen[s.Node] {
			fault("the sink of topic %q is not among the nodes", s.Topic.Name)
		}
	}
	for _, n := range p.Nodes {
		isSource := slices.ContainsFunc(p.Sources, func(s *Source) bool { return s.Node == n })
		if len(n.Inputs) == 0 && !isSource {
			fault("node %q has no input and is no source", n.Name)
		}
	}
}

func (p *Parts) checkTopics(fault func(string, ...any)) {
	written, read := map[string]bool{}, map[string]bool{}
	for _, s := range p.Sinks {
		if s.Topic.Kind == Changelog {
			fault("node %q writes to changelog %q", s.Node.Name, s.Topic.Name)
		}
		written[s.Topic.Name] = true
	}
	for _, s := range p.Sources {
		if read[s.Topic.Name] {
			fault("topic %q has two sources", s.Topic.Name)
		}
		read[s.Topic.Name] = true
		if s.Topic.Kind == Repartition && !written[s.Topic.Name] {
			fault("repartition topic %q is read and never written", s.Topic.Name)
		}
	}
	for _, s := range p.Sinks {
		if s.Topic.Kind == Repartition && !read[s.Topic.Name] {
			fault("repartition topic %q is written and never read", s.Topic.Name)
		}
	}
}

func (p *Parts) checkStores(fault func(string, ...any)) {
	names := map[string]bool{}
	for _, s := range p.Stores {
		if names[s.Name] {
			fault("two stores are named %q", s.Name)
		}
		names[s.Name] = true
		if s.New == nil {
			fault("store %q has no New", s.Name)
		}
		if p.user(s.Name) == nil {
			fault("store %q is used by no node", s.Name)
		}
		if s.SourceTopic != nil && p.reader(s.SourceTopic.Name) == nil {
			fault("store %q has topic %q as its source, which is not read", s.Name, s.SourceTopic.Name)
		}
	}
	for _, n := range p.Nodes {
		for _, name := range n.Stores {
			if !names[name] {
				fault("node %q uses store %q, which does not exist", n.Name, name)
			}
		}
	}
}

// forest is a union-find over nodes.
type forest struct{ parent map[*Node]*Node }

func (f *forest) find(n *Node) *Node {
	for f.parent[n] != nil {
		n = f.parent[n]
	}
	return n
}

func (f *forest) union(a, b *Node) {
	if ra, rb := f.find(a), f.find(b); ra != rb {
		f.parent[rb] = ra
	}
}
