package operators

import (
	"fmt"

	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// StoreConfig is what operators over a store have in common.
type StoreConfig[K, V any] struct {
	Name  string
	Key   statestore.Codec[K]
	Value statestore.Codec[V]
	// OnCommit emits the newest result of each changed key before a commit, and
	// nothing else. Otherwise every update is emitted.
	OnCommit bool
}

// NewStore is the New of topology.Store.
func (c StoreConfig[K, V]) NewStore(p *statestore.Partition) (statestore.Store, error) {
	return statestore.NewKeyValue(c.Name, p, c.Value), nil
}

// keyed is a store and what it emits.
type keyed[K, V any] struct {
	StoreConfig[K, V]
	ctx   *topology.Context
	node  *topology.Node
	store *statestore.KeyValue[V]
	key   encoder[K]
	out   *Input[K, V]
	rec   Record[K, V]
	isNil bool
}

func newKeyed[K, V any](c StoreConfig[K, V], t *topology.TaskBuilder, down []topology.Edge) (*keyed[K, V], error) {
	out, err := inputOf[K, V](t, down)
	if err != nil {
		return nil, err
	}
	store, err := keyValueStore[V](t, c.Name)
	if err != nil {
		return nil, err
	}
	k := &keyed[K, V]{
		StoreConfig: c, ctx: t.Context, node: t.Node(), store: store,
		key: newEncoder(c.Key), out: out, isNil: canBeNil[V](),
	}
	if c.OnCommit && len(down) > 0 {
		t.OnCommit(k.commit)
	}
	return k, nil
}

// keyValueStore asserts the type of a store, once per task.
func keyValueStore[V any](t *topology.TaskBuilder, name string) (*statestore.KeyValue[V], error) {
	s, err := t.Store(name)
	if err != nil {
		return nil, err
	}
	kv, ok := s.(*statestore.KeyValue[V])
	if !ok {
		return nil, fmt.Errorf("operators: store %q is a %T, %q needs a %T", name, s, t.Node().Name, kv)
	}
	return kv, nil
}

// keyOf returns the key's bytes: those that came in, or the encoded key.
func (k *keyed[K, V]) keyOf(key K, bytes []byte) ([]byte, error) {
	if bytes != nil {
		return bytes, nil
	}
	k.ctx.Current = k.node
	b, err := k.key.encode(key)
	if err != nil {
		return nil, encodeFailed(k.node, "key", err)
	}
	return b, nil
}

// emit passes an update on, unless that waits for the commit.
func (k *keyed[K, V]) emit(key K, keyBytes []byte, e *statestore.Entry[V], timestampMs int64) error {
	if k.OnCommit {
		return nil
	}
	r := &k.rec
	r.Key, r.KeyBytes, r.Timestamp = key, keyBytes, timestampMs
	r.Value, r.NullValue = e.Value, !e.Present
	return k.out.Process(r)
}

// commit emits the newest result of each key that changed.
func (k *keyed[K, V]) commit() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(k.ctx, p)
		}
		if re, ok := err.(*topology.RecordError); ok {
			re.Clean = false
		}
	}()
	r := &k.rec
	return k.store.EachChanged(func(key []byte, e *statestore.Entry[V]) error {
		if k.out.ReadsKey {
			k.ctx.Current = k.node
			if r.Key, err = k.Key.Decode(key); err != nil {
				return fmt.Errorf("store %q: key %x: %w", k.Name, key, err)
			}
		}
		r.KeyBytes, r.ValueBytes, r.Timestamp = key, nil, e.Timestamp
		r.Value, r.NullValue = e.Value, !e.Present
		return k.out.Process(r)
	})
}
