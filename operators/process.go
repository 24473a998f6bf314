package operators

import (
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/topology"
)

// Header is one header of a record.
type Header = recordbatch.Header

// Meta is what a function of Process can know of a record beside key and
// value. It is valid during the call.
type Meta struct {
	ctx *topology.Context
	// Timestamp of the record, ms since 1970.
	Timestamp int64
	// NullKey and NullValue tell what a zero value stands for.
	NullKey, NullValue bool
}

// Topic, Partition and Offset are those of the input record from which this
// one comes. When results are emitted on commit the offset is -1.
func (m *Meta) Topic() string { return m.ctx.Topic }

// Partition is described at Topic.
func (m *Meta) Partition() int32 { return m.ctx.Partition }

// Offset is described at Topic.
func (m *Meta) Offset() int64 { return m.ctx.Offset }

// StreamTime is the largest timestamp, ms, that the task has seen.
func (m *Meta) StreamTime() int64 { return m.ctx.StreamTime }

// Headers are those of the input record. Their values are valid during the
// call.
func (m *Meta) Headers() ([]Header, error) { return m.ctx.Headers.Decode() }

// Process hands each record to a function that sees all of it, emits any
// number of records with its timestamp, and can fail.
func Process[K, V, L, W any](fn func(m *Meta, k K, v V, emit func(L, W)) error) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		out, err := inputOf[L, W](t, down)
		if err != nil {
			return nil, err
		}
		p := newProcess(t, out)
		nilKey, nilValue := canBeNil[L](), canBeNil[W]()
		emit := func(k L, v W) {
			p.rec.Key, p.rec.Value = k, v
			p.rec.NullKey = nilKey && isNil(&p.rec.Key)
			p.rec.NullValue = nilValue && isNil(&p.rec.Value)
			p.forward()
		}
		return &Input[K, V]{ReadsKey: true, ReadsValue: true, Keeps: out.Keeps, Process: func(r *Record[K, V]) error {
			p.begin(r.Timestamp, r.NullKey, r.NullValue)
			return p.end(fn(&p.meta, r.Key, r.Value, emit))
		}}, nil
	}
}

// ProcessValues is Process for functions that leave the key as it is.
func ProcessValues[K, V, W any](fn func(m *Meta, k K, v V, emit func(W)) error) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		out, err := inputOf[K, W](t, down)
		if err != nil {
			return nil, err
		}
		p := newProcess(t, out)
		nilValue := canBeNil[W]()
		emit := func(v W) {
			p.rec.Value = v
			p.rec.NullValue = nilValue && isNil(&p.rec.Value)
			p.forward()
		}
		return &Input[K, V]{ReadsKey: true, ReadsValue: true, Keeps: out.Keeps, Process: func(r *Record[K, V]) error {
			p.begin(r.Timestamp, r.NullKey, r.NullValue)
			p.rec.Key, p.rec.KeyBytes, p.rec.NullKey = r.Key, r.KeyBytes, r.NullKey
			return p.end(fn(&p.meta, r.Key, r.Value, emit))
		}}, nil
	}
}

// process is one call of a function that emits.
type process[L, W any] struct {
	ctx  *topology.Context
	node *topology.Node
	next func(*Record[L, W]) error
	meta Meta
	rec  Record[L, W]
	err  error // the first of what follows; later records are not passed on
}

func newProcess[L, W any](t *topology.TaskBuilder, out *Input[L, W]) *process[L, W] {
	return &process[L, W]{ctx: t.Context, node: t.Node(), next: out.Process, meta: Meta{ctx: t.Context}}
}

func (p *process[L, W]) begin(timestampMs int64, nullKey, nullValue bool) {
	p.ctx.Current, p.err = p.node, nil
	p.meta.Timestamp, p.meta.NullKey, p.meta.NullValue = timestampMs, nullKey, nullValue
	p.rec.Timestamp = timestampMs
}

func (p *process[L, W]) forward() {
	if p.err == nil {
		p.err = p.next(&p.rec)
	}
	p.ctx.Current = p.node
}

// end prefers what went wrong downstream: it came first.
func (p *process[L, W]) end(err error) error {
	if p.err != nil || err == nil {
		return p.err
	}
	return &topology.RecordError{Stage: topology.StageProcess, Node: p.node.Name, Err: err}
}
