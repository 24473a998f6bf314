package dsl

import "fmt"

// claim notes the name of a stateful step and what is wrong with it.
func (b *Builder) claim(at caller, kind, name string) {
	if name == "" {
		b.fault(at, "", "%s has no name: it names the store and its topics", kind)
		return
	}
	if wrong := checkName(name, maxNameBytes); wrong != "" {
		b.fault(at, name, "the name %s", wrong)
	}
	if first, used := b.names[name]; used {
		b.fault(at, name, "the name is already used at %s; choose another", first)
		return
	}
	if b.nodeNamed(name) {
		b.fault(at, name, "the name is that of another step; choose another")
	}
	b.names[name] = at
}

// claimNode names a step that has a made-up name.
func (b *Builder) claimNode(at caller, name string, s *step) {
	switch {
	case name == "":
		b.fault(at, "", "Named: the name is empty")
	case len(s.node.Stores) > 0:
		b.fault(at, name, "Named: the step is named %q already, where it is made", s.node.Name)
	case b.nodeNamed(name):
		b.fault(at, name, "Named: another step has this name")
	default:
		s.node.Name = name
	}
}

func (b *Builder) nodeNamed(name string) bool {
	for _, n := range b.parts.Nodes {
		if n.Name == name {
			return true
		}
	}
	return false
}

// freeName returns name, with a number if it is taken.
func (b *Builder) freeName(name string) string {
	free := name
	for i := 2; b.nodeNamed(free); i++ {
		free = fmt.Sprintf("%s-%d", name, i)
	}
	return free
}

func branchName(parent string, i, preds int) string {
	if i == preds {
		return parent + "-rest"
	}
	return fmt.Sprintf("%s-%d", parent, i+1)
}

// needs notes that a function is missing.
func (b *Builder) needs(at caller, call string, missing bool) {
	if missing {
		b.fault(at, "", "%s: the function is nil", call)
	}
}
