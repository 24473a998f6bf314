package operators

import (
	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// SinkConfig says how a sink writes.
type SinkConfig[K, V any] struct {
	Key   statestore.Codec[K]
	Value statestore.Codec[V] // nil writes empty values
	// ForwardKey and ForwardValue tell that the codec is that of the stream:
	// bytes that came in are good to go out.
	ForwardKey, ForwardValue bool
	// DropNullKeys drops (and counts) records that no later step would take.
	DropNullKeys bool
}

// Sink writes records to a topic.
func Sink[K, V any](cfg SinkConfig[K, V]) Build {
	return func(t *topology.TaskBuilder, _ []topology.Edge) (any, error) {
		index, err := t.SinkIndex()
		if err != nil {
			return nil, err
		}
		s := &sink[K, V]{SinkConfig: cfg, ctx: t.Context, node: t.Node(), index: index, key: newEncoder(cfg.Key)}
		if cfg.Value != nil {
			s.value = newEncoder(cfg.Value)
		}
		return &Input[K, V]{
			Process:    s.process,
			ReadsKey:   !cfg.ForwardKey,
			ReadsValue: cfg.Value != nil && !cfg.ForwardValue,
		}, nil
	}
}

type sink[K, V any] struct {
	SinkConfig[K, V]
	ctx   *topology.Context
	node  *topology.Node
	index int
	key   encoder[K]
	value encoder[V]
}

func (s *sink[K, V]) process(r *Record[K, V]) (err error) {
	var key, value []byte
	switch {
	case r.NullKey:
		if s.DropNullKeys {
			s.ctx.Dropped.NullKey++
			return nil
		}
	case s.ForwardKey && r.KeyBytes != nil:
		key = r.KeyBytes
	default:
		s.ctx.Current = s.node
		if key, err = s.key.encode(r.Key); err != nil {
			return encodeFailed(s.node, "key", err)
		}
	}
	switch {
	case r.NullValue:
	case s.Value == nil:
		value = []byte{}
	case s.ForwardValue && r.ValueBytes != nil:
		value = r.ValueBytes
	default:
		s.ctx.Current = s.node
		if value, err = s.value.encode(r.Value); err != nil {
			return encodeFailed(s.node, "value", err)
		}
	}
	s.ctx.Touched = true
	return s.ctx.Out.Send(s.index, r.Timestamp, key, value, s.ctx.Headers)
}
