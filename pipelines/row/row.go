package row

import (
	"fmt"

	"github.com/levada/levada/internal/recordbatch"
)

// Row is the value of a record. A nil *Row is a null. It is not changed once
// it is made.
type Row struct {
	Value any
	// raw is the JSON that Value was read from, to be written as it came.
	raw     string
	headers []recordbatch.Header
}

// New is a row of a value.
func New(v any) *Row { return &Row{Value: v} }

// JSON is the serde of values in JSON. Two are equal if their types are the
// same pointer. The zero value takes any JSON.
type JSON struct{ Type *Type }

// Append implements serde.Serde.
func (s JSON) Append(dst []byte, r *Row) ([]byte, error) {
	if r.raw != "" {
		return append(dst, r.raw...), nil
	}
	return AppendJSON(dst, r.Value, s.Type)
}

// Decode implements serde.Serde.
func (s JSON) Decode(b []byte) (*Row, error) {
	raw := string(b)
	v, err := DecodeJSON(raw, s.Type)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, nil
	}
	return &Row{Value: v, raw: raw}, nil
}

// FormatText implements serde.Text.
func (s JSON) FormatText(r *Row) string {
	b, err := s.Append(nil, r)
	if err != nil {
		return "!" + err.Error()
	}
	return string(b)
}

// ParseText implements serde.Text.
func (s JSON) ParseText(text string) (*Row, error) { return s.Decode([]byte(text)) }

// String implements fmt.Stringer.
func (s JSON) String() string { return "json of " + s.Type.String() }

// Text is the serde of values that are text.
type Text struct{}

// Append implements serde.Serde.
func (Text) Append(dst []byte, r *Row) ([]byte, error) {
	if s, ok := r.Value.(string); ok {
		return append(dst, s...), nil
	}
	return nil, fmt.Errorf("a %T is no text", r.Value)
}

// Decode implements serde.Serde.
func (Text) Decode(b []byte) (*Row, error) { return &Row{Value: string(b)}, nil }

// DecodeShared implements serde.SharedDecoder.
func (Text) DecodeShared(b []byte) *Row { return &Row{Value: string(b)} }

// FormatText implements serde.Text.
func (Text) FormatText(r *Row) string { return fmt.Sprint(r.Value) }

// ParseText implements serde.Text.
func (Text) ParseText(text string) (*Row, error) { return &Row{Value: text}, nil }

// String implements fmt.Stringer.
func (Text) String() string { return "text" }

// Binary is the serde of values that are bytes.
type Binary struct{}

// Append implements serde.Serde.
func (Binary) Append(dst []byte, r *Row) ([]byte, error) {
	if b, ok := r.Value.([]byte); ok {
		return append(dst, b...), nil
	}
	return nil, fmt.Errorf("a %T is no bytes", r.Value)
}

// Decode implements serde.Serde.
func (Binary) Decode(b []byte) (*Row, error) {
	return &Row{Value: append(make([]byte, 0, len(b)), b...)}, nil
}

// DecodeShared implements serde.SharedDecoder.
func (Binary) DecodeShared(b []byte) *Row { return &Row{Value: b} }

// FormatText implements serde.Text.
func (Binary) FormatText(r *Row) string { return fmt.Sprintf("%s", r.Value) }

// ParseText implements serde.Text.
func (Binary) ParseText(text string) (*Row, error) { return &Row{Value: []byte(text)}, nil }

// String implements fmt.Stringer.
func (Binary) String() string { return "bytes" }
