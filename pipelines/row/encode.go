package row

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendJSON writes v. The fields of an object come in the order of t, others
// after them, sorted. A float always has a point or an exponent, so that it is
// read as one.
func AppendJSON(dst []byte, v any, t *Type) ([]byte, error) { return appendJSON(dst, v, t, 0) }

func appendJSON(dst []byte, v any, t *Type, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxDepth)
	}
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case string:
		return appendText(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case float64:
		return appendFloat(dst, v)
	case bool:
		return strconv.AppendBool(dst, v), nil
	case time.Time:
		if y := v.Year(); y < 0 || y > 9999 {
			return nil, fmt.Errorf("the year %d cannot be written", y)
		}
		return append(v.AppendFormat(append(dst, '"'), time.RFC3339Nano), '"'), nil
	case time.Duration:
		return appendText(dst, v.String()), nil
	case Raw:
		return append(dst, v...), nil
	case []byte:
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), v), '"'), nil
	case map[string]any:
		return appendObject(dst, v, t, depth)
	case []any:
		var elem *Type
		if t != nil {
			elem = t.Elem
		}
		return appendList(dst, v, elem, depth)
	case []string:
		dst = append(dst, '[')
		for i, s := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendText(dst, s)
		}
		return append(dst, ']'), nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("a %T cannot be written as JSON", v)
	}
	return append(dst, b...), nil
}

func appendList(dst []byte, items []any, elem *Type, depth int) (_ []byte, err error) {
	dst = append(dst, '[')
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendJSON(dst, item, elem, depth+1); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func appendObject(dst []byte, m map[string]any, t *Type, depth int) (_ []byte, err error) {
	dst = append(dst, '{')
	written := 0
	field := func(name string, v any, ft *Type) error {
		if written > 0 {
			dst = append(dst, ',')
		}
		written++
		dst = append(appendText(dst, name), ':')
		dst, err = appendJSON(dst, v, ft, depth+1)
		return err
	}
	if t != nil {
		for i := range t.Fields {
			f := &t.Fields[i]
			if v, ok := m[f.Name]; ok {
				if err := field(f.Name, v, f.Type); err != nil {
					return nil, err
				}
			}
		}
	}
	if written == len(m) {
		return append(dst, '}'), nil
	}
	rest := make([]string, 0, len(m)-written)
	for name := range m {
		if t == nil || t.Field(name) == nil {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	for _, name := range rest {
		if err := field(name, m[name], nil); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func appendFloat(dst []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%v cannot be written as JSON", f)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if format == 'f' && !slices.Contains(dst[start:], '.') {
		dst = append(dst, ".0"...)
	}
	return dst, nil
}

const hexDigits = "0123456789abcdef"

// appendText writes a string in quotes. What is not UTF-8 is replaced.
func appendText(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			if c < ' ' {
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			} else {
				dst = append(dst, "\uFFFD"...)
			}
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// Plain writes a value for people and headers: text as it is, others as JSON.
func Plain(v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return []byte(v), nil
	case []byte:
		return v, nil
	case time.Time:
		return v.AppendFormat(nil, time.RFC3339Nano), nil
	}
	return AppendJSON(nil, v, nil)
}
