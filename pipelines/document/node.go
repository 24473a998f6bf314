package document

import (
	"math"
	"strconv"
	"strings"

	"github.com/levada/levada/pipelines/diagnostic"
)

// Kind is the shape of a node.
type Kind int8

const (
	// Scalar is one value.
	Scalar Kind = iota
	// Mapping has entries.
	Mapping
	// Sequence has items.
	Sequence
)

// String is the shape as messages name it.
func (k Kind) String() string {
	return [...]string{Scalar: "a single value", Mapping: "a mapping", Sequence: "a list"}[k]
}

// Style is how a scalar is written.
type Style int8

const (
	// Plain is a scalar without quotes.
	Plain Style = iota
	// SingleQuoted stands in '…'.
	SingleQuoted
	// DoubleQuoted stands in "…".
	DoubleQuoted
	// Literal follows a |.
	Literal
	// Folded follows a >.
	Folded
)

// Node is a value of the document.
type Node struct {
	Kind  Kind
	Style Style
	// Tag is the short tag: !!str, !!int, !!float, !!bool, !!null,
	// !!timestamp, or one that the file gives.
	Tag string
	// CustomTag tells that the file gives a tag.
	CustomTag bool
	// Value is the text of a scalar, after variables are put in.
	Value string
	// Comment is what follows the value on its line, with its #.
	Comment string
	// Substituted tells that variables were put in, so that Value is not what
	// the source shows.
	Substituted bool
	// Unset tells that a variable could not be put in, which is reported; the
	// value says nothing then.
	Unset   bool
	Entries []Entry
	Items   []*Node
	// Span is the whole node if it is a scalar on one line, else its beginning.
	Span diagnostic.Span

	source *source
}

// Entry is a key of a mapping with its value.
type Entry struct {
	Key, Value *Node
}

// Get returns the value of a key, nil if n is no mapping or lacks it.
func (n *Node) Get(key string) *Node {
	if n == nil {
		return nil
	}
	for _, e := range n.Entries {
		if e.Key.Value == key {
			return e.Value
		}
	}
	return nil
}

// Text is the text of a scalar, "" for nil, null and other shapes.
func (n *Node) Text() string {
	if n == nil || n.Kind != Scalar || n.IsNull() {
		return ""
	}
	return n.Value
}

// IsNull tells whether the value is null or missing.
func (n *Node) IsNull() bool { return n == nil || n.Kind == Scalar && n.Tag == "!!null" }

// IsString tells whether a scalar is text, not a number, boolean or null.
func (n *Node) IsString() bool {
	return n.Kind == Scalar && (n.Tag == "!!str" || n.Tag == "!!timestamp" || n.CustomTag)
}

// Bool reads a boolean.
func (n *Node) Bool() (v, ok bool) {
	if n == nil || n.Kind != Scalar || n.Tag != "!!bool" {
		return false, false
	}
	return strings.EqualFold(n.Value, "true"), true
}

// Int reads a whole number.
func (n *Node) Int() (int64, bool) {
	if n == nil || n.Kind != Scalar || n.Tag != "!!int" {
		return 0, false
	}
	v, err := strconv.ParseInt(strings.TrimPrefix(n.Value, "+"), 0, 64)
	return v, err == nil
}

// Float reads a number.
func (n *Node) Float() (float64, bool) {
	if i, ok := n.Int(); ok {
		return float64(i), true
	}
	if n == nil || n.Kind != Scalar || n.Tag != "!!float" {
		return 0, false
	}
	switch strings.ToLower(strings.TrimPrefix(n.Value, "+")) {
	case ".inf":
		return math.Inf(1), true
	case "-.inf":
		return math.Inf(-1), true
	case ".nan":
		return math.NaN(), true
	}
	v, err := strconv.ParseFloat(n.Value, 64)
	return v, err == nil
}

// resolve gives the tag of a plain scalar, as YAML's core schema does.
func resolve(text string) string {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return "!!null"
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return "!!bool"
	}
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		return "!!int"
	}
	if c := text[len(text)-1]; c >= '0' && c <= '9' || c == '.' {
		if _, err := strconv.ParseFloat(text, 64); err == nil {
			return "!!float"
		}
	}
	return "!!str"
}
