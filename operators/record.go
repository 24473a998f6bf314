package operators

import (
	"fmt"

	"github.com/levada/levada/runtime/topology"
)

// Record is a record on its way between two operators.
type Record[K, V any] struct {
	Key       K
	Value     V
	Timestamp int64 // ms since 1970
	// KeyBytes and ValueBytes are the serialised forms by the serdes of the
	// stream; nil if not known.
	KeyBytes, ValueBytes []byte
	NullKey, NullValue   bool
}

// Input is what the Build of an operator returns: the entry for the operators
// before it.
type Input[K, V any] struct {
	Process func(r *Record[K, V]) error
	// ReadsKey and ReadsValue tell whether Key and Value are looked at even
	// when their bytes are there.
	ReadsKey, ReadsValue bool
	// Keeps tells that a store downstream keeps the value or parts of it.
	Keeps bool
}

// Build is the function of topology.Node.
type Build = func(t *topology.TaskBuilder, down []topology.Edge) (any, error)

// inputOf makes one input of all that follows a node.
func inputOf[K, V any](t *topology.TaskBuilder, down []topology.Edge) (*Input[K, V], error) {
	all := &Input[K, V]{Process: ignore[K, V]}
	var fns []func(*Record[K, V]) error
	for _, e := range down {
		in, ok := e.To.(*Input[K, V])
		if !ok {
			return nil, fmt.Errorf("operators: the output of %q is a %T, but what follows takes a %T", t.Node().Name, all, e.To)
		}
		fns = append(fns, in.Process)
		all.ReadsKey = all.ReadsKey || in.ReadsKey
		all.ReadsValue = all.ReadsValue || in.ReadsValue
		all.Keeps = all.Keeps || in.Keeps
	}
	switch len(fns) {
	case 0:
	case 1:
		all.Process = fns[0]
	case 2:
		first, second := fns[0], fns[1]
		all.Process = func(r *Record[K, V]) error {
			if err := first(r); err != nil {
				return err
			}
			return second(r)
		}
	default:
		all.Process = func(r *Record[K, V]) error {
			for _, fn := range fns {
				if err := fn(r); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return all, nil
}

func ignore[K, V any](*Record[K, V]) error { return nil }
