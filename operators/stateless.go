package operators

import (
	"github.com/levada/levada/runtime/topology"
)

// Filter passes the records that keep says yes to.
func Filter[K, V any](keep func(K, V) bool) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		out, err := inputOf[K, V](t, down)
		if err != nil {
			return nil, err
		}
		ctx, node, next := t.Context, t.Node(), out.Process
		return &Input[K, V]{ReadsKey: true, ReadsValue: true, Keeps: out.Keeps, Process: func(r *Record[K, V]) error {
			ctx.Current = node
			if keep(r.Key, r.Value) {
				return next(r)
			}
			return nil
		}}, nil
	}
}

// Peek shows each record to see and passes it.
func Peek[K, V any](see func(K, V)) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		out, err := inputOf[K, V](t, down)
		if err != nil {
			return nil, err
		}
		ctx, node, next := t.Context, t.Node(), out.Process
		return &Input[K, V]{ReadsKey: true, ReadsValue: true, Keeps: out.Keeps, Process: func(r *Record[K, V]) error {
			ctx.Current = node
			see(r.Key, r.Value)
			return next(r)
		}}, nil
	}
}

// Pass passes all records: a merge, or a point where streams meet.
// keepKeyBytes and keepValueBytes tell, by input, whether the bytes that
// arrive there are in the serdes of the output.
func Pass[K, V any](keepKeyBytes, keepValueBytes bool) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		out, err := inputOf[K, V](t, down)
		if err != nil || keepKeyBytes && keepValueBytes {
			return out, err
		}
		next, rec := out.Process, &Record[K, V]{}
		return &Input[K, V]{
			ReadsKey: out.ReadsKey || !keepKeyBytes, ReadsValue: out.ReadsValue || !keepValueBytes, Keeps: out.Keeps,
			Process: func(r *Record[K, V]) error {
				*rec = *r
				if !keepKeyBytes {
					rec.KeyBytes = nil
				}
				if !keepValueBytes {
					rec.ValueBytes = nil
				}
				return next(rec)
			},
		}, nil
	}
}

// MapValues makes a new value of each record's. usesKey tells whether fn looks
// at the key.
func MapValues[K, V, W any](fn func(K, V) W, usesKey bool) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		out, err := inputOf[K, W](t, down)
		if err != nil {
			return nil, err
		}
		ctx, node, next := t.Context, t.Node(), out.Process
		seesNull, givesNull := canBeNil[V](), canBeNil[W]()
		rec := &Record[K, W]{}
		return &Input[K, V]{ReadsKey: usesKey || out.ReadsKey, ReadsValue: true, Keeps: out.Keeps, Process: func(r *Record[K, V]) error {
			rec.Key, rec.KeyBytes, rec.NullKey, rec.Timestamp = r.Key, r.KeyBytes, r.NullKey, r.Timestamp
			if r.NullValue && !seesNull {
				var none W
				rec.Value, rec.NullValue = none, true
				return next(rec)
			}
			ctx.Current = node
			rec.Value = fn(r.Key, r.Value)
			rec.NullValue = givesNull && isNil(&rec.Value)
			return next(rec)
		}}, nil
	}
}

// FlatMapValues makes any number of values of each record's.
func FlatMapValues[K, V, W any](fn func(K, V) []W, usesKey bool) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		out, err := inputOf[K, W](t, down)
		if err != nil {
			return nil, err
		}
		ctx, node, next := t.Context, t.Node(), out.Process
		seesNull, givesNull := canBeNil[V](), canBeNil[W]()
		rec := &Record[K, W]{}
		return &Input[K, V]{ReadsKey: usesKey || out.ReadsKey, ReadsValue: true, Keeps: out.Keeps, Process: func(r *Record[K, V]) error {
			if r.NullValue && !seesNull {
				ctx.Dropped.NullValue++
				return nil
			}
			rec.Key, rec.KeyBytes, rec.NullKey, rec.Timestamp = r.Key, r.KeyBytes, r.NullKey, r.Timestamp
			ctx.Current = node
			for _, w := range fn(r.Key, r.Value) {
				rec.Value, rec.NullValue = w, givesNull && isNil(&w)
				if err := next(rec); err != nil {
					return err
				}
			}
			return nil
		}}, nil
	}
}

// SelectKey gives each record a new key.
func SelectKey[K, V, L any](fn func(K, V) L) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		out, err := inputOf[L, V](t, down)
		if err != nil {
			return nil, err
		}
		ctx, node, next, givesNull := t.Context, t.Node(), out.Process, canBeNil[L]()
		rec := &Record[L, V]{}
		return &Input[K, V]{ReadsKey: true, ReadsValue: true, Keeps: out.Keeps, Process: func(r *Record[K, V]) error {
			ctx.Current = node
			rec.Key = fn(r.Key, r.Value)
			rec.NullKey = givesNull && isNil(&rec.Key)
			rec.Value, rec.ValueBytes, rec.NullValue, rec.Timestamp = r.Value, r.ValueBytes, r.NullValue, r.Timestamp
			return next(rec)
		}}, nil
	}
}

// Map makes a new key and value of each record. A null that fn cannot see
// stays null.
func Map[K, V, L, W any](fn func(K, V) (L, W)) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		out, err := inputOf[L, W](t, down)
		if err != nil {
			return nil, err
		}
		ctx, node, next := t.Context, t.Node(), out.Process
		nilKey, nilValue, seesNull := canBeNil[L](), canBeNil[W](), canBeNil[V]()
		rec := &Record[L, W]{}
		return &Input[K, V]{ReadsKey: true, ReadsValue: true, Keeps: out.Keeps, Process: func(r *Record[K, V]) error {
			ctx.Current = node
			rec.Key, rec.Value = fn(r.Key, r.Value)
			rec.NullKey = nilKey && isNil(&rec.Key)
			rec.NullValue = nilValue && isNil(&rec.Value)
			if r.NullValue && !seesNull {
				var none W
				rec.Value, rec.NullValue = none, true
			}
			rec.Timestamp = r.Timestamp
			return next(rec)
		}}, nil
	}
}

// Pair is a key with its value.
type Pair[K, V any] struct {
	Key   K
	Value V
}

// FlatMap makes any number of records of each.
func FlatMap[K, V, L, W any](fn func(K, V) []Pair[L, W]) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		out, err := inputOf[L, W](t, down)
		if err != nil {
			return nil, err
		}
		ctx, node, next := t.Context, t.Node(), out.Process
		nilKey, nilValue, seesNull := canBeNil[L](), canBeNil[W](), canBeNil[V]()
		rec := &Record[L, W]{}
		return &Input[K, V]{ReadsKey: true, ReadsValue: true, Keeps: out.Keeps, Process: func(r *Record[K, V]) error {
			if r.NullValue && !seesNull {
				ctx.Dropped.NullValue++
				return nil
			}
			ctx.Current = node
			rec.Timestamp = r.Timestamp
			for _, p := range fn(r.Key, r.Value) {
				rec.Key, rec.Value = p.Key, p.Value
				rec.NullKey = nilKey && isNil(&rec.Key)
				rec.NullValue = nilValue && isNil(&rec.Value)
				if err := next(rec); err != nil {
					return err
				}
			}
			return nil
		}}, nil
	}
}
