package serde

import (
	"fmt"
	"reflect"
	"strings"
)

// Serde writes and reads values of one type.
type Serde[T any] interface {
	// Append adds the form of v to dst, which it must not keep.
	Append(dst []byte, v T) ([]byte, error)
	// Decode reads a value out of exactly b. The value must not share memory
	// with b, which is reused.
	Decode(b []byte) (T, error)
}

// SharedDecoder is implemented by serdes whose values may alias bytes that
// nobody changes any more, and that can read any bytes at all. Sources use it
// to read many values out of one piece of memory, and do not read those that
// no operator looks at.
type SharedDecoder[T any] interface {
	// DecodeShared returns a value that may share memory with b.
	DecodeShared(b []byte) T
}

// Text is implemented by serdes whose values have a short written form, for
// tests and for people.
type Text[T any] interface {
	// FormatText writes v.
	FormatText(v T) string
	// ParseText reads what FormatText wrote.
	ParseText(s string) (T, error)
}

// For returns the serde that is used for T where none is given: Bytes, String,
// Int64 and Float64 for exactly their types, JSON for all others.
func For[T any]() Serde[T] {
	var v T
	var s any
	switch any(v).(type) {
	case []byte:
		s = Bytes{}
	case string:
		s = String{}
	case int64:
		s = Int64{}
	case float64:
		s = Float64{}
	default:
		return JSON[T]{}
	}
	return s.(Serde[T])
}

// Equal tells whether two serdes are the same, so that what one wrote is what
// the other would have written.
func Equal[T any](a, b Serde[T]) bool {
	ta, tb := reflect.TypeOf(a), reflect.TypeOf(b)
	if ta != tb || ta == nil || !ta.Comparable() {
		return false
	}
	return any(a) == any(b)
}

// Name is how a serde is called in messages: its String method if it has one,
// its Go type otherwise.
func Name(s any) string {
	if n, ok := s.(fmt.Stringer); ok {
		return n.String()
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", s), "serde.")
}

// Format writes v for people: its text form if the serde has one.
func Format[T any](s Serde[T], v T) string {
	if text, ok := s.(Text[T]); ok {
		return text.FormatText(v)
	}
	return fmt.Sprint(v)
}

// Parse reads what Format wrote.
func Parse[T any](s Serde[T], text string) (v T, err error) {
	p, ok := s.(Text[T])
	if !ok {
		return v, fmt.Errorf("serde %s has no written form: give it FormatText and ParseText", Name(s))
	}
	return p.ParseText(text)
}
