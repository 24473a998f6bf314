package dsl

import (
	"fmt"

	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/operators"
	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// Table is the newest value of each key, kept in a store.
type Table[K, V any] struct {
	b      *Builder
	step   *step
	name   string
	key    serde.Serde[K]
	value  serde.Serde[V]
	topics []topology.Topic
	// onCommit: updates are emitted on commit.
	onCommit bool
}

// Name is the name of the step and of its store.
func (t *Table[K, V]) Name() string { return t.name }

// Stream is the stream of the table's updates: each new value, and null where
// a key is deleted.
func (t *Table[K, V]) Stream() *Stream[K, V] {
	at := callerOf()
	s := &Stream[K, V]{b: t.b, key: t.key, value: t.value, topics: t.topics}
	s.step = t.b.add("toStream", "", at, operators.Pass[K, V](true, true), t.step)
	s.step.mustFlow = true
	return s
}

// ToTable keeps the newest value of each key; a null value deletes the key, a
// record without a key is dropped. If keys have changed the stream is
// repartitioned.
func (s *Stream[K, V]) ToTable(name string, opts ...Option) *Table[K, V] {
	at := callerOf()
	o := s.b.options(at, name, opts)
	if stored := storedAs(s.b, at, name, o, s.value); !serde.Equal(s.value, stored) {
		s = s.WithSerdes(s.key, stored)
	}
	store := operators.StoreConfig[K, V]{Name: name, Key: s.key, Value: s.value, OnCommit: o.onCommit}
	in, topics := partitioned(s, at, name, o, partitionedBy{dropNullKeys: true})
	return keep(s.b, at, "toTable", store, operators.Table(store), in, topics, nil)
}

// keep adds a step with a store.
func keep[K, V any](b *Builder, at caller, kind string, c operators.StoreConfig[K, V], build operators.Build, in *step, topics []topology.Topic, source *topology.Topic) *Table[K, V] {
	b.claim(at, kind, c.Name)
	b.meet(c.Name, topics)
	st := b.add(kind, c.Name, at, build, in)
	st.node.Stores = []string{c.Name}
	st.node.Detail = "emits every update"
	if c.OnCommit {
		st.node.Detail = "emits on commit"
	}
	t := &Table[K, V]{b: b, step: st, name: c.Name, topics: topics, onCommit: c.OnCommit}
	t.key, _ = c.Key.(serde.Serde[K]) // nil after a mistake that is noted
	t.value, _ = c.Value.(serde.Serde[V])
	b.parts.Stores = append(b.parts.Stores, &topology.Store{
		Name:        c.Name,
		Changelog:   topology.Topic{Name: c.Name + "-changelog", Kind: topology.Changelog},
		SourceTopic: source,
		New:         c.NewStore,
		Text:        t.text,
	})
	return t
}

// text lists what the table's store holds.
func (t *Table[K, V]) text(s statestore.Store, yield func(k, v string, ts int64) error) error {
	kv, ok := s.(*statestore.KeyValue[V])
	if !ok {
		return fmt.Errorf("store %q is a %T, want a %T", t.name, s, kv)
	}
	return kv.Scan(nil, nil, func(key []byte, e *statestore.Entry[V]) (bool, error) {
		k, err := t.key.Decode(key)
		if err != nil {
			return false, fmt.Errorf("store %q: key %x: %w", t.name, key, err)
		}
		return true, yield(serde.Format(t.key, k), serde.Format(t.value, e.Value), e.Timestamp)
	})
}
