package operators

import (
	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// Table keeps the newest value of each key; a null value deletes it.
func Table[K, V any](c StoreConfig[K, V]) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		k, err := newKeyed(c, t, down)
		if err != nil {
			return nil, err
		}
		own := newOwner[K](c.Value, t)
		return &Input[K, V]{ReadsKey: k.out.ReadsKey && !c.OnCommit, ReadsValue: true, Keeps: true, Process: func(r *Record[K, V]) error {
			if r.NullKey {
				k.ctx.Dropped.NullKey++
				return nil
			}
			key, err := k.keyOf(r.Key, r.KeyBytes)
			if err != nil {
				return err
			}
			next := statestore.Entry[V]{Timestamp: r.Timestamp}
			if !r.NullValue {
				if next.Value, err = own.take(r); err != nil {
					return err
				}
				next.Present = true
			}
			k.ctx.Touched = true
			e, err := k.store.Update(key)
			if err != nil {
				return err
			}
			*e = next
			k.rec.ValueBytes = r.ValueBytes
			return k.emit(r.Key, key, e, r.Timestamp)
		}}, nil
	}
}

// owner gives a store values that it owns: one that someone else may hold too
// is copied by writing and reading it, if it can be changed at all.
type owner[K, V any] struct {
	copies bool
	node   *topology.Node
	ctx    *topology.Context
	value  encoder[V]
}

func newOwner[K, V any](c statestore.Codec[V], t *topology.TaskBuilder) *owner[K, V] {
	return &owner[K, V]{copies: isMutable[V]() && shared(t), node: t.Node(), ctx: t.Context, value: newEncoder(c)}
}

func (o *owner[K, V]) take(r *Record[K, V]) (V, error) {
	if !o.copies {
		return r.Value, nil
	}
	o.ctx.Current = o.node
	b, err := o.value.encode(r.Value)
	if err != nil {
		return r.Value, encodeFailed(o.node, "value", err)
	}
	v, err := o.value.codec.Decode(b)
	if err != nil {
		return v, encodeFailed(o.node, "value", err)
	}
	return v, nil
}

// shared tells whether a value that reaches the node being built may be held
// by a store or reach another node as well: on the way from its source there
// is a fork or a store.
func shared(t *topology.TaskBuilder) bool {
	var walk func(n *topology.Node) bool
	walk = func(n *topology.Node) bool {
		if t.Consumers(n) > 1 || len(n.Stores) > 0 {
			return true
		}
		for _, in := range n.Inputs {
			if walk(in) {
				return true
			}
		}
		return false
	}
	for _, in := range t.Node().Inputs {
		if walk(in) {
			return true
		}
	}
	return false
}
