package document

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/levada/levada/pipelines/diagnostic"
)

// source is the text with the beginnings of its lines.
type source struct {
	text  string
	lines []int // byte offsets
	// last is where the last place lay: places are mostly asked for in order,
	// and a line may be as long as the file.
	last struct{ line, column, offset int }
}

func newSource(text []byte) *source {
	s := &source{text: string(text), lines: []int{0}}
	for i, c := range text {
		if c == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// offset is where a place lies in the text.
func (s *source) offset(line, column int) int {
	if line < 1 || line > len(s.lines) {
		return len(s.text)
	}
	at, c := s.lines[line-1], 1
	if s.last.line == line && s.last.column <= column {
		at, c = s.last.offset, s.last.column
	}
	for ; c < column && at < len(s.text) && s.text[at] != '\n'; c++ {
		_, size := utf8.DecodeRuneInString(s.text[at:])
		at += size
	}
	s.last.line, s.last.column, s.last.offset = line, c, at
	return at
}

// line is the text of a line, without its end.
func (s *source) line(n int) string {
	if n < 1 || n > len(s.lines) {
		return ""
	}
	text, _, _ := strings.Cut(s.text[s.lines[n-1]:], "\n")
	return strings.TrimSuffix(text, "\r")
}

// At is the place in the source of the characters from..to of the node's
// Value. Where variables were put in it is the whole scalar.
func (n *Node) At(from, to int) diagnostic.Span {
	if n.Kind != Scalar || n.Substituted || n.source == nil {
		return n.Span
	}
	places, ok := n.align()
	if !ok || len(places) == 0 {
		return n.Span
	}
	from = min(max(from, 0), len(places))
	at := places[min(from, len(places)-1)]
	if from == len(places) {
		at.Column++
	}
	span := diagnostic.Span{Line: at.Line, Column: at.Column, Width: 1}
	for i := from + 1; i < min(to, len(places)) && places[i].Line == at.Line; i++ {
		span.Width = places[i].Column - at.Column + 1
	}
	return span
}

// whole is the span of a scalar: all of it if it lies on one line.
func (n *Node) whole() diagnostic.Span {
	span := n.Span
	places, ok := n.align()
	if !ok || len(places) == 0 || n.Style == Literal || n.Style == Folded {
		return span
	}
	last := places[len(places)-1]
	if last.Line != span.Line {
		return span
	}
	span.Width = last.Column - span.Column + 1
	if n.Style != Plain {
		span.Width++
	}
	return span
}

// align finds the place of each character of Value in the source, and of the
// end as the last one if the value is empty. White space that YAML folds or
// strips lies where the white space of the source begins. It fails where the
// source does not hold the value, as behind an alias of another style.
func (n *Node) align() ([]diagnostic.Span, bool) {
	c := &cursor{source: n.source, at: n.source.offset(n.Span.Line, n.Span.Column), line: n.Span.Line, column: n.Span.Column}
	if !c.open(n.Style) {
		return nil, false
	}
	places := make([]diagnostic.Span, 0, len(n.Value))
	for _, r := range n.Value {
		if r == ' ' || r == '\n' || r == '\t' {
			places = append(places, c.space(r, n.Style))
			continue
		}
		at, ok := c.char(r, n.Style)
		if !ok {
			return nil, false
		}
		places = append(places, at)
	}
	return places, true
}

// cursor walks over the source.
type cursor struct {
	source       *source
	at           int
	line, column int
}

func (c *cursor) peek() rune {
	if c.at >= len(c.source.text) {
		return -1
	}
	r, _ := utf8.DecodeRuneInString(c.source.text[c.at:])
	return r
}

func (c *cursor) next() {
	r, size := utf8.DecodeRuneInString(c.source.text[c.at:])
	c.at += size
	c.column++
	if r == '\n' {
		c.line, c.column = c.line+1, 1
	}
}

func (c *cursor) place() diagnostic.Span { return diagnostic.Span{Line: c.line, Column: c.column} }

// open steps over a tag, an anchor and the opening sign.
func (c *cursor) open(style Style) bool {
	for c.peek() == '!' || c.peek() == '&' {
		for c.peek() != -1 && !isSpace(c.peek()) {
			c.next()
		}
		c.skip()
	}
	switch style {
	case SingleQuoted, DoubleQuoted:
		if q := c.peek(); q != '\'' && q != '"' {
			return false
		}
		c.next()
	case Literal, Folded:
		if q := c.peek(); q != '|' && q != '>' {
			return false
		}
		for c.peek() != -1 && c.peek() != '\n' {
			c.next()
		}
		if c.peek() == '\n' {
			c.next()
		}
	}
	return true
}

func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' }

func (c *cursor) skip() {
	for isSpace(c.peek()) {
		c.next()
	}
}

// space is the place of white space of the value. One that stands as it is is
// stepped over alone; at a line end all that is folded is.
func (c *cursor) space(r rune, style Style) diagnostic.Span {
	at := c.place()
	switch q := c.peek(); {
	case style == DoubleQuoted && q == '\\':
		if got, ok := c.escape(); ok && got != r {
			return at
		}
	case q == r && r != '\n' && !c.atLineEnd():
		c.next()
	case isSpace(q):
		c.skip()
	}
	return at
}

// atLineEnd tells whether only white space is left on the line.
func (c *cursor) atLineEnd() bool {
	rest, _, _ := strings.Cut(c.source.text[c.at:], "\n")
	return strings.TrimSpace(rest) == ""
}

// char is the place of a visible character of the value.
func (c *cursor) char(r rune, style Style) (diagnostic.Span, bool) {
	c.skip()
	for style == DoubleQuoted && strings.HasPrefix(c.source.text[c.at:], "\\\n") {
		c.next()
		c.skip()
	}
	at := c.place()
	q := c.peek()
	switch {
	case style == SingleQuoted && r == '\'' && strings.HasPrefix(c.source.text[c.at:], "''"):
		c.next()
		c.next()
		return at, true
	case style == DoubleQuoted && q == '\\':
		got, ok := c.escape()
		return at, ok && got == r
	case q == r:
		c.next()
		return at, true
	}
	return at, false
}

// escapes of double quotes that stand for one character.
const (
	escapeLetters = `0abt nvfre"/\N_LP`
	escapeMeaning = "\x00\a\b\t \n\v\f\r\x1b\"/\\\u0085\u00a0\u2028\u2029"
)

// escape reads an escape of double quotes.
func (c *cursor) escape() (rune, bool) {
	c.next()
	letter := c.peek()
	if letter == -1 {
		return 0, false
	}
	c.next()
	digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}[letter]
	if digits > 0 {
		if c.at+digits > len(c.source.text) {
			return 0, false
		}
		v, err := strconv.ParseUint(c.source.text[c.at:c.at+digits], 16, 32)
		for range digits {
			c.next()
		}
		return rune(v), err == nil
	}
	if letter == '\t' {
		return '\t', true
	}
	i := strings.IndexRune(escapeLetters, letter)
	if i < 0 {
		return 0, false
	}
	return []rune(escapeMeaning)[i], true
}
