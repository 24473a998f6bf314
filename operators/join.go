package operators

import (
	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// JoinConfig says how a stream is joined with a table.
type JoinConfig[K any] struct {
	// Store is the table's.
	Store string
	Key   statestore.Codec[K]
	// Left emits records without a partner too.
	Left bool
}

// JoinTable gives each record of a stream the table's value of its key, as it
// is when the record is processed. Changes of the table emit nothing.
func JoinTable[K, V, W, R any](c JoinConfig[K], fn func(V, W, bool) R) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		out, err := inputOf[K, R](t, down)
		if err != nil {
			return nil, err
		}
		store, err := keyValueStore[W](t, c.Store)
		if err != nil {
			return nil, err
		}
		j := &joinTable[K, V, W, R]{
			JoinConfig: c, fn: fn, ctx: t.Context, node: t.Node(), store: store,
			key: newEncoder(c.Key), next: out.Process, isNil: canBeNil[R](),
		}
		return &Input[K, V]{ReadsKey: out.ReadsKey, ReadsValue: true, Keeps: out.Keeps, Process: j.process}, nil
	}
}

type joinTable[K, V, W, R any] struct {
	JoinConfig[K]
	fn    func(V, W, bool) R
	ctx   *topology.Context
	node  *topology.Node
	store *statestore.KeyValue[W]
	key   encoder[K]
	rec   Record[K, R]
	next  func(*Record[K, R]) error
	isNil bool
}

func (j *joinTable[K, V, W, R]) process(r *Record[K, V]) error {
	if r.NullValue {
		j.ctx.Dropped.NullValue++
		return nil
	}
	if r.NullKey && !j.Left {
		j.ctx.Dropped.NullKey++
		return nil
	}
	var partner W
	found := false
	out := &j.rec
	out.KeyBytes = r.KeyBytes
	if !r.NullKey {
		if out.KeyBytes == nil {
			j.ctx.Current = j.node
			b, err := j.key.encode(r.Key)
			if err != nil {
				return encodeFailed(j.node, "key", err)
			}
			out.KeyBytes = b
		}
		e, err := j.store.Lookup(out.KeyBytes)
		if err != nil {
			return err
		}
		if found = e.Present; found {
			partner = e.Value
		}
	}
	if !found && !j.Left {
		return nil
	}
	j.ctx.Current = j.node
	out.Value = j.fn(r.Value, partner, found)
	out.NullValue = j.isNil && isNil(&out.Value)
	out.Key, out.NullKey, out.Timestamp = r.Key, r.NullKey, r.Timestamp
	return j.next(out)
}
