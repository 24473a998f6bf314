package dsl

import (
	"math"
	"reflect"

	"github.com/levada/levada/dsl/serde"
)

// Option changes how a stateful step works.
type Option func(*options)

type options struct {
	onCommit   bool
	partitions int
	stored     any
}

// EmitOnCommit emits the newest result of each changed key at every commit,
// instead of every update: fewer records, and which of the values between two
// commits are seen depends on when the commits fall.
func EmitOnCommit() Option { return func(o *options) { o.onCommit = true } }

// Partitions sets the number of partitions of the step's repartition topic, if
// it needs one. Without it the topic gets as many as the widest input.
func Partitions(n int) Option { return func(o *options) { o.partitions = n } }

// StoredAs sets the serde of a step's results. Without it Reduce and ToTable
// take that of the stream, and Aggregate that of serde.For.
func StoredAs[T any](s serde.Serde[T]) Option { return func(o *options) { o.stored = s } }

func (b *Builder) options(at caller, step string, opts []Option) options {
	var o options
	for _, opt := range opts {
		if opt == nil {
			b.fault(at, step, "an option is nil")
			continue
		}
		opt(&o)
	}
	if o.partitions < 0 || o.partitions > math.MaxInt32 {
		b.fault(at, step, "Partitions(%d): not a number of partitions", o.partitions)
		o.partitions = 0
	}
	return o
}

// storedAs is the serde of a step's results.
func storedAs[T any](b *Builder, at caller, step string, o options, otherwise serde.Serde[T]) serde.Serde[T] {
	if o.stored == nil {
		return otherwise
	}
	s, ok := o.stored.(serde.Serde[T])
	if !ok {
		b.fault(at, step, "StoredAs has serde %s, but the step's results are of type %s", serde.Name(o.stored), reflect.TypeFor[T]())
		return otherwise
	}
	return s
}
