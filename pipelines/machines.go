package pipelines

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/levada/levada/dsl"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/pipelines/expression"
	"github.com/levada/levada/pipelines/row"
)

// machines makes the functions of steps. Functions of dsl are called by many
// tasks at a time, so each call borrows a machine: its stack and its map of
// names are used again and again.
type machines struct {
	pool sync.Pool
}

type machine struct {
	*expression.Machine
	scratch []byte
}

func newMachines(now func() time.Time) *machines {
	m := &machines{}
	m.pool.New = func() any { return &machine{Machine: expression.NewMachine(now)} }
	return m
}

func (m *machines) get() *machine   { return m.pool.Get().(*machine) }
func (m *machines) put(mc *machine) { m.pool.Put(mc) }

// needs is what the expressions of a step look at.
type needs struct {
	key, value, table, timestamp, topic, partition, offset, headers, streamTime bool
	// checksNull: an expression compares something with nil, so it is to see
	// null values.
	checksNull bool
}

func needsOf(programs ...*expression.Program) needs {
	var n needs
	for _, p := range programs {
		n.checksNull = n.checksNull || p.ChecksNull
		for _, name := range p.Uses {
			switch name {
			case "key":
				n.key = true
			case "value":
				n.value = true
			case "table":
				n.table = true
			case "timestamp":
				n.timestamp = true
			case "topic":
				n.topic = true
			case "partition":
				n.partition = true
			case "offset":
				n.offset = true
			case "headers":
				n.headers = true
			case "stream_time":
				n.streamTime = true
			}
		}
	}
	return n
}

func needsOfFields(fields []field) needs {
	programs := make([]*expression.Program, len(fields))
	for i, f := range fields {
		programs[i] = f.program
	}
	return needsOf(programs...)
}

// passesNull tells whether a null value goes by: the expressions look at the
// value and would not know what to do with none.
func (n *needs) passesNull() bool { return n.value && !n.checksNull }

// load gives a machine the names that are looked at.
func (n *needs) load(mc *machine, m *dsl.Meta, key any, value *row.Row) error {
	if n.value {
		mc.Set("value", valueOf(value))
	}
	if n.key {
		mc.Set("key", key)
	}
	if n.timestamp {
		mc.Set("timestamp", time.UnixMilli(m.Timestamp).UTC())
	}
	if n.topic {
		mc.Set("topic", m.Topic())
	}
	if n.partition {
		mc.Set("partition", int(m.Partition()))
	}
	if n.offset {
		mc.Set("offset", int(m.Offset()))
	}
	if n.streamTime {
		mc.StreamTimeMs = m.StreamTime()
	}
	if n.headers {
		hs, err := m.Headers()
		if err != nil {
			return err
		}
		mc.Set("headers", headerMap(hs))
	}
	return nil
}

func valueOf(r *row.Row) any {
	if r == nil {
		return nil
	}
	return r.Value
}

func headerMap(hs []recordbatch.Header) map[string]any {
	m := make(map[string]any, len(hs))
	for _, h := range hs {
		m[h.Key] = string(h.Value)
	}
	return m
}

type (
	valueFunc = func(m *dsl.Meta, k any, v *row.Row, emit func(*row.Row)) error
	keyFunc   = func(m *dsl.Meta, k any, v *row.Row, emit func(any, *row.Row)) error
)

// eval is one run of one expression.
func (ms *machines) eval(n *needs, p *expression.Program, m *dsl.Meta, k any, v *row.Row) (any, error) {
	mc := ms.get()
	defer ms.put(mc)
	if err := n.load(mc, m, k, v); err != nil {
		return nil, err
	}
	return mc.Run(p)
}

func (ms *machines) filter(o *operation) valueFunc {
	n, p := needsOf(o.program), o.program
	return func(m *dsl.Meta, k any, v *row.Row, emit func(*row.Row)) error {
		if v == nil && n.passesNull() {
			emit(nil)
			return nil
		}
		got, err := ms.eval(&n, p, m, k, v)
		if err != nil {
			return err
		}
		pass, ok := got.(bool)
		if !ok {
			return fmt.Errorf("the expression gave a %T, want true or false", got)
		}
		if pass {
			emit(v)
		}
		return nil
	}
}

func (ms *machines) mapValue(o *operation) valueFunc {
	if o.program == nil {
		return ms.mapFields(o.fields)
	}
	n, p := needsOf(o.program), o.program
	return func(m *dsl.Meta, k any, v *row.Row, emit func(*row.Row)) error {
		if v == nil && n.passesNull() {
			emit(nil)
			return nil
		}
		got, err := ms.eval(&n, p, m, k, v)
		if err != nil {
			return err
		}
		emit(rowOf(got))
		return nil
	}
}

// rowOf makes a row, or a null, of what an expression gave.
func rowOf(v any) *row.Row {
	if v == nil {
		return nil
	}
	return row.New(v)
}

func (ms *machines) mapFields(fields []field) valueFunc {
	n := needsOfFields(fields)
	return func(m *dsl.Meta, k any, v *row.Row, emit func(*row.Row)) error {
		if v == nil && n.passesNull() {
			emit(nil)
			return nil
		}
		out := make(map[string]any, len(fields))
		if err := ms.evalFields(&n, fields, m, k, v, out); err != nil {
			return err
		}
		emit(row.New(out))
		return nil
	}
}

