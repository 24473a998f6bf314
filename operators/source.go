package operators

import (
	"errors"
	"fmt"
	goruntime "runtime"
	"strings"

	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// Source reads the records of a topic. Without a codec values are not read,
// only whether they are null.
func Source[K, V any](topic string, key statestore.Codec[K], value statestore.Codec[V]) Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		in, err := inputOf[K, V](t, down)
		if err != nil {
			return nil, err
		}
		s := &source[K, V]{
			ctx: t.Context, node: t.Node(), topic: topic, next: in.Process,
			key:   newDecoder(key, in.ReadsKey, in.Keeps),
			value: newDecoder(value, in.ReadsValue, in.Keeps),
		}
		return topology.BatchFunc(s.batch), nil
	}
}

type source[K, V any] struct {
	ctx   *topology.Context
	node  *topology.Node
	topic string
	key   decoder[K]
	value decoder[V]
	rec   Record[K, V]
	next  func(*Record[K, V]) error
}

// batch is the topology.BatchFunc. One deferred call a batch catches what the
// user's functions throw.
func (s *source[K, V]) batch(records []topology.Record) (done int, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(s.ctx, p)
			if s.ctx.Current == s.node {
				err.(*topology.RecordError).Stage = topology.StageDecode
			}
		}
	}()
	s.ctx.Topic = s.topic
	for ; done < len(records); done++ {
		if err := s.process(&records[done]); err != nil {
			return done, s.failed(err)
		}
	}
	return done, nil
}

func (s *source[K, V]) process(in *topology.Record) error {
	ctx, r := s.ctx, &s.rec
	ctx.Touched = false
	if in.Timestamp < 0 {
		ctx.Dropped.NegativeTimestamp++
		return nil
	}
	ctx.Current = s.node
	if in.Key != nil {
		if err := s.key.decode(in.Key, &r.Key, &r.NullKey); err != nil {
			return &topology.RecordError{Stage: topology.StageDecode, Node: s.node.Name, Err: fmt.Errorf("key: %w", err)}
		}
	} else {
		var none K
		r.Key, r.NullKey = none, true
	}
	if in.Value != nil {
		if err := s.value.decode(in.Value, &r.Value, &r.NullValue); err != nil {
			return &topology.RecordError{Stage: topology.StageDecode, Node: s.node.Name, Err: fmt.Errorf("value: %w", err)}
		}
	} else {
		var none V
		r.Value, r.NullValue = none, true
	}
	r.KeyBytes, r.ValueBytes, r.Timestamp = in.Key, in.Value, in.Timestamp
	if in.Timestamp > ctx.StreamTime {
		ctx.StreamTime = in.Timestamp
	}
	ctx.Offset, ctx.Headers = in.Offset, in.Headers
	return s.next(r)
}

// failed completes an error about the record with what only the source knows.
func (s *source[K, V]) failed(err error) error {
	var re *topology.RecordError
	if errors.As(err, &re) {
		re.Clean = !s.ctx.Touched
	}
	return err
}

// panicked makes an error of what a function of the user threw. It says where,
// in one line.
func panicked(ctx *topology.Context, p any) error {
	re := &topology.RecordError{Stage: topology.StageProcess, Clean: !ctx.Touched}
	if ctx.Current != nil {
		re.Node = ctx.Current.Name
	}
	if err, ok := p.(error); ok {
		re.Err = fmt.Errorf("panic: %w%s", err, panicOrigin())
	} else {
		re.Err = fmt.Errorf("panic: %v%s", p, panicOrigin())
	}
	return re
}

// panicOrigin finds the frame that panicked: the first one above the runtime's
// panic machinery.
func panicOrigin() string {
	pcs := make([]uintptr, 64)
	frames := goruntime.CallersFrames(pcs[:goruntime.Callers(2, pcs)])
	panicking := false
	for {
		f, more := frames.Next()
		isRuntime := strings.HasPrefix(f.Function, "runtime.")
		if panicking && !isRuntime {
			return fmt.Sprintf(" at %s:%d", f.File[strings.LastIndexByte(f.File, '/')+1:], f.Line)
		}
		panicking = panicking || isRuntime
		if !more {
			return ""
		}
	}
}

// encodeFailed is the error of a result that its serde does not take.
func encodeFailed(n *topology.Node, what string, err error) error {
	return &topology.RecordError{Stage: topology.StageEncode, Node: n.Name, Err: fmt.Errorf("%s: %w", what, err)}
}
