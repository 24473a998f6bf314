package dsl

import (
	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/operators"
	"github.com/levada/levada/runtime/topology"
)

// Grouped is a stream whose records are to be brought together by key. Records
// without a key, and records with a null value, take no part and are counted
// as dropped.
type Grouped[K, V any] struct {
	stream *Stream[K, V]
}

// GroupByKey groups the records by the keys that they have.
func (s *Stream[K, V]) GroupByKey() *Grouped[K, V] { return &Grouped[K, V]{stream: s} }

// GroupBy groups the records by a new key. The step that follows repartitions
// the stream.
func GroupBy[K, V, K2 any](s *Stream[K, V], fn func(K, V) K2) *Grouped[K2, V] {
	at := callerOf()
	s.b.needs(at, "GroupBy", fn == nil)
	return &Grouped[K2, V]{stream: selectKey("groupBy", at, s, fn)}
}

// Count counts the records of each key.
func (g *Grouped[K, V]) Count(name string, opts ...Option) *Table[K, int64] {
	at := callerOf()
	s, b := g.stream, g.stream.b
	o := b.options(at, name, opts)
	store := operators.StoreConfig[K, int64]{Name: name, Key: s.key, Value: storedAs(b, at, name, o, serde.For[int64]()), OnCommit: o.onCommit}
	in, topics := partitioned(s, at, name, o, partitionedBy{dropNullKeys: true, keysOnly: true})
	return keep(b, at, "count", store, operators.Count[K, V](store), in, topics, nil)
}

// Reduce folds the values of each key: the first is the sum as it is, later
// ones are put to it by fn. sum belongs to fn, which may change and return it.
// A nil result deletes the key.
func (g *Grouped[K, V]) Reduce(name string, fn func(sum, v V) V, opts ...Option) *Table[K, V] {
	at := callerOf()
	s, b := g.stream, g.stream.b
	b.needs(at, "Reduce", fn == nil)
	o := b.options(at, name, opts)
	store := operators.StoreConfig[K, V]{Name: name, Key: s.key, Value: storedAs(b, at, name, o, s.value), OnCommit: o.onCommit}
	in, topics := partitioned(s, at, name, o, partitionedBy{dropNullKeys: true})
	return keep(b, at, "reduce", store, operators.Reduce(store, fn), in, topics, nil)
}

// Aggregate folds the values of each key into a value of another type: init
// makes the first, add puts a record to it. The aggregate belongs to add, which
// may change and return it. A nil result deletes the key.
func Aggregate[K, V, A any](g *Grouped[K, V], name string, init func() A, add func(k K, v V, sum A) A, opts ...Option) *Table[K, A] {
	at := callerOf()
	s, b := g.stream, g.stream.b
	b.needs(at, "Aggregate", init == nil || add == nil)
	o := b.options(at, name, opts)
	store := operators.StoreConfig[K, A]{Name: name, Key: s.key, Value: storedAs(b, at, name, o, serde.For[A]()), OnCommit: o.onCommit}
	in, topics := partitioned(s, at, name, o, partitionedBy{dropNullKeys: true})
	return keep(b, at, "aggregate", store, operators.Aggregate(store, init, add), in, topics, nil)
}

// partitionedBy says how records travel to the step that needs them by key.
type partitionedBy struct {
	dropNullKeys bool
	keysOnly     bool // the step does not look at values
}

// partitioned returns the step and the topics that bring the records of a key
// together. If keys have changed that is a repartition topic, put in here.
func partitioned[K, V any](s *Stream[K, V], at caller, name string, o options, by partitionedBy) (*step, []topology.Topic) {
	b := s.b
	if !s.rekeyed {
		return s.step, s.topics
	}
	topic := topology.Topic{Name: name + "-repartition", Kind: topology.Repartition, Partitions: int32(o.partitions)}
	value := s.value
	if by.keysOnly {
		value = nil
	}
	sink := operators.SinkConfig[K, V]{Key: s.key, ForwardKey: true, Value: value, ForwardValue: true, DropNullKeys: by.dropNullKeys}
	write := b.add("repartition", b.freeName(topic.Name), at, operators.Sink(sink), s.step)
	read := b.add("source", b.freeName(topic.Name+"-source"), at, operators.Source(topic.Name, s.key, value))
	b.parts.Sinks = append(b.parts.Sinks, &topology.Sink{Node: write.node, Topic: topic})
	b.parts.Sources = append(b.parts.Sources, &topology.Source{Node: read.node, Topic: topic})
	return read, []topology.Topic{topic}
}

// meet notes that records of several topics meet by key in a step.
func (b *Builder) meet(name string, topics []topology.Topic) {
	if len(topics) > 1 {
		b.parts.Copartitioned = append(b.parts.Copartitioned, topology.Copartition{Topics: topics, Node: name})
	}
}
