package sdk

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written as a number or as text: "64KiB", "10MiB".
type Size int64

// Field documents one setting of a configuration.
type Field struct {
	Name     string
	Type     string // string, integer, number, boolean, duration, size, list, map
	Doc      string
	Default  string // as text; empty: none
	Required bool
	Choices  []string
}

// Fault is one mistake in a configuration.
type Fault struct {
	Field   string // empty: the configuration as a whole
	Message string // what is wrong
	Mend    string // what to write instead
}

// String is the fault in one line.
func (f Fault) String() string {
	s := f.Message
	if f.Field != "" {
		s = f.Field + ": " + s
	}
	if f.Mend != "" {
		s += "; " + f.Mend
	}
	return s
}

// validator is implemented by a configuration that has rules beyond its tags.
type validator interface{ Validate() []Fault }

// FieldsOf lists the settings of config, a struct or a pointer to one. Tags
// describe a field:
//
//	config:"name"      the setting's name; a field without it is no setting
//	doc:"…"            one sentence for people
//	default:"…"        the value if the setting is absent, as text
//	required:"true"    the setting must be there
//	choices:"a,b"      nothing else is allowed
//
// Types are string, bool, int, int64, float64, time.Duration, Size, []string
// and map[string]string. Another type, choices of anything but a string and a
// default that is no value of the type are a programmer's mistake and panic.
func FieldsOf(config any) []Field {
	t := reflect.TypeOf(config)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var out []Field
	for i := range t.NumField() {
		sf := t.Field(i)
		name := sf.Tag.Get("config")
		if name == "" {
			continue
		}
		f := Field{
			Name: name, Type: typeName(sf.Type), Doc: sf.Tag.Get("doc"),
			Default: sf.Tag.Get("default"), Required: sf.Tag.Get("required") == "true",
		}
		if c := sf.Tag.Get("choices"); c != "" {
			f.Choices = strings.Split(c, ",")
		}
		if f.Type == "" {
			panic(fmt.Sprintf("sdk: setting %q of %v has type %v, which no setting can have", name, t, sf.Type))
		}
		if f.Choices != nil && f.Type != "string" {
			panic(fmt.Sprintf("sdk: setting %q of %v has choices, but is no string", name, t))
		}
		if f.Default != "" && len(decodeField(nil, Field{Name: name, Default: f.Default, Choices: f.Choices}, reflect.New(sf.Type).Elem())) > 0 {
			panic(fmt.Sprintf("sdk: setting %q of %v has the default %q, which is no %s it can have", name, t, f.Default, f.Type))
		}
		out = append(out, f)
	}
	return out
}

func typeName(t reflect.Type) string {
	switch reflect.Zero(t).Interface().(type) {
	case time.Duration:
		return "duration"
	case Size:
		return "size"
	case string:
		return "string"
	case bool:
		return "boolean"
	case int, int64:
		return "integer"
	case float64:
		return "number"
	case []string:
		return "list"
	case map[string]string:
		return "map"
	}
	return ""
}

// DecodeConfig reads a JSON object into config, a pointer to a struct with the
// tags of FieldsOf, and returns every fault it finds. Numbers and booleans may
// be written as text. A method Validate() []Fault of config is called last, if
// nothing is wrong so far.
func DecodeConfig(configJSON []byte, config any) []Fault {
	raw := map[string]json.RawMessage{}
	if len(configJSON) > 0 {
		if err := json.Unmarshal(configJSON, &raw); err != nil {
			return []Fault{{Message: "the configuration is no JSON object: " + err.Error(), Mend: `write an object of settings, such as {"name": "value"}`}}
		}
	}
	fields := FieldsOf(config)
	faults := unknownSettings(raw, fields)
	v := reflect.ValueOf(config).Elem()
	for i, n := 0, 0; i < v.NumField(); i++ {
		if v.Type().Field(i).Tag.Get("config") == "" {
			continue
		}
		faults = append(faults, decodeField(raw, fields[n], v.Field(i))...)
		n++
	}
	if len(faults) == 0 {
		if c, ok := config.(validator); ok {
			faults = c.Validate()
		}
	}
	return faults
}

func decodeField(raw map[string]json.RawMessage, f Field, v reflect.Value) []Fault {
	value, ok := raw[f.Name]
	if !ok || string(value) == "null" {
		if f.Required {
			return []Fault{{Field: f.Name, Message: "is not set", Mend: "it is required: " + f.Doc}}
		}
		if f.Default == "" {
			return nil
		}
		value, _ = json.Marshal(f.Default)
	}
	if mend := setField(v, value); mend != "" {
		return []Fault{{Field: f.Name, Message: fmt.Sprintf("%s is no %s", value, f.Type), Mend: mend}}
	}
	if len(f.Choices) > 0 && !slices.Contains(f.Choices, v.String()) {
		return []Fault{{
			Field: f.Name, Message: fmt.Sprintf("%q is not known", v.String()),
			Mend: "write one of " + strings.Join(f.Choices, ", "),
		}}
	}
	if f.Required && isEmpty(v) {
		return []Fault{{Field: f.Name, Message: "is empty", Mend: "it is required: " + f.Doc}}
	}
	return nil
}

// isEmpty tells whether v is what an absent setting would be.
func isEmpty(v reflect.Value) bool {
	if k := v.Kind(); k == reflect.Slice || k == reflect.Map {
		return v.Len() == 0
	}
	return v.IsZero()
}

func unknownSettings(raw map[string]json.RawMessage, fields []Field) []Fault {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	var faults []Fault
	for name := range raw {
		if !slices.Contains(names, name) {
			faults = append(faults, Fault{Field: name, Message: "is no setting", Mend: "known are " + strings.Join(names, ", ")})
		}
	}
	sort.Slice(faults, func(i, j int) bool { return faults[i].Field < faults[j].Field })
	return faults
}

// setField stores a JSON value in v and returns what to write instead if it
// cannot.
func setField(v reflect.Value, value json.RawMessage) (mend string) {
	text, isText := string(value), false
	var s string
	if json.Unmarshal(value, &s) == nil {
		text, isText = s, true
	}
	switch p := v.Addr().Interface().(type) {
	case *string:
		if !isText && (value[0] == '{' || value[0] == '[') {
			return "write text"
		}
		*p = text
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return "write 250ms, 30s, 5m or 24h"
		}
		*p = d
	case *Size:
		n, ok := parseSize(text)
		if !ok {
			return "write a number of bytes, 64KiB or 10MiB"
		}
		*p = n
	default:
		return setPlain(v, value, text)
	}
	return ""
}

func setPlain(v reflect.Value, value json.RawMessage, text string) (mend string) {
	switch v.Kind() {
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return "write true or false"
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return "write a whole number"
		}
		v.SetInt(n)
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return "write a number"
		}
		v.SetFloat(x)
	case reflect.Slice:
		var list []string
		if json.Unmarshal(value, &list) != nil {
			if value[0] != '"' {
				return "write a list of texts, or one text"
			}
			for part := range strings.SplitSeq(text, ",") {
				if part = strings.TrimSpace(part); part != "" {
					list = append(list, part)
				}
			}
		}
		v.Set(reflect.ValueOf(list))
	case reflect.Map:
		var m map[string]string
		if json.Unmarshal(value, &m) != nil {
			return "write a map from text to text"
		}
		v.Set(reflect.ValueOf(m))
	}
	return ""
}

func parseSize(s string) (Size, bool) {
	units := []struct {
		suffix string
		factor int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.factor {
			return 0, false
		}
		return Size(n * u.factor), true
	}
	return 0, false
}
