package serde

import (
	"fmt"
	"reflect"

	"github.com/goccy/go-json"
)

// JSON writes a value as JSON, without a line end, map keys sorted.
type JSON[T any] struct{}

// Append implements Serde.
func (JSON[T]) Append(dst []byte, v T) ([]byte, error) {
	b, err := json.MarshalWithOption(v, json.DisableHTMLEscape())
	if err != nil {
		return nil, err
	}
	return append(dst, b...), nil
}

// Decode implements Serde. Anything but white space after the value is an
// error.
func (JSON[T]) Decode(b []byte) (T, error) {
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("not JSON of %s: %w", reflect.TypeFor[T](), err)
	}
	return v, nil
}

// FormatText implements Text: the JSON itself, or the error in its place.
func (s JSON[T]) FormatText(v T) string {
	b, err := s.Append(nil, v)
	if err != nil {
		return fmt.Sprintf("!%v", err)
	}
	return string(b)
}

// ParseText implements Text.
func (s JSON[T]) ParseText(text string) (T, error) { return s.Decode([]byte(text)) }

// String implements fmt.Stringer.
func (JSON[T]) String() string { return "json of " + reflect.TypeFor[T]().String() }
