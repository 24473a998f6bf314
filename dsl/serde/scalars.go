package serde

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"unsafe"
)

// Bytes passes bytes through; Decode copies them.
type Bytes struct{}

// Append implements Serde.
func (Bytes) Append(dst, v []byte) ([]byte, error) { return append(dst, v...), nil }

// Decode implements Serde.
func (Bytes) Decode(b []byte) ([]byte, error) { return append(make([]byte, 0, len(b)), b...), nil }

// DecodeShared implements SharedDecoder.
func (Bytes) DecodeShared(b []byte) []byte { return b[:len(b):len(b)] }

// FormatText implements Text.
func (Bytes) FormatText(v []byte) string { return string(v) }

// ParseText implements Text.
func (Bytes) ParseText(s string) ([]byte, error) { return []byte(s), nil }

// String implements fmt.Stringer.
func (Bytes) String() string { return "bytes" }

// String writes text as it is (Kafka's StringSerializer, which writes UTF-8).
// Bytes that are not UTF-8 are kept, as Go strings keep them.
type String struct{}

// Append implements Serde.
func (String) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }

// Decode implements Serde.
func (String) Decode(b []byte) (string, error) { return string(b), nil }

// DecodeShared implements SharedDecoder.
func (String) DecodeShared(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// FormatText implements Text.
func (String) FormatText(v string) string { return v }

// ParseText implements Text.
func (String) ParseText(s string) (string, error) { return s, nil }

// String implements fmt.Stringer.
func (String) String() string { return "string" }

// Int64 writes 8 bytes, big endian, two's complement (Kafka's LongSerializer).
// Note that negative keys then come after positive ones in a range scan.
type Int64 struct{}

// Append implements Serde.
func (Int64) Append(dst []byte, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
}

// Decode implements Serde.
func (Int64) Decode(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("int64: %d bytes, want 8", len(b))
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

// FormatText implements Text.
func (Int64) FormatText(v int64) string { return strconv.FormatInt(v, 10) }

// ParseText implements Text.
func (Int64) ParseText(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }

// String implements fmt.Stringer.
func (Int64) String() string { return "int64" }

// Float64 writes the 8 bytes of an IEEE 754 double, big endian (Kafka's
// DoubleSerializer). It writes every NaN as the one that Java calls canonical.
type Float64 struct{}

const canonicalNaN = 0x7ff8000000000000

// Append implements Serde.
func (Float64) Append(dst []byte, v float64) ([]byte, error) {
	bits := math.Float64bits(v)
	if v != v {
		bits = canonicalNaN
	}
	return binary.BigEndian.AppendUint64(dst, bits), nil
}

// Decode implements Serde.
func (Float64) Decode(b []byte) (float64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("float64: %d bytes, want 8", len(b))
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
}

// FormatText implements Text.
func (Float64) FormatText(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// ParseText implements Text.
func (Float64) ParseText(s string) (float64, error) { return strconv.ParseFloat(s, 64) }

// String implements fmt.Stringer.
func (Float64) String() string { return "float64" }
