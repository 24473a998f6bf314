package pipelines

import (
	"fmt"
	"math"
	"time"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/operators"
	"github.com/levada/levada/pipelines/expression"
	"github.com/levada/levada/pipelines/row"
	"github.com/levada/levada/runtime/topology"
)

// timed lets a source take the times of its records from an expression. The
// source itself sees time 0, so that the records' own times do not move stream
// time; behind it the expression sets both.
func (ms *machines) timed(source operators.Build, p *expression.Program) operators.Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		clock := &timer{machines: ms, program: p, needs: needsOf(p), ctx: t.Context, node: t.Node()}
		edges := append([]topology.Edge(nil), down...)
		for i := range edges {
			in, ok := edges[i].To.(*operators.Input[any, *row.Row])
			if !ok {
				return nil, fmt.Errorf("pipelines: what follows source %q takes a %T", t.Node().Name, edges[i].To)
			}
			edges[i].To = clock.before(in, i == 0)
		}
		built, err := source(t, edges)
		if err != nil {
			return nil, err
		}
		clock.next = built.(topology.BatchFunc)
		return topology.BatchFunc(clock.batch), nil
	}
}

// timer is the clock of one source of one task.
type timer struct {
	*machines
	program *expression.Program
	needs   needs
	ctx     *topology.Context
	node    *topology.Node
	next    topology.BatchFunc
	records []topology.Record // of the batch, as they came
	scratch []topology.Record
	at      int // the record being processed
	now     int64
}

func (c *timer) batch(records []topology.Record) (int, error) {
	c.records, c.at = records, -1
	c.scratch = append(c.scratch[:0], records...)
	for i := range c.scratch {
		c.scratch[i].Timestamp = 0
	}
	// Every record enters the source one by one, so that the clock knows which
	// it is even after one that could not be read.
	for c.at = range c.scratch {
		if done, err := c.next(c.scratch[c.at : c.at+1]); err != nil || done != 1 {
			return c.at, err
		}
	}
	return len(records), nil
}

// before puts the clock in front of one output of the source. The first one
// computes the time.
func (c *timer) before(in *operators.Input[any, *row.Row], first bool) *operators.Input[any, *row.Row] {
	return &operators.Input[any, *row.Row]{
		ReadsKey: in.ReadsKey || c.needs.key, ReadsValue: true, Keeps: in.Keeps,
		Process: func(r *operators.Record[any, *row.Row]) error {
			if first {
				if err := c.compute(r); err != nil {
					return err
				}
			}
			r.Timestamp = c.now
			return in.Process(r)
		},
	}
}

func (c *timer) compute(r *operators.Record[any, *row.Row]) error {
	c.ctx.Current = c.node
	own := c.records[c.at].Timestamp
	if r.Value == nil && c.needs.value {
		c.now = max(own, 0)
	} else if ms, err := c.eval(r, own); err != nil {
		return &topology.RecordError{Stage: topology.StageDecode, Node: c.node.Name, Err: fmt.Errorf("timestamp: %w", err)}
	} else {
		c.now = ms
	}
	c.ctx.StreamTime = max(c.ctx.StreamTime, c.now)
	return nil
}

func (c *timer) eval(r *operators.Record[any, *row.Row], own int64) (int64, error) {
	mc := c.get()
	defer c.put(mc)
	if c.needs.value {
		mc.Set("value", valueOf(r.Value))
	}
	if c.needs.key {
		mc.Set("key", r.Key)
	}
	mc.Set("timestamp", time.UnixMilli(own).UTC())
	mc.Set("topic", c.ctx.Topic)
	mc.Set("partition", int(c.ctx.Partition))
	mc.Set("offset", int(c.ctx.Offset))
	mc.StreamTimeMs = c.ctx.StreamTime
	if c.needs.headers {
		hs, err := c.ctx.Headers.Decode()
		if err != nil {
			return 0, err
		}
		mc.Set("headers", headerMap(hs))
	}
	got, err := mc.Run(c.program)
	if err != nil {
		return 0, err
	}
	ms := int64(-1)
	switch v := got.(type) {
	case time.Time:
		ms = v.UnixMilli()
	case int:
		ms = int64(v)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			ms = int64(v)
		}
	default:
		return 0, fmt.Errorf("the expression gave a %T, want a timestamp or milliseconds", got)
	}
	if ms < 0 {
		return 0, fmt.Errorf("the expression gave %v, which is before 1970 or no whole number", got)
	}
	return ms, nil
}

// withHeaders lets a sink add the headers of rows to those of the record.
func withHeaders(sink operators.Build) operators.Build {
	return func(t *topology.TaskBuilder, down []topology.Edge) (any, error) {
		built, err := sink(t, down)
		if err != nil {
			return nil, err
		}
		in := built.(*operators.Input[any, *row.Row])
		ctx, node := t.Context, t.Node()
		var buf []byte
		return &operators.Input[any, *row.Row]{
			ReadsKey: in.ReadsKey, ReadsValue: true, Keeps: in.Keeps,
			Process: func(r *operators.Record[any, *row.Row]) error {
				more := r.Value.Headers()
				if len(more) == 0 {
					return in.Process(r)
				}
				before := ctx.Headers
				hs, err := before.Decode()
				if err != nil {
					return &topology.RecordError{Stage: topology.StageEncode, Node: node.Name, Err: err}
				}
				buf = recordbatch.EncodeHeaders(buf[:0], replaced(hs, more))
				ctx.Headers = buf
				defer func() { ctx.Headers = before }()
				return in.Process(r)
			},
		}, nil
	}
}

// replaced is the headers with others set.
func replaced(hs, set []recordbatch.Header) []recordbatch.Header {
	out := make([]recordbatch.Header, 0, len(hs)+len(set))
	for _, h := range hs {
		kept := true
		for _, s := range set {
			kept = kept && s.Key != h.Key
		}
		if kept {
			out = append(out, h)
		}
	}
	return append(out, set...)
}
