package document

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"github.com/levada/levada/pipelines/diagnostic"
)

// Limits of a document.
const (
	MaxBytes   = 1 << 20
	MaxDepth   = 48
	MaxNodes   = 50_000
	MaxAliases = 500
)

// Parse reads one document. The tree is nil if the text is no YAML at all. env
// looks variables up; nil leaves them as they are.
func Parse(file string, text []byte, env func(string) (string, bool)) (*Node, diagnostic.List) {
	p := &parser{file: file, env: env}
	switch {
	case len(text) > MaxBytes:
		p.fault(diagnostic.Span{Line: 1, Column: 1}, "yaml.limit", fmt.Sprintf("the file has %d bytes, at most %d are possible", len(text), MaxBytes), "")
		return nil, p.faults
	case !utf8.Valid(text):
		p.fault(invalidAt(text), "yaml.syntax", "the file is not UTF-8 text", "save it as UTF-8")
		return nil, p.faults
	}
	p.source = newSource(text)
	var root yaml.Node
	err := yaml.Load(text, &root, yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(MaxDepth))))
	if err != nil {
		p.syntax(err)
		return nil, p.faults
	}
	if root.Kind != yaml.DocumentNode || len(root.Content) == 0 {
		p.fault(diagnostic.Span{Line: 1, Column: 1}, "yaml.empty", "the file is empty", "begin with `version: 1`")
		return nil, p.faults
	}
	n := p.node(root.Content[0], 0)
	return n, p.faults
}

type parser struct {
	file    string
	env     func(string) (string, bool)
	source  *source
	faults  diagnostic.List
	nodes   int
	aliases int
	full    bool // a limit is reached: the rest is left out
}

func (p *parser) fault(at diagnostic.Span, code, message, help string) {
	p.faults = append(p.faults, diagnostic.Diagnostic{File: p.file, Span: at, Code: code, Message: message, Help: help})
}

// limit reports the first limit that is passed.
func (p *parser) limit(at diagnostic.Span, message string) {
	if !p.full {
		p.fault(at, "yaml.limit", message, "split the file")
	}
	p.full = true
}

func (p *parser) node(y *yaml.Node, depth int) *Node {
	n := &Node{source: p.source, Span: diagnostic.Span{Line: y.Line, Column: y.Column, Width: 1}}
	p.nodes++
	switch {
	case p.nodes > MaxNodes:
		p.limit(n.Span, fmt.Sprintf("more than %d values, aliases counted as often as they are used", MaxNodes))
	case depth > MaxDepth:
		p.limit(n.Span, fmt.Sprintf("nested more than %d deep", MaxDepth))
	}
	if p.full {
		n.Tag = "!!null"
		return n
	}
	n.Tag, n.Comment = y.Tag, y.LineComment
	n.CustomTag = n.Tag != "" && !strings.HasPrefix(n.Tag, "!!")
	switch y.Kind {
	case yaml.MappingNode:
		n.Kind = Mapping
		p.mapping(n, y, depth)
	case yaml.SequenceNode:
		n.Kind = Sequence
		for _, c := range y.Content {
			n.Items = append(n.Items, p.node(c, depth+1))
		}
	case yaml.AliasNode:
		if p.aliases++; p.aliases > MaxAliases {
			p.limit(n.Span, fmt.Sprintf("more than %d aliases", MaxAliases))
			n.Tag = "!!null"
			return n
		}
		return p.node(y.Alias, depth+1)
	default:
		p.scalar(n, y)
	}
	return n
}

func (p *parser) mapping(n *Node, y *yaml.Node, depth int) {
	first := map[string]diagnostic.Span{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := y.Content[i]
		k := &Node{
			source: p.source, Tag: key.Tag, Value: key.Value, Style: styleOf(key.Style),
			Span: diagnostic.Span{Line: key.Line, Column: key.Column, Width: 1},
		}
		if key.Kind != yaml.ScalarNode {
			p.fault(k.Span, "yaml.key", "a key must be a name", "")
			continue
		}
		k.Span = k.whole()
		if key.Tag == "!!merge" || key.Value == "<<" {
			p.fault(k.Span, "yaml.merge", "merge keys are not part of the format", "write the entries out, or give a whole value an alias")
			continue
		}
		if at, twice := first[k.Value]; twice {
			p.fault(k.Span, "yaml.duplicate", fmt.Sprintf("key %q is already on line %d", k.Value, at.Line), "keep one of them")
			continue
		}
		first[k.Value] = k.Span
		n.Entries = append(n.Entries, Entry{Key: k, Value: p.node(y.Content[i+1], depth+1)})
	}
}

func (p *parser) scalar(n *Node, y *yaml.Node) {
	n.Style, n.Value = styleOf(y.Style), y.Value
	if y.Value == "" && y.Style == 0 && n.Comment == "" {
		n.Comment = p.source.commentAt(n.Span)
	}
	n.Span = n.whole()
	if p.env == nil || !strings.Contains(n.Value, "$") {
		return
	}
	value, faults := substitute(n.Value, p.env)
	for _, f := range faults {
		p.fault(n.At(f.from, f.to), f.code, f.message, f.help)
		n.Unset = true
	}
	if value == n.Value {
		return
	}
	n.Value, n.Substituted = value, true
	if n.Style == Plain && !n.CustomTag && !n.Unset {
		n.Tag = resolve(value)
	}
}

func styleOf(s yaml.Style) Style {
	switch {
	case s&yaml.SingleQuotedStyle != 0:
		return SingleQuoted
	case s&yaml.DoubleQuotedStyle != 0:
		return DoubleQuoted
	case s&yaml.LiteralStyle != 0:
		return Literal
	case s&yaml.FoldedStyle != 0:
		return Folded
	}
	return Plain
}

// syntax reports what the YAML library refuses.
func (p *parser) syntax(err error) {
	at, message := diagnostic.Span{Line: 1, Column: 1, Width: 1}, err.Error()
	var load *yaml.LoadError
	if errors.As(err, &load) {
		message = strings.TrimPrefix(load.Message, "yaml: ")
		if load.Mark.Line > 0 {
			at.Line, at.Column = load.Mark.Line, max(load.Mark.Column, 1)
		} else if load.ContextMark.Line > 0 {
			at.Line, at.Column = load.ContextMark.Line, max(load.ContextMark.Column, 1)
		}
	}
	switch {
	case strings.Contains(message, "no documents"):
		p.fault(at, "yaml.empty", "the file is empty", "begin with `version: 1`")
	case strings.Contains(message, "multiple"):
		p.fault(at, "yaml.documents", "the file holds more than one document", "put each pipeline in a file of its own")
	case strings.Contains(message, "depth"):
		p.fault(at, "yaml.limit", fmt.Sprintf("nested more than %d deep", MaxDepth), "")
	default:
		p.fault(at, "yaml.syntax", message, p.source.hint(at, message))
	}
}

// invalidAt is the place of the first byte that is not UTF-8.
func invalidAt(text []byte) diagnostic.Span {
	at := diagnostic.Span{Line: 1, Column: 1, Width: 1}
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at.Column++
		if r == '\n' {
			at.Line, at.Column = at.Line+1, 1
		}
		i += size
	}
	return at
}
