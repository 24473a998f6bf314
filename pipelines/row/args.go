package row

import "github.com/levada/levada/internal/recordbatch"

// ArgsSerde is the serde of the arguments of a step's aggregates: a Row whose
// Value is a []any, as a JSON list. Two are equal if they point to the same
// aggregates.
type ArgsSerde struct{ Aggregates *[]Aggregate }

// Append implements serde.Serde.
func (s ArgsSerde) Append(dst []byte, r *Row) ([]byte, error) { return AppendJSON(dst, r.Value, nil) }

// Decode implements serde.Serde.
func (s ArgsSerde) Decode(b []byte) (*Row, error) {
	d := decoder{s: string(b)}
	args := make([]any, len(*s.Aggregates))
	for i := range args {
		sep := ","
		if i == 0 {
			sep = "["
		}
		if !d.word(sep) {
			return nil, d.fault("want %q", sep)
		}
		v, err := d.value((*s.Aggregates)[i].Arg.OrNull(), 0)
		if err != nil {
			return nil, err
		}
		args[i] = v
	}
	if !d.word("]") || d.at != len(d.s) {
		return nil, d.fault("want %d arguments", len(args))
	}
	return &Row{Value: args}, nil
}

// String implements fmt.Stringer.
func (s ArgsSerde) String() string { return "arguments of " + SumsSerde(s).String() }

// Storable tells whether a value can be kept in a store, which is to say
// written as JSON. scratch is memory to try it in, and is returned.
func Storable(v any, scratch []byte) ([]byte, error) {
	switch v.(type) {
	case nil, string, int, bool:
		return scratch, nil
	}
	b, err := AppendJSON(scratch[:0], v, nil)
	if err != nil {
		return scratch, err
	}
	return b, nil
}

// WithHeaders is the row with headers that a sink adds to the record's.
func (r *Row) WithHeaders(h []recordbatch.Header) *Row {
	if r == nil {
		return nil
	}
	c := *r
	c.headers = h
	return &c
}

// Headers are those that WithHeaders set.
func (r *Row) Headers() []recordbatch.Header {
	if r == nil {
		return nil
	}
	return r.headers
}
