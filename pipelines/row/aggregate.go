package row

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// AggregateKind is a way to bring values together.
type AggregateKind int8

// The aggregates. All but Count and Last pass over null.
const (
	Count AggregateKind = iota
	Sum
	Min
	Max
	Avg
	First
	Last
	Collect
)

var aggregateNames = []string{"count", "sum", "min", "max", "avg", "first", "last", "collect"}

// String is the name in files.
func (k AggregateKind) String() string { return aggregateNames[k] }

// AggregateNamed finds an aggregate by its name.
func AggregateNamed(name string) (AggregateKind, bool) {
	i := slices.Index(aggregateNames, name)
	return AggregateKind(i), i >= 0
}

// MaxCollected is how many values collect keeps for a key.
const MaxCollected = 1000

// Aggregate is one field of a result.
type Aggregate struct {
	Field string
	Kind  AggregateKind
	// Arg is the type of the values.
	Arg *Type
}

// Fault tells what the aggregate needs instead of Arg; empty: it is good.
func (a Aggregate) Fault() string {
	switch a.Kind {
	case Count:
		if a.Arg.Kind != Bool || a.Arg.Nullable {
			return "true, or a true/false expression"
		}
	case Sum, Avg:
		if !a.Arg.IsNumber() {
			return "a number"
		}
	case Min, Max:
		if k := a.Arg.Kind; !a.Arg.IsNumber() && k != String && k != Timestamp {
			return "a number, a text or a timestamp"
		}
	}
	return ""
}

// Result is the type of the result.
func (a Aggregate) Result() *Type {
	switch a.Kind {
	case Count:
		return Of(Int)
	case Sum:
		return a.Arg.NotNull()
	case Avg:
		return Of(Float).OrNull()
	case Collect:
		return ListOf(a.Arg.NotNull())
	}
	return a.Arg
}

// Sums is the state of the aggregates of a key.
type Sums struct {
	cells []cell
}

// cell is the state of one aggregate: a count, a sum of floats, a value.
type cell struct {
	n int
	f float64
	v any
}

// NewSums begins n aggregates.
func NewSums(n int) *Sums { return &Sums{cells: make([]cell, n)} }

// Add puts the arguments of one record to the sums. It panics if a sum of
// whole numbers has more than 64 bits or collect is full: the record is then
// left out as a whole.
func (s *Sums) Add(aggregates []Aggregate, args []any) {
	for i := range aggregates {
		if err := s.cells[i].add(&aggregates[i], args[i]); err != nil {
			panic(fmt.Errorf("field %q: %w", aggregates[i].Field, err))
		}
	}
}

func (c *cell) add(a *Aggregate, v any) error {
	if a.Kind == Count {
		if yes, ok := v.(bool); ok && yes {
			c.n++
		}
		return nil
	}
	if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return fmt.Errorf("%v is no number to bring together", f)
	}
	if a.Kind == Last {
		c.v = keep(v)
		return nil
	}
	if v == nil {
		return nil
	}
	switch a.Kind {
	case Sum:
		return c.sum(a, v)
	case Avg:
		c.n++
		return c.addFloat(float(v))
	case Min, Max:
		if c.n == 0 || (compare(v, c.v) < 0) == (a.Kind == Min) && compare(v, c.v) != 0 {
			c.v = keep(v)
		}
		c.n = 1
	case First:
		if c.n == 0 {
			c.n, c.v = 1, keep(v)
		}
	case Collect:
		items, _ := c.v.([]any)
		if len(items) >= MaxCollected {
			return fmt.Errorf("collect has %d values already, which is its limit", MaxCollected)
		}
		c.v = append(items, keep(v))
	}
	return nil
}

var errOverflow = errors.New("the sum has more than 64 bits")

func (c *cell) sum(a *Aggregate, v any) error {
	if a.Arg.Kind == Float {
		return c.addFloat(float(v))
	}
	i, ok := v.(int)
	if !ok {
		return fmt.Errorf("a %T is no whole number", v)
	}
	if i > 0 && c.n > math.MaxInt-i || i < 0 && c.n < math.MinInt-i {
		return errOverflow
	}
	c.n += i
	return nil
}

