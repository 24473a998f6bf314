package dsl

import (
	"github.com/levada/levada/operators"
)

// Meta is what a function of Process can know of a record beside key and
// value: timestamp, topic, partition, offset, headers, and what is null.
type Meta = operators.Meta

// Process hands each record to a function that sees all of it, emits any
// number of records, and can fail: an error is that of the record, and goes
// where the application sends such records. Records have the timestamp and the
// headers of the one they come from. Steps by key that follow repartition the
// stream.
func Process[K, V, K2, V2 any](s *Stream[K, V], fn func(m *Meta, k K, v V, emit func(K2, V2)) error) *Stream[K2, V2] {
	at := callerOf()
	s.b.needs(at, "Process", fn == nil)
	return rekeyed[K2, V2](s.b, s.b.add("process", "", at, operators.Process(fn), s.step))
}

// ProcessValues is Process for a function that leaves the key as it is.
func ProcessValues[K, V, V2 any](s *Stream[K, V], fn func(m *Meta, k K, v V, emit func(V2)) error) *Stream[K, V2] {
	at := callerOf()
	s.b.needs(at, "ProcessValues", fn == nil)
	return withValues[K, V, V2](s, s.b.add("processValues", "", at, operators.ProcessValues(fn), s.step))
}
