package dsl

import (
	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/operators"
	"github.com/levada/levada/runtime/topology"
)

// Join gives each record of the stream the table's value for its key, as it is
// when the record is processed; records without one are gone. Changes of the
// table emit nothing. Records without a key or with a null value are dropped.
// The result has the timestamp of the stream's record. fn must not change the
// table's value. If keys of the stream have changed it is repartitioned, by
// the topic `<name>-repartition`.
func Join[K, V, W, R any](s *Stream[K, V], t *Table[K, W], name string, fn func(V, W) R) *Stream[K, R] {
	at := callerOf()
	s.b.needs(at, "Join", fn == nil)
	return joinTable("join", at, s, t, name, false, func(v V, w W, _ bool) R { return fn(v, w) })
}

// LeftJoin is Join, but keeps every record of the stream that has a value: fn
// is told whether the table holds one for its key. A record without a key has
// no partner.
func LeftJoin[K, V, W, R any](s *Stream[K, V], t *Table[K, W], name string, fn func(v V, w W, found bool) R) *Stream[K, R] {
	at := callerOf()
	s.b.needs(at, "LeftJoin", fn == nil)
	return joinTable("leftJoin", at, s, t, name, true, fn)
}

func joinTable[K, V, W, R any](kind string, at caller, s *Stream[K, V], t *Table[K, W], name string, left bool, fn func(V, W, bool) R) *Stream[K, R] {
	b := s.b
	b.claim(at, kind, name)
	if t.b != b {
		b.fault(at, name, "the table is of another Builder")
		return withValues[K, V, R](s, b.add(kind, "", at, nil, s.step))
	}
	if t.onCommit && comesFrom(s.step.node, t.step.node) {
		b.fault(at, name, "the stream is made of what table %q emits on commit, and so cannot be joined with that table", t.name)
	}
	if !serde.Equal(s.key, t.key) {
		if !s.rekeyed {
			b.fault(at, name, "the stream's keys are written as %s and the table's as %s, so they would not meet: call WithSerdes on the stream", serde.Name(s.key), serde.Name(t.key))
		}
		s = s.WithSerdes(t.key, s.value)
	}
	in, topics := partitioned(s, at, name, options{}, partitionedBy{dropNullKeys: !left})
	topics = addTopics(topics, t.topics)
	b.meet(name, topics)
	build := operators.JoinTable(operators.JoinConfig[K]{Store: t.name, Key: t.key, Left: left}, fn)
	st := b.add(kind, name, at, build, in)
	st.node.Stores = []string{t.name}
	out := withValues[K, V, R](s, st)
	out.rekeyed, out.topics = false, topics
	return out
}

// comesFrom tells whether n is origin or follows it without a repartition.
func comesFrom(n, origin *topology.Node) bool {
	if n == origin {
		return true
	}
	for _, in := range n.Inputs {
		if comesFrom(in, origin) {
			return true
		}
	}
	return false
}