func (ms *machines) evalFields(n *needs, fields []field, m *dsl.Meta, k any, v *row.Row, out map[string]any) error {
	mc := ms.get()
	defer ms.put(mc)
	if err := n.load(mc, m, k, v); err != nil {
		return err
	}
	return mc.fields(fields, out)
}

func (mc *machine) fields(fields []field, out map[string]any) error {
	for i := range fields {
		got, err := mc.Run(fields[i].program)
		if err != nil {
			return fmt.Errorf("field %q: %w", fields[i].name, err)
		}
		out[fields[i].name] = got
	}
	return nil
}

var errNullKey = errors.New("the value is null, and the key is to be made of it")

var errNoObject = errors.New("the value is no object, so no field can be set")

func (ms *machines) set(o *operation) valueFunc {
	n, fields := needsOfFields(o.fields), o.fields
	return func(m *dsl.Meta, k any, v *row.Row, emit func(*row.Row)) error {
		if v == nil {
			emit(nil)
			return nil
		}
		old, ok := v.Value.(map[string]any)
		if !ok {
			return errNoObject
		}
		out := make(map[string]any, len(old)+len(fields))
		for name, x := range old {
			out[name] = x
		}
		if err := ms.evalFields(&n, fields, m, k, v, out); err != nil {
			return err
		}
		emit(row.New(out))
		return nil
	}
}

func (ms *machines) flatMap(o *operation) valueFunc {
	n, p := needsOf(o.program), o.program
	return func(m *dsl.Meta, k any, v *row.Row, emit func(*row.Row)) error {
		if v == nil && n.passesNull() {
			return nil
		}
		got, err := ms.eval(&n, p, m, k, v)
		if err != nil {
			return err
		}
		switch items := got.(type) {
		case nil:
		case []any:
			for _, item := range items {
				emit(rowOf(item))
			}
		case []string:
			for _, item := range items {
				emit(row.New(item))
			}
		case []int:
			for _, item := range items {
				emit(row.New(item))
			}
		default:
			return fmt.Errorf("the expression gave a %T, want a list", got)
		}
		return nil
	}
}

func (ms *machines) rekey(p *expression.Program) keyFunc {
	n := needsOf(p)
	return func(m *dsl.Meta, k any, v *row.Row, emit func(any, *row.Row)) error {
		if v == nil && n.passesNull() {
			return errNullKey
		}
		got, err := ms.eval(&n, p, m, k, v)
		if err != nil {
			return err
		}
		emit(got, v)
		return nil
	}
}

// arguments evaluates the expressions of an aggregate, so that what can fail
// has failed before any state is touched.
func (ms *machines) arguments(o *operation) valueFunc {
	n, fields := needsOfFields(o.fields), o.fields
	return func(m *dsl.Meta, k any, v *row.Row, emit func(*row.Row)) error {
		if v == nil {
			emit(nil) // the aggregate counts it as dropped
			return nil
		}
		args := make([]any, len(fields))
		if err := ms.evalArguments(&n, fields, m, k, v, args); err != nil {
			return err
		}
		emit(row.New(args))
		return nil
	}
}

func (ms *machines) evalArguments(n *needs, fields []field, m *dsl.Meta, k any, v *row.Row, args []any) (err error) {
	mc := ms.get()
	defer ms.put(mc)
	if err := n.load(mc, m, k, v); err != nil {
		return err
	}
	for i := range fields {
		if args[i], err = mc.Run(fields[i].program); err == nil {
			mc.scratch, err = row.Storable(args[i], mc.scratch)
		}
		if err != nil {
			return fmt.Errorf("field %q: %w", fields[i].name, err)
		}
	}
	return nil
}

// selected makes the value of a join.
func (ms *machines) selected(o *operation) func(m *dsl.Meta, k any, v *joined, emit func(*row.Row)) error {
	n, fields := needsOfFields(o.fields), o.fields
	return func(m *dsl.Meta, k any, v *joined, emit func(*row.Row)) error {
		mc := ms.get()
		defer ms.put(mc)
		if err := n.load(mc, m, k, v.value); err != nil {
			return err
		}
		if n.table {
			mc.Set("table", valueOf(v.table))
		}
		out := make(map[string]any, len(fields))
		if err := mc.fields(fields, out); err != nil {
			return err
		}
		emit(row.New(out))
		return nil
	}
}

// headers evaluates the headers of an output; the sink adds them.
func (ms *machines) headers(fields []field) valueFunc {
	n := needsOfFields(fields)
	return func(m *dsl.Meta, k any, v *row.Row, emit func(*row.Row)) error {
		if v == nil {
			emit(nil)
			return nil
		}
		mc := ms.get()
		defer ms.put(mc)
		if err := n.load(mc, m, k, v); err != nil {
			return err
		}
		hs := make([]recordbatch.Header, 0, len(fields))
		for i := range fields {
			got, err := mc.Run(fields[i].program)
			if err != nil {
				return fmt.Errorf("header %q: %w", fields[i].name, err)
			}
			if got == nil {
				continue
			}
			text, err := row.Plain(got)
			if err != nil {
				return fmt.Errorf("header %q: %w", fields[i].name, err)
			}
			hs = append(hs, recordbatch.Header{Key: fields[i].name, Value: text})
		}
		emit(v.WithHeaders(hs))
		return nil
	}
}
