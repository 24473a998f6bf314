package operators

import (
	"fmt"

	"github.com/levada/levada/runtime/topology"
)

// branchInput is the entry of one branch, for the Branch before it.
type branchInput[K, V any] struct {
	index int
	*Input[K, V]
}

// Branch hands each record to the first branch whose predicate says yes, and
// to the branch numbered len(preds) if none does. What follows must be
// BranchOf nodes; records of a branch that nothing follows are gone.
func Branch[K, V any](preds []func(K, V) bool) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		next := make([]func(*Record[K, V]) error, len(preds)+1)
		for i := range next {
			next[i] = ignore[K, V]
		}
		in := &Input[K, V]{ReadsKey: true, ReadsValue: true}
		for _, e := range down {
			b, ok := e.To.(*branchInput[K, V])
			if !ok || b.index >= len(next) {
				return nil, fmt.Errorf("operators: %q is followed by a %T, want a branch", t.Node().Name, e.To)
			}
			next[b.index] = b.Process
			in.Keeps = in.Keeps || b.Keeps
		}
		ctx, node := t.Context, t.Node()
		in.Process = func(r *Record[K, V]) error {
			ctx.Current = node
			for i, pred := range preds {
				if pred(r.Key, r.Value) {
					return next[i](r)
				}
			}
			return next[len(preds)](r)
		}
		return in, nil
	}
}

// BranchOf is the branch of that index of the Branch before it.
func BranchOf[K, V any](index int) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		out, err := inputOf[K, V](t, down)
		return &branchInput[K, V]{index, out}, err
	}
}

// Failed is a value for which a fallible function returned an error.
type Failed[V any] struct {
	Value V      `json:"value"`
	Error string `json:"error"`
}

type tryDone[K, W any] struct{ *Input[K, W] }

type tryFailed[K, V any] struct{ *Input[K, Failed[V]] }

// Try makes a new value of each record's by a function that can fail. What
// follows must be TryDone and TryFailed nodes.
func Try[K, V, W any](fn func(K, V) (W, error)) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		done := &Input[K, W]{Process: ignore[K, W]}
		failed := &Input[K, Failed[V]]{Process: ignore[K, Failed[V]]}
		for _, e := range down {
			switch in := e.To.(type) {
			case tryDone[K, W]:
				done = in.Input
			case tryFailed[K, V]:
				failed = in.Input
			default:
				return nil, fmt.Errorf("operators: %q is followed by a %T, want an output of try", t.Node().Name, e.To)
			}
		}
		ctx, node := t.Context, t.Node()
		seesNull, givesNull := canBeNil[V](), canBeNil[W]()
		good, bad := &Record[K, W]{}, &Record[K, Failed[V]]{}
		return &Input[K, V]{ReadsKey: true, ReadsValue: true, Keeps: done.Keeps || failed.Keeps, Process: func(r *Record[K, V]) error {
			good.Key, good.KeyBytes, good.NullKey, good.Timestamp = r.Key, r.KeyBytes, r.NullKey, r.Timestamp
			if r.NullValue && !seesNull {
				var none W
				good.Value, good.NullValue = none, true
				return done.Process(good)
			}
			ctx.Current = node
			w, err := fn(r.Key, r.Value)
			if err == nil {
				good.Value, good.NullValue = w, givesNull && isNil(&w)
				return done.Process(good)
			}
			bad.Key, bad.KeyBytes, bad.NullKey, bad.Timestamp = r.Key, r.KeyBytes, r.NullKey, r.Timestamp
			bad.Value = Failed[V]{Value: r.Value, Error: err.Error()}
			return failed.Process(bad)
		}}, nil
	}
}

// TryDone is the output of a Try for results.
func TryDone[K, W any]() Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		out, err := inputOf[K, W](t, down)
		return tryDone[K, W]{out}, err
	}
}

// TryFailed is the output of a Try for errors.
func TryFailed[K, V any]() Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		out, err := inputOf[K, Failed[V]](t, down)
		return tryFailed[K, V]{out}, err
	}
}
