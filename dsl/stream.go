package dsl

import (
	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/operators"
	"github.com/levada/levada/runtime/topology"
)

// Stream is an endless sequence of records with keys and values. Every method
// leaves it as it is and returns another one; a stream can be used many times.
type Stream[K, V any] struct {
	b     *Builder
	step  *step
	key   serde.Serde[K]
	value serde.Serde[V]
	// rekeyed: keys have changed since the records were partitioned.
	rekeyed bool
	// topics are those whose partitions the records lie in.
	topics []topology.Topic
}

// Pair is a key with its value, as FlatMap returns them.
type Pair[K, V any] = operators.Pair[K, V]

// then adds a step whose records have the keys and values of s.
func (s *Stream[K, V]) then(kind string, at caller, build operators.Build) *Stream[K, V] {
	out := *s
	out.step = s.b.add(kind, "", at, build, s.step)
	out.step.mustFlow = true
	return &out
}

// Named gives the last step a name, for Describe and for messages about
// records. Stateful steps have theirs already.
func (s *Stream[K, V]) Named(name string) *Stream[K, V] {
	at := callerOf()
	s.b.claimNode(at, name, s.step)
	return s
}

// WithSerdes sets the serdes of keys and values, for the steps that follow.
// Without it they are those of the topic while the type stays the same, and
// those of serde.For after a step that makes new keys or values.
func (s *Stream[K, V]) WithSerdes(key serde.Serde[K], value serde.Serde[V]) *Stream[K, V] {
	at := callerOf()
	if key == nil || value == nil {
		s.b.fault(at, "", "WithSerdes: a serde is nil")
		return s
	}
	sameKey, sameValue := serde.Equal(s.key, key), serde.Equal(s.value, value)
	if sameKey && sameValue {
		return s
	}
	out := s.then("withSerdes", at, operators.Pass[K, V](sameKey, sameValue))
	out.key, out.value = key, value
	out.rekeyed = out.rekeyed || !sameKey
	return out
}

// Filter passes the records for which keep returns true. It is called for null
// values too: with nil, or the zero value of a type that has no nil.
func (s *Stream[K, V]) Filter(keep func(K, V) bool) *Stream[K, V] {
	at := callerOf()
	s.b.needs(at, "Filter", keep == nil)
	return s.then("filter", at, operators.Filter(keep))
}

// FilterNot passes the records for which drop returns false.
func (s *Stream[K, V]) FilterNot(drop func(K, V) bool) *Stream[K, V] {
	at := callerOf()
	s.b.needs(at, "FilterNot", drop == nil)
	return s.then("filterNot", at, operators.Filter(func(k K, v V) bool { return !drop(k, v) }))
}

// Peek calls see with each record and passes it on. It may be called again for
// the same record after a failure. A stream may end in Peek.
func (s *Stream[K, V]) Peek(see func(K, V)) *Stream[K, V] {
	at := callerOf()
	s.b.needs(at, "Peek", see == nil)
	out := s.then("peek", at, operators.Peek(see))
	out.step.mustFlow = false
	return out
}

// Merge passes the records of all the streams. Those of one stream stay in
// order; there is no order between streams.
func (s *Stream[K, V]) Merge(others ...*Stream[K, V]) *Stream[K, V] {
	at := callerOf()
	if len(others) == 0 {
		s.b.fault(at, "", "Merge: no other stream is given")
	}
	out := *s
	out.topics = nil
	var inputs []*step
	for _, o := range append([]*Stream[K, V]{s}, others...) {
		if o == nil || o.b != s.b {
			s.b.fault(at, "", "Merge: a stream is nil or of another Builder")
			continue
		}
		in := o.step
		if sameKey, sameValue := serde.Equal(s.key, o.key), serde.Equal(s.value, o.value); !sameKey || !sameValue {
			in = s.b.add("withSerdes", "", at, operators.Pass[K, V](sameKey, sameValue), o.step)
			out.rekeyed = out.rekeyed || !sameKey
		}
		inputs = append(inputs, in)
		out.rekeyed = out.rekeyed || o.rekeyed
		out.topics = addTopics(out.topics, o.topics)
	}
	out.step = s.b.add("merge", "", at, operators.Pass[K, V](true, true), inputs...)
	out.step.mustFlow = true
	return &out
}

// Branch sends each record to the stream of the first predicate that returns
// true. It returns one stream for each predicate, and as the last one the
// stream of the records that none took. Each must be used; call Discard on
// those that are not wanted.
func (s *Stream[K, V]) Branch(preds ...func(K, V) bool) []*Stream[K, V] {
	at := callerOf()
	for _, p := range preds {
		s.b.needs(at, "Branch", p == nil)
	}
	if len(preds) == 0 {
		s.b.fault(at, "", "Branch: no predicate is given")
	}
	parent := s.b.add("branch", "", at, operators.Branch(preds), s.step)
	streams := make([]*Stream[K, V], len(preds)+1)
	for i := range streams {
		out := *s
		out.step = s.b.add("branch-output", branchName(parent.node.Name, i, len(preds)), at, operators.BranchOf[K, V](i), parent)
		out.step.mustFlow = true
		streams[i] = &out
	}
	return streams
}

// Discard says that the records are not wanted any further. Without it a
// stream that is not used is a mistake.
func (s *Stream[K, V]) Discard() { s.step.mustFlow = false }

// To writes the records to a topic.
func (s *Stream[K, V]) To(t Topic[K, V]) {
	at := callerOf()
	if !t.check(s.b, at) {
		s.step.consumers++
		return
	}
	sink := s.b.add("sink", s.b.freeName("to-"+t.name), at, operators.Sink(operators.SinkConfig[K, V]{
		Key: t.key, Value: t.value,
		ForwardKey: serde.Equal(s.key, t.key), ForwardValue: serde.Equal(s.value, t.value),
	}), s.step)
	s.b.parts.Sinks = append(s.b.parts.Sinks, &topology.Sink{Node: sink.node, Topic: t.plan()})
}

// addTopics adds the topics that are not there yet.
func addTopics(to, more []topology.Topic) []topology.Topic {
	to = append([]topology.Topic(nil), to...)
	for _, t := range more {
		known := false
		for _, have := range to {
			known = known || have == t
		}
		if !known {
			to = append(to, t)
		}
	}
	return to
}