func (c *cell) addFloat(f float64) error {
	sum := c.f + f
	if math.IsInf(sum, 0) || math.IsNaN(sum) {
		return errors.New("the sum is out of range")
	}
	c.f = sum
	return nil
}

// keep copies a text, which may share memory with a whole record.
func keep(v any) any {
	if s, ok := v.(string); ok {
		return strings.Clone(s)
	}
	return v
}

func float(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int:
		return float64(v)
	}
	return math.NaN()
}

// compare orders values of one type.
func compare(a, b any) int {
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return strings.Compare(a, b)
		}
	case time.Time:
		if b, ok := b.(time.Time); ok {
			return a.Compare(b)
		}
	case int:
		if b, ok := b.(int); ok {
			switch {
			case a < b:
				return -1
			case a > b:
				return 1
			}
			return 0
		}
	}
	switch x, y := float(a), float(b); {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// Row is the result.
func (s *Sums) Row(aggregates []Aggregate) *Row {
	m := make(map[string]any, len(aggregates))
	for i := range aggregates {
		m[aggregates[i].Field] = s.cells[i].result(&aggregates[i])
	}
	return &Row{Value: m}
}

func (c *cell) result(a *Aggregate) any {
	switch a.Kind {
	case Count:
		return c.n
	case Sum:
		if a.Arg.Kind == Float {
			return c.f
		}
		return c.n
	case Avg:
		if c.n == 0 {
			return nil
		}
		return c.f / float64(c.n)
	case Collect:
		items, _ := c.v.([]any)
		return append(make([]any, 0, len(items)), items...)
	}
	return c.v
}

// SumsSerde is the serde of the sums of a step: a JSON list with one list
// [count, sum, value] for each aggregate. Two are equal if they point to the
// same aggregates.
type SumsSerde struct{ Aggregates *[]Aggregate }

// Append implements serde.Serde.
func (s SumsSerde) Append(dst []byte, v *Sums) (_ []byte, err error) {
	dst = append(dst, '[')
	for i, c := range v.cells {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendList(dst, []any{c.n, c.f, c.v}, nil, 0); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

// Decode implements serde.Serde.
func (s SumsSerde) Decode(b []byte) (*Sums, error) {
	d := decoder{s: string(b)}
	v := NewSums(len(*s.Aggregates))
	for i := range *s.Aggregates {
		a := &(*s.Aggregates)[i]
		arg := a.Arg.OrNull()
		if a.Kind == Collect {
			arg = ListOf(a.Arg).OrNull()
		}
		if err := v.cells[i].decode(&d, i == 0, arg); err != nil {
			return nil, fmt.Errorf("aggregate %q: %w", a.Field, err)
		}
	}
	if !d.word("]") || d.at != len(d.s) {
		return nil, d.fault("want the sums of %d aggregates", len(v.cells))
	}
	return v, nil
}

func (c *cell) decode(d *decoder, first bool, arg *Type) error {
	sep := ",["
	if first {
		sep = "[["
	}
	if !d.word(sep) {
		return d.fault("want %s", sep)
	}
	n, err := d.value(Of(Int), 0)
	if err != nil || !d.word(",") {
		return errors.Join(err, d.fault("want a count"))
	}
	f, err := d.value(Of(Float), 0)
	if err != nil || !d.word(",") {
		return errors.Join(err, d.fault("want a sum"))
	}
	if c.v, err = d.value(arg, 0); err != nil || !d.word("]") {
		return errors.Join(err, d.fault("want a value"))
	}
	c.n, c.f = n.(int), f.(float64)
	return nil
}

// FormatText implements serde.Text.
func (s SumsSerde) FormatText(v *Sums) string {
	b, err := JSON{}.Append(nil, v.Row(*s.Aggregates))
	if err != nil {
		return "!" + err.Error()
	}
	return string(b)
}

// ParseText implements serde.Text: it reads the serialised form.
func (s SumsSerde) ParseText(text string) (*Sums, error) { return s.Decode([]byte(text)) }

// String implements fmt.Stringer.
func (s SumsSerde) String() string {
	parts := make([]string, len(*s.Aggregates))
	for i, a := range *s.Aggregates {
		parts[i] = a.Kind.String() + " of " + a.Arg.String()
	}
	return "sums(" + strings.Join(parts, ", ") + ")"
}
