package row

import (
	"slices"
	"strings"
)

// Kind is the kind of a type.
type Kind int8

const (
	// Any is a value of which nothing is known.
	Any Kind = iota
	// String is text.
	String
	// Int is a whole number of 64 bits.
	Int
	// Float is a number.
	Float
	// Bool is true or false.
	Bool
	// Timestamp is a point in time.
	Timestamp
	// Duration is a length of time.
	Duration
	// Bytes are bytes.
	Bytes
	// List has items of Elem.
	List
	// Object has Fields.
	Object
)

var kindNames = [...]string{
	Any: "any", String: "string", Int: "int", Float: "float", Bool: "bool", Timestamp: "timestamp",
	Duration: "duration", Bytes: "bytes", List: "list", Object: "object",
}

// String is the name of the kind as files write it.
func (k Kind) String() string { return kindNames[k] }

// Type is the type of a value. Types are immutable once made.
type Type struct {
	Kind     Kind
	Nullable bool
	// Elem is the type of a list's items; nil: any.
	Elem *Type
	// Fields are those of an object, in the order in which they are written;
	// nil: none is known.
	Fields []Field
	// Open objects may have fields beside Fields: they are kept.
	Open  bool
	index map[string]int
}

// Field is a field of an object.
type Field struct {
	Name string
	Type *Type
}

// NewObject makes the type of an object.
func NewObject(fields []Field, open bool) *Type {
	t := &Type{Kind: Object, Fields: fields, Open: open, index: make(map[string]int, len(fields))}
	for i, f := range fields {
		t.index[f.Name] = i
	}
	return t
}

// ListOf makes the type of a list.
func ListOf(elem *Type) *Type { return &Type{Kind: List, Elem: elem} }

// Of makes a type of a kind without parts.
func Of(k Kind) *Type { return &Type{Kind: k, Open: k == Object} }

// OrNull is t with null.
func (t *Type) OrNull() *Type {
	if t.Nullable || t.Kind == Any {
		return t
	}
	n := *t
	n.Nullable = true
	return &n
}

// NotNull is t without null.
func (t *Type) NotNull() *Type {
	if !t.Nullable {
		return t
	}
	n := *t
	n.Nullable = false
	return &n
}

// Field finds the type of a field; nil if it is not among Fields.
func (t *Type) Field(name string) *Type {
	if i, ok := t.index[name]; ok {
		return t.Fields[i].Type
	}
	return nil
}

// FieldNames lists the fields.
func (t *Type) FieldNames() []string {
	names := make([]string, len(t.Fields))
	for i, f := range t.Fields {
		names[i] = f.Name
	}
	return names
}

// With is the object with fields set; later ones replace earlier ones.
func (t *Type) With(fields []Field) *Type {
	all := slices.Clone(t.Fields)
	for _, f := range fields {
		if i := slices.IndexFunc(all, func(have Field) bool { return have.Name == f.Name }); i >= 0 {
			all[i] = f
		} else {
			all = append(all, f)
		}
	}
	return NewObject(all, t.Open)
}

// Named reads the name of a type without parts, with ? if it may be null.
func Named(text string) (*Type, bool) {
	name, nullable := strings.CutSuffix(text, "?")
	for _, k := range []Kind{Any, String, Int, Float, Bool, Timestamp, List, Object} {
		if name == k.String() {
			t := Of(k)
			if nullable {
				t = t.OrNull()
			}
			return t, true
		}
	}
	return nil, false
}

// TypeNames are the names that Named takes.
func TypeNames() []string {
	return []string{"string", "int", "float", "bool", "timestamp", "any", "list", "object"}
}

// String writes the type: equal types give equal texts.
func (t *Type) String() string {
	if t == nil {
		return "any"
	}
	var b strings.Builder
	switch {
	case t.Kind == List && t.Elem != nil:
		b.WriteString("[" + t.Elem.String() + "]")
	case t.Kind == Object && t.Fields != nil:
		b.WriteByte('{')
		for i, f := range t.Fields {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(f.Name + ": " + f.Type.String())
		}
		if t.Open {
			b.WriteString(", …")
		}
		b.WriteByte('}')
	default:
		b.WriteString(t.Kind.String())
	}
	if t.Nullable {
		b.WriteByte('?')
	}
	return b.String()
}

// IsNumber tells whether values are numbers.
func (t *Type) IsNumber() bool { return t.Kind == Int || t.Kind == Float }

// Unify is the type of a value that is of type a or of type b.
func Unify(a, b *Type) *Type {
	switch {
	case a == nil || b == nil:
		return Of(Any)
	case a.String() == b.String():
		return a
	case a.Nullable || b.Nullable:
		return Unify(a.NotNull(), b.NotNull()).OrNull()
	case a.IsNumber() && b.IsNumber():
		return Of(Float)
	case a.Kind == List && b.Kind == List && a.Elem != nil && b.Elem != nil:
		return ListOf(Unify(a.Elem, b.Elem))
	case a.Kind == b.Kind && (a.Kind == List || a.Kind == Object):
		return Of(a.Kind)
	}
	return Of(Any)
}
