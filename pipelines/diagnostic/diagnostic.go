package diagnostic

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Severity says whether a fault stops the work.
type Severity int8

const (
	// Error stops it.
	Error Severity = iota
	// Warning does not.
	Warning
)

// String implements fmt.Stringer.
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Span is a place in a text: line and column from 1, columns and width in
// characters.
type Span struct {
	Line, Column, Width int
}

// Diagnostic is one fault.
type Diagnostic struct {
	File string
	Span
	Severity Severity
	// Code is stable and documented, such as step.unknown.
	Code string
	// Message is one line.
	Message string
	// Help says how to mend it; may be empty.
	Help string
}

// Error is the first line of a fault, as editors and grep expect it:
// file:line:col: error[code]: message.
func (d Diagnostic) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s[%s]: %s", d.File, d.Line, d.Column, d.Severity, d.Code, d.Message)
}

// List is all faults of one run.
type List []Diagnostic

// Sort orders the list by file, place, code and message, and drops what says
// the same twice.
func (l *List) Sort() {
	slices.SortStableFunc(*l, func(a, b Diagnostic) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column,
			strings.Compare(a.Code, b.Code), strings.Compare(a.Message, b.Message))
	})
	*l = slices.Compact(*l)
}

// HasErrors tells whether a fault stops the work.
func (l List) HasErrors() bool {
	return slices.ContainsFunc(l, func(d Diagnostic) bool { return d.Severity == Error })
}

// maxExcerpt is how many characters of a line are shown.
const maxExcerpt = 160

// Render prints the list with the lines concerned. source is the text of a
// file; it may return nil.
func (l List) Render(source func(file string) []byte) string {
	var b strings.Builder
	lines := map[string][]string{}
	for _, d := range l {
		if _, ok := lines[d.File]; !ok {
			lines[d.File] = strings.Split(string(source(d.File)), "\n")
		}
		b.WriteString(d.Error())
		b.WriteByte('\n')
		if n := d.Line - 1; n >= 0 && n < len(lines[d.File]) && lines[d.File][n] != "" {
			d.excerpt(&b, strings.TrimSuffix(lines[d.File][n], "\r"))
		}
		if d.Help != "" {
			fmt.Fprintf(&b, "      = help: %s\n", d.Help)
		}
	}
	return b.String()
}

// excerpt prints the line, and carets below the place.
func (d Diagnostic) excerpt(b *strings.Builder, line string) {
	text := []rune(printable(line))
	column := min(max(d.Column-1, 0), len(text))
	start, cut := 0, ""
	if column > maxExcerpt-40 {
		start, cut = column-40, "…"
	}
	end, more := len(text), ""
	if end-start > maxExcerpt {
		end, more = start+maxExcerpt, "…"
	}
	fmt.Fprintf(b, "%5d | %s%s%s\n", d.Line, cut, string(text[start:end]), more)
	width := min(max(d.Width, 1), max(end-column, 1))
	pad := strings.Repeat(" ", utf8.RuneCountInString(cut)+column-start)
	fmt.Fprintf(b, "      | %s%s\n", pad, strings.Repeat("^", width))
}

// printable replaces what would upset a terminal or the carets.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return ' '
		}
		return r
	}, line)
}
