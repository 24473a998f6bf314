package dsl

import (
	"fmt"

	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/operators"
	"github.com/levada/levada/runtime/topology"
)

// Topic is a topic of the log with the types of its keys and values. It is a
// plain value: declare it once and use it in any number of builders and tests.
type Topic[K, V any] struct {
	name  string
	key   serde.Serde[K]
	value serde.Serde[V]
	reset topology.Reset
}

// NewTopic declares a topic. It must exist when the application starts.
// Reading begins at its first record.
func NewTopic[K, V any](name string, key serde.Serde[K], value serde.Serde[V]) Topic[K, V] {
	return Topic[K, V]{name: name, key: key, value: value}
}

// FromLatest returns the topic, to be read from its end on if the application
// has never read it.
func (t Topic[K, V]) FromLatest() Topic[K, V] {
	t.reset = topology.Latest
	return t
}

// Name is the topic's name.
func (t Topic[K, V]) Name() string { return t.name }

// KeySerde is the serde of the keys.
func (t Topic[K, V]) KeySerde() serde.Serde[K] { return t.key }

// ValueSerde is the serde of the values.
func (t Topic[K, V]) ValueSerde() serde.Serde[V] { return t.value }

// Stream reads the topic as a stream of records.
func (t Topic[K, V]) Stream(b *Builder) *Stream[K, V] {
	at := callerOf()
	return &Stream[K, V]{b: b, step: source(b, t, at), key: t.key, value: t.value, topics: []topology.Topic{t.plan()}}
}

// Table reads the topic as a table: a record replaces the one before it with
// the same key, a null value deletes it, a record without a key is dropped. The
// topic should be compacted; it then serves as the store's changelog. The name
// is that of the store.
func (t Topic[K, V]) Table(b *Builder, name string, opts ...Option) *Table[K, V] {
	at := callerOf()
	in := source(b, t, at)
	o := b.options(at, name, opts)
	if o.partitions != 0 {
		b.fault(at, name, "Partitions is for steps that may need a repartition topic; a table has the partitions of its topic")
	}
	if o.stored != nil {
		b.fault(at, name, "StoredAs is not for tables of topics: the topic may serve as changelog, so its serde is the store's")
	}
	store := operators.StoreConfig[K, V]{Name: name, Key: t.key, Value: t.value, OnCommit: o.onCommit}
	topic := t.plan()
	return keep(b, at, "table", store, operators.Table(store), in, []topology.Topic{topic}, &topic)
}

func (t Topic[K, V]) plan() topology.Topic {
	return topology.Topic{Name: t.name, Kind: topology.External}
}

// check notes what is wrong with the declaration, where it is used.
func (t Topic[K, V]) check(b *Builder, at caller) bool {
	ok := true
	if wrong := checkName(t.name, 249); wrong != "" {
		b.fault(at, "", "topic name %q %s", t.name, wrong)
		ok = false
	}
	if t.key == nil || t.value == nil {
		b.fault(at, "", "topic %q has no serde for its keys or values: declare it with NewTopic", t.name)
		ok = false
	}
	return ok
}

// source returns the step that reads the topic; there is one for each topic.
func source[K, V any](b *Builder, t Topic[K, V], at caller) *step {
	ok := t.check(b, at)
	types := fmt.Sprintf("%s keys and %s values", serde.Name(t.key), serde.Name(t.value))
	if have := b.sources[t.name]; have != nil {
		k, okKey := have.key.(serde.Serde[K])
		v, okValue := have.value.(serde.Serde[V])
		switch {
		case !ok:
		case !okKey || !okValue || !serde.Equal(k, t.key) || !serde.Equal(v, t.value):
			b.fault(at, "", "topic %q is read with %s here and with %s at %s: a topic is read in one way", t.name, types, have.types, have.at)
		case have.source.Reset != t.reset:
			b.fault(at, "", "topic %q is read from its %s record here and from its %s at %s", t.name, t.reset, have.source.Reset, have.at)
		default:
			return have.step
		}
		return b.add("source", "", at, operators.Source(t.name, t.key, t.value))
	}
	s := &sourceStep{step: b.add("source", t.name+"-source", at, operators.Source(t.name, t.key, t.value)), key: t.key, value: t.value, types: types}
	s.mustFlow = true
	s.source = &topology.Source{Node: s.node, Topic: t.plan(), Reset: t.reset}
	b.parts.Sources = append(b.parts.Sources, s.source)
	b.sources[t.name] = s
	return s.step
}

// AppendKey, AppendValue, DecodeKey and DecodeValue are the serdes, in the
// shape that tests take topics in.

// AppendKey appends the form of k.
func (t Topic[K, V]) AppendKey(dst []byte, k K) ([]byte, error) { return t.key.Append(dst, k) }

// AppendValue appends the form of v.
func (t Topic[K, V]) AppendValue(dst []byte, v V) ([]byte, error) { return t.value.Append(dst, v) }

// DecodeKey reads a key.
func (t Topic[K, V]) DecodeKey(b []byte) (K, error) { return t.key.Decode(b) }

// DecodeValue reads a value.
func (t Topic[K, V]) DecodeValue(b []byte) (V, error) { return t.value.Decode(b) }

// FormatRecord writes a key and a value as text, for tests and people. Null is
// nil.
func (t Topic[K, V]) FormatRecord(key, value []byte) (k, v string, err error) {
	if k, err = format(t.key, key); err != nil {
		return "", "", fmt.Errorf("topic %q: key: %w", t.name, err)
	}
	if v, err = format(t.value, value); err != nil {
		return "", "", fmt.Errorf("topic %q: value: %w", t.name, err)
	}
	return k, v, nil
}

// ParseKey reads a key from text.
func (t Topic[K, V]) ParseKey(text string) ([]byte, error) { return parse(t.key, text) }

// ParseValue reads a value from text.
func (t Topic[K, V]) ParseValue(text string) ([]byte, error) { return parse(t.value, text) }

func format[T any](s serde.Serde[T], b []byte) (string, error) {
	if b == nil {
		return "null", nil
	}
	v, err := s.Decode(b)
	if err != nil {
		return "", err
	}
	return serde.Format(s, v), nil
}

func parse[T any](s serde.Serde[T], text string) ([]byte, error) {
	v, err := serde.Parse(s, text)
	if err != nil {
		return nil, err
	}
	return s.Append([]byte{}, v)
}
