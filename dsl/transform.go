package dsl

import (
	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/operators"
)

// Failed is a value for which the function of Try returned an error.
type Failed[V any] = operators.Failed[V]

// withValues is a stream with the keys of s and new values.
func withValues[K, V, W any](s *Stream[K, V], st *step) *Stream[K, W] {
	st.mustFlow = true
	return &Stream[K, W]{b: s.b, step: st, key: s.key, value: serde.For[W](), rekeyed: s.rekeyed, topics: s.topics}
}

// MapValues makes a new value of each record's value. The key stays. A null
// value of a type without nil stays null, and fn is not called.
func MapValues[K, V, W any](s *Stream[K, V], fn func(V) W) *Stream[K, W] {
	at := callerOf()
	s.b.needs(at, "MapValues", fn == nil)
	build := operators.MapValues(func(_ K, v V) W { return fn(v) }, false)
	return withValues[K, V, W](s, s.b.add("mapValues", "", at, build, s.step))
}

// MapValuesWithKey is MapValues for a function that looks at the key too.
func MapValuesWithKey[K, V, W any](s *Stream[K, V], fn func(K, V) W) *Stream[K, W] {
	at := callerOf()
	s.b.needs(at, "MapValuesWithKey", fn == nil)
	return withValues[K, V, W](s, s.b.add("mapValues", "", at, operators.MapValues(fn, true), s.step))
}

// FlatMapValues makes any number of values of each record's value. The key
// stays. A null value of a type without nil gives nothing.
func FlatMapValues[K, V, W any](s *Stream[K, V], fn func(V) []W) *Stream[K, W] {
	at := callerOf()
	s.b.needs(at, "FlatMapValues", fn == nil)
	build := operators.FlatMapValues(func(_ K, v V) []W { return fn(v) }, false)
	return withValues[K, V, W](s, s.b.add("flatMapValues", "", at, build, s.step))
}

// FlatMapValuesWithKey is FlatMapValues for a function that looks at the key
// too.
func FlatMapValuesWithKey[K, V, W any](s *Stream[K, V], fn func(K, V) []W) *Stream[K, W] {
	at := callerOf()
	s.b.needs(at, "FlatMapValuesWithKey", fn == nil)
	return withValues[K, V, W](s, s.b.add("flatMapValues", "", at, operators.FlatMapValues(fn, true), s.step))
}

// Map makes a new key and value of each record. A null value of a type
// without nil stays null. Steps by key that follow repartition the stream; use
// MapValues where the key stays.
func Map[K, V, K2, V2 any](s *Stream[K, V], fn func(K, V) (K2, V2)) *Stream[K2, V2] {
	at := callerOf()
	s.b.needs(at, "Map", fn == nil)
	return rekeyed[K2, V2](s.b, s.b.add("map", "", at, operators.Map(fn), s.step))
}

// FlatMap makes any number of records of each. Steps by key that follow
// repartition the stream.
func FlatMap[K, V, K2, V2 any](s *Stream[K, V], fn func(K, V) []Pair[K2, V2]) *Stream[K2, V2] {
	at := callerOf()
	s.b.needs(at, "FlatMap", fn == nil)
	return rekeyed[K2, V2](s.b, s.b.add("flatMap", "", at, operators.FlatMap(fn), s.step))
}

// SelectKey gives each record a new key. Steps by key that follow repartition
// the stream.
func SelectKey[K, V, K2 any](s *Stream[K, V], fn func(K, V) K2) *Stream[K2, V] {
	at := callerOf()
	s.b.needs(at, "SelectKey", fn == nil)
	return selectKey("selectKey", at, s, fn)
}

func selectKey[K, V, K2 any](kind string, at caller, s *Stream[K, V], fn func(K, V) K2) *Stream[K2, V] {
	out := rekeyed[K2, V](s.b, s.b.add(kind, "", at, operators.SelectKey(fn), s.step))
	out.value = s.value
	return out
}

// rekeyed is a stream with new keys and values.
func rekeyed[K, V any](b *Builder, st *step) *Stream[K, V] {
	st.mustFlow = true
	return &Stream[K, V]{b: b, step: st, key: serde.For[K](), value: serde.For[V](), rekeyed: true}
}

// Try makes a new value of each record's by a function that can fail. Results
// go to done; values with their errors go to failed. Both must be used.
func Try[K, V, W any](s *Stream[K, V], fn func(K, V) (W, error)) (done *Stream[K, W], failed *Stream[K, Failed[V]]) {
	at := callerOf()
	s.b.needs(at, "Try", fn == nil)
	try := s.b.add("try", "", at, operators.Try(fn), s.step)
	name := try.node.Name
	done = withValues[K, V, W](s, s.b.add("try-output", name+"-done", at, operators.TryDone[K, W](), try))
	failed = withValues[K, V, Failed[V]](s, s.b.add("try-output", name+"-failed", at, operators.TryFailed[K, V](), try))
	return done, failed
}
