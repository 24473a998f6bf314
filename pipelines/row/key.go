package row

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/levada/levada/dsl/serde"
)

// KeySerde is the serde of keys in a format: string, int, float, json or
// bytes. The forms are those of Kafka's own serializers, see package
// dsl/serde.
func KeySerde(format string) serde.Serde[any] {
	switch format {
	case "int":
		return intKey{}
	case "float":
		return floatKey{}
	case "json":
		return jsonKey{}
	case "bytes":
		return bytesKey{}
	}
	return stringKey{}
}

// KeyType is the type of keys in a format.
func KeyType(format string) *Type {
	switch format {
	case "int":
		return Of(Int)
	case "float":
		return Of(Float)
	case "json":
		return Of(Any)
	case "bytes":
		return Of(Bytes)
	}
	return Of(String)
}

// KeyFormat is the format for keys of a type; ok is false if the type is not
// known well enough.
func KeyFormat(t *Type) (format string, ok bool) {
	switch t.Kind {
	case String:
		return "string", true
	case Int:
		return "int", true
	case Float:
		return "float", true
	case Bytes:
		return "bytes", true
	case Any:
		return "json", false
	}
	return "json", true
}

func wrongKey(v any, want string) error { return fmt.Errorf("the key is a %T, want %s", v, want) }

type stringKey struct{}

func (stringKey) Append(dst []byte, v any) ([]byte, error) {
	if s, ok := v.(string); ok {
		return append(dst, s...), nil
	}
	return nil, wrongKey(v, "text")
}
func (stringKey) Decode(b []byte) (any, error)       { return string(b), nil }
func (stringKey) DecodeShared(b []byte) any          { return string(b) }
func (stringKey) FormatText(v any) string            { return fmt.Sprint(v) }
func (stringKey) ParseText(text string) (any, error) { return text, nil }
func (stringKey) String() string                     { return "string" }

type bytesKey struct{}

func (bytesKey) Append(dst []byte, v any) ([]byte, error) {
	if b, ok := v.([]byte); ok {
		return append(dst, b...), nil
	}
	return nil, wrongKey(v, "bytes")
}

func (bytesKey) Decode(b []byte) (any, error) {
	return append(make([]byte, 0, len(b)), b...), nil
}
func (bytesKey) DecodeShared(b []byte) any          { return b }
func (bytesKey) FormatText(v any) string            { return fmt.Sprintf("%s", v) }
func (bytesKey) ParseText(text string) (any, error) { return []byte(text), nil }
func (bytesKey) String() string                     { return "bytes" }

type intKey struct{}

func (intKey) Append(dst []byte, v any) ([]byte, error) {
	switch i := v.(type) {
	case int:
		return binary.BigEndian.AppendUint64(dst, uint64(i)), nil
	case int64:
		return binary.BigEndian.AppendUint64(dst, uint64(i)), nil
	}
	return nil, wrongKey(v, "a whole number")
}

func (intKey) Decode(b []byte) (any, error) {
	i, err := serde.Int64{}.Decode(b)
	return int(i), err
}
func (intKey) FormatText(v any) string            { return fmt.Sprint(v) }
func (intKey) ParseText(text string) (any, error) { return strconv.Atoi(text) }
func (intKey) String() string                     { return "int" }

type floatKey struct{}

func (floatKey) Append(dst []byte, v any) ([]byte, error) {
	switch f := v.(type) {
	case float64:
		return serde.Float64{}.Append(dst, f)
	case int:
		return serde.Float64{}.Append(dst, float64(f))
	}
	return nil, wrongKey(v, "a number")
}
func (floatKey) Decode(b []byte) (any, error)       { return serde.Float64{}.Decode(b) }
func (floatKey) FormatText(v any) string            { return fmt.Sprint(v) }
func (floatKey) ParseText(text string) (any, error) { return strconv.ParseFloat(text, 64) }
func (floatKey) String() string                     { return "float" }

type jsonKey struct{}

func (jsonKey) Append(dst []byte, v any) ([]byte, error) { return AppendJSON(dst, v, nil) }
func (jsonKey) Decode(b []byte) (any, error)             { return DecodeJSON(string(b), nil) }

func (k jsonKey) FormatText(v any) string {
	b, err := k.Append(nil, v)
	if err != nil {
		return "!" + err.Error()
	}
	return string(b)
}
func (k jsonKey) ParseText(text string) (any, error) { return k.Decode([]byte(text)) }
func (jsonKey) String() string                       { return "json" }
