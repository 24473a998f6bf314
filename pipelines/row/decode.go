package row

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep JSON may be nested.
const maxDepth = 100

// Raw is a JSON text that is passed on as it came.
type Raw string

// MarshalJSON implements json.Marshaler, for the function toJSON of
// expressions.
func (r Raw) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// DecodeJSON reads a value of type t. Texts in it share the memory of s.
func DecodeJSON(s string, t *Type) (any, error) {
	d := decoder{s: s}
	v, err := d.value(t, 0)
	if err != nil {
		return nil, err
	}
	if d.space(); d.at < len(s) {
		return nil, d.fault("more text follows the value")
	}
	return v, nil
}

type decoder struct {
	s  string
	at int
}

func (d *decoder) fault(format string, args ...any) error {
	return fmt.Errorf("not JSON at byte %d: %s", d.at, fmt.Sprintf(format, args...))
}

func (d *decoder) space() {
	for d.at < len(d.s) {
		switch d.s[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

func (d *decoder) value(t *Type, depth int) (any, error) {
	if depth > maxDepth {
		return nil, d.fault("nested more than %d deep", maxDepth)
	}
	d.space()
	if d.at >= len(d.s) {
		return nil, d.fault("the text ends early")
	}
	kind := Any
	if t != nil {
		kind = t.Kind
	}
	switch c := d.s[d.at]; {
	case c == '{':
		if kind != Object && kind != Any {
			return nil, mismatch(t, "an object")
		}
		return d.object(t, depth)
	case c == '[':
		if kind != List && kind != Any {
			return nil, mismatch(t, "a list")
		}
		return d.list(t, depth)
	case c == '"':
		text, err := d.text()
		if err != nil || kind == String || kind == Any {
			return text, err
		}
		return textAs(t, text)
	case c == '-' || c >= '0' && c <= '9':
		return d.number(t)
	case d.word("null"):
		if kind != Any && !t.Nullable {
			return nil, mismatch(t, "null")
		}
		return nil, nil
	case d.word("true"), d.word("false"):
		if kind != Bool && kind != Any {
			return nil, mismatch(t, "a boolean")
		}
		return d.s[d.at-2] == 'u', nil
	}
	return nil, d.fault("unexpected %q", d.s[d.at])
}

func (d *decoder) word(w string) bool {
	if strings.HasPrefix(d.s[d.at:], w) {
		d.at += len(w)
		return true
	}
	return false
}

// errMismatch is a value of another type than declared; what holds it adds
// its name.
type errMismatch struct {
	path string
	want *Type
	got  string
}

func (e *errMismatch) Error() string {
	at := "the value"
	if e.path != "" {
		at = fmt.Sprintf("field %q", e.path)
	}
	if e.got == "" {
		return fmt.Sprintf("%s is missing, and %s is declared without ?", at, e.want)
	}
	return fmt.Sprintf("%s is %s, declared is %s", at, e.got, e.want)
}

func mismatch(t *Type, got string) error { return &errMismatch{want: t, got: got} }

// within adds a name to where a mismatch is.
func within(err error, name string) error {
	var m *errMismatch
	if errors.As(err, &m) {
		if m.path == "" {
			m.path = name
		} else {
			m.path = name + "." + m.path
		}
	}
	return err
}

func (d *decoder) object(t *Type, depth int) (any, error) {
	known := t != nil && t.Fields != nil
	size := 4
	if known {
		size = len(t.Fields)
	}
	m := make(map[string]any, size)
	d.at++
	for first := true; ; first = false {
		d.space()
		if d.at < len(d.s) && d.s[d.at] == '}' && first {
			d.at++
			break
		}
		name, err := d.name()
		if err != nil {
			return nil, err
		}
		if err := d.field(t, known, m, name, depth); err != nil {
			return nil, err
		}
		d.space()
		if d.at >= len(d.s) || d.s[d.at] != ',' && d.s[d.at] != '}' {
			return nil, d.fault("want , or } after a field")
		}
		d.at++
		if d.s[d.at-1] == '}' {
			break
		}
	}
	if known {
		for i := range t.Fields {
			f := &t.Fields[i]
			if _, ok := m[f.Name]; !ok && !f.Type.Nullable && f.Type.Kind != Any {
				return nil, &errMismatch{path: f.Name, want: f.Type}
			}
		}
	}
	return m, nil
}

// field reads the value of a field into m. What is not declared stays text.
func (d *decoder) field(t *Type, known bool, m map[string]any, name string, depth int) error {
	var ft *Type
	if known {
		i, declared := t.index[name]
		if !declared {
			d.space()
			start := d.at
			if err := d.skip(depth + 1); err != nil {
				return err
			}
			if t.Open {
				m[name] = Raw(d.s[start:d.at])
			}
			return nil
		}
		ft = t.Fields[i].Type
	}
	v, err := d.value(ft, depth+1)
	if err != nil {
		return within(err, name)
	}
	m[name] = v
	return nil
}

// name reads a field's name and the colon.
func (d *decoder) name() (string, error) {
	d.space()
	if d.at >= len(d.s) || d.s[d.at] != '"' {
		return "", d.fault("want the name of a field")
	}
	name, err := d.text()
	if err != nil {
		return "", err
	}
	if d.space(); d.at >= len(d.s) || d.s[d.at] != ':' {
		return "", d.fault("want : after the name of a field")
	}
	d.at++
	return name, nil
}

func (d *decoder) list(t *Type, depth int) (any, error) {
	var elem *Type
	if t != nil {
		elem = t.Elem
	}
	items := []any{}
	d.at++
	for {
		d.space()
		if d.at < len(d.s) && d.s[d.at] == ']' && len(items) == 0 {
			d.at++
			return items, nil
		}
		v, err := d.value(elem, depth+1)
		if err != nil {
			return nil, within(err, strconv.Itoa(len(items)))
		}
		items = append(items, v)
		d.space()
		if d.at >= len(d.s) || d.s[d.at] != ',' && d.s[d.at] != ']' {
			return nil, d.fault("want , or ] after an item")
		}
		d.at++
		if d.s[d.at-1] == ']' {
			return items, nil
		}
	}
}

// skip steps over a value that nobody looks at; it must be JSON all the same.
func (d *decoder) skip(depth int) error {
	_, err := d.value(nil, depth)
	return err
}

// text reads a string. It shares memory with the source unless it has escapes.
func (d *decoder) text() (string, error) {
	start := d.at + 1
	for i := start; i < len(d.s); i++ {
		switch c := d.s[i]; {
		case c == '"':
			d.at = i + 1
			return d.valid(d.s[start:i]), nil
		case c == '\\':
			return d.escaped(start, i)
		case c < ' ':
			d.at = i
			return "", d.fault("a control character in a text")
		}
	}
	d.at = len(d.s)
	return "", d.fault("a text never ends")
}

// valid replaces each byte that is not UTF-8.
func (d *decoder) valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

func (d *decoder) escaped(start, i int) (string, error) {
	var b strings.Builder
	b.Grow(len(d.s[start:min(len(d.s), i+64)]))
	b.WriteString(d.s[start:i])
	for i < len(d.s) {
		switch c := d.s[i]; {
		case c == '"':
			d.at = i + 1
			return d.valid(b.String()), nil
		case c < ' ':
			d.at = i
			return "", d.fault("a control character in a text")
		case c != '\\':
			b.WriteByte(c)
			i++
		default:
			r, size := unescape(d.s[i:])
			if size == 0 {
				d.at = i
				return "", d.fault("a bad escape in a text")
			}
			b.WriteRune(r)
			i += size
		}
	}
	d.at = len(d.s)
	return "", d.fault("a text never ends")
}

// unescape reads one escape; size 0: it is none.
func unescape(s string) (r rune, size int) {
	if len(s) < 2 {
		return 0, 0
	}
	if i := strings.IndexByte(`"\/bfnrt`, s[1]); i >= 0 {
		return rune("\"\\/\b\f\n\r\t"[i]), 2
	}
	hex := func(at int) (rune, bool) {
		if len(s) < at+6 || s[at] != '\\' || s[at+1] != 'u' {
			return 0, false
		}
		v, err := strconv.ParseUint(s[at+2:at+6], 16, 16)
		return rune(v), err == nil && s[at+2] != '+'
	}
	r, ok := hex(0)
	if !ok {
		return 0, 0
	}
	if utf16.IsSurrogate(r) {
		if low, ok := hex(6); ok {
			if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
				return both, 12
			}
		}
		return utf8.RuneError, 6
	}
	return r, 6
}

func (d *decoder) number(t *Type) (any, error) {
	start := d.at
	whole := true
	for d.at < len(d.s) {
		c := d.s[d.at]
		if c == '.' || c == 'e' || c == 'E' {
			whole = false
		} else if c != '-' && c != '+' && (c < '0' || c > '9') {
			break
		}
		d.at++
	}
	text := d.s[start:d.at]
	if !validNumber(text) {
		d.at = start
		return nil, d.fault("%q is no number", text)
	}
	kind := Any
	if t != nil {
		kind = t.Kind
	}
	switch kind {
	case Any:
		if i, err := strconv.Atoi(text); whole && err == nil {
			return i, nil
		}
		return parseFloat(text)
	case Float:
		return parseFloat(text)
	case Int:
		return parseInt(t, text, whole)
	case Timestamp:
		ms, err := parseInt(t, text, whole)
		if err != nil {
			return nil, err
		}
		return time.UnixMilli(int64(ms.(int))).UTC(), nil
	}
	return nil, mismatch(t, "the number "+text)
}

func parseFloat(text string) (any, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, fmt.Errorf("the number %s is out of range", text)
	}
	return f, nil
}

func parseInt(t *Type, text string, whole bool) (any, error) {
	if whole {
		i, err := strconv.Atoi(text)
		if err != nil {
			return nil, mismatch(t, "the number "+text+", which has more than 64 bits")
		}
		return i, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
		return nil, mismatch(t, "the number "+text)
	}
	return int(f), nil
}

// validNumber checks the grammar of JSON.
func validNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	digits := func() bool {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		s = s[n:]
		return n > 0
	}
	if strings.HasPrefix(s, "0") {
		s = s[1:]
	} else if !digits() {
		return false
	}
	if rest, ok := strings.CutPrefix(s, "."); ok {
		if s = rest; !digits() {
			return false
		}
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if !digits() {
			return false
		}
	}
	return s == ""
}

// textAs reads a text as a value of a type that JSON has no form for.
func textAs(t *Type, text string) (any, error) {
	if t.Kind == Timestamp {
		ts, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return nil, mismatch(t, fmt.Sprintf("the text %.40q, not of the form 2006-01-02T15:04:05Z", text))
		}
		return ts, nil
	}
	if t.Kind == Duration {
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, mismatch(t, fmt.Sprintf("the text %.40q", text))
		}
		return d, nil
	}
	return nil, mismatch(t, fmt.Sprintf("the text %.40q", text))
}
