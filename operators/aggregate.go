package operators

import (
	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// Count counts the records of each key.
func Count[K, V any](c StoreConfig[K, int64]) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		k, err := newKeyed(c, t, down)
		if err != nil {
			return nil, err
		}
		return &Input[K, V]{ReadsKey: k.out.ReadsKey && !c.OnCommit, Process: func(r *Record[K, V]) error {
			if skipped(k.ctx, r) {
				return nil
			}
			key, err := k.keyOf(r.Key, r.KeyBytes)
			if err != nil {
				return err
			}
			k.ctx.Touched = true
			e, err := k.store.Update(key)
			if err != nil {
				return err
			}
			if !e.Present {
				*e = statestore.Entry[int64]{Present: true, Timestamp: r.Timestamp}
			}
			e.Value++
			e.Timestamp = max(e.Timestamp, r.Timestamp)
			return k.emit(r.Key, key, e, e.Timestamp)
		}}, nil
	}
}

// Reduce folds the values of each key into one of the same type. A nil result
// deletes the key.
func Reduce[K, V any](c StoreConfig[K, V], fn func(sum, v V) V) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		k, err := newKeyed(c, t, down)
		if err != nil {
			return nil, err
		}
		own := newOwner[K](c.Value, t)
		return &Input[K, V]{ReadsKey: k.out.ReadsKey && !c.OnCommit, ReadsValue: true, Keeps: true, Process: func(r *Record[K, V]) error {
			if skipped(k.ctx, r) {
				return nil
			}
			key, err := k.keyOf(r.Key, r.KeyBytes)
			if err != nil {
				return err
			}
			v, err := own.take(r)
			if err != nil {
				return err
			}
			k.ctx.Touched = true
			e, err := k.store.Update(key)
			if err != nil {
				return err
			}
			if e.Present {
				k.ctx.Current = k.node
				e.Value = fn(e.Value, v)
				e.Timestamp = max(e.Timestamp, r.Timestamp)
				e.Present = !k.isNil || !isNil(&e.Value)
			} else {
				*e = statestore.Entry[V]{Present: true, Timestamp: r.Timestamp, Value: v}
			}
			return k.emit(r.Key, key, e, e.Timestamp)
		}}, nil
	}
}

// Aggregate folds the values of each key into a value of another type, begun
// by init. A nil result deletes the key.
func Aggregate[K, V, A any](c StoreConfig[K, A], init func() A, add func(K, V, A) A) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		k, err := newKeyed(c, t, down)
		if err != nil {
			return nil, err
		}
		return &Input[K, V]{ReadsKey: true, ReadsValue: true, Keeps: true, Process: func(r *Record[K, V]) error {
			if skipped(k.ctx, r) {
				return nil
			}
			key, err := k.keyOf(r.Key, r.KeyBytes)
			if err != nil {
				return err
			}
			k.ctx.Touched = true
			e, err := k.store.Update(key)
			if err != nil {
				return err
			}
			k.ctx.Current = k.node
			if !e.Present {
				*e = statestore.Entry[A]{Timestamp: r.Timestamp, Value: init()}
			}
			e.Value = add(r.Key, r.Value, e.Value)
			e.Timestamp = max(e.Timestamp, r.Timestamp)
			e.Present = !k.isNil || !isNil(&e.Value)
			return k.emit(r.Key, key, e, e.Timestamp)
		}}, nil
	}
}

// skipped tells whether an aggregation ignores the record, and counts it.
func skipped[K, V any](ctx *topology.Context, r *Record[K, V]) bool {
	if r.NullKey {
		ctx.Dropped.NullKey++
		return true
	}
	if r.NullValue {
		ctx.Dropped.NullValue++
		return true
	}
	return false
}
