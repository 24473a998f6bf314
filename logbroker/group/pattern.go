package group

import (
	"fmt"
	"regexp"
	"regexp/syntax"
)

const (
	maxPatternBytes = 1 << 10
	// maxPatternStates bounds what a pattern expands to: the time to match it grows
	// with that, and a few bytes can make thousands of states.
	maxPatternStates = 2 << 10
)

// CompilePattern reads a pattern that a client gave. It must match a whole name.
func CompilePattern(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPatternBytes {
		return nil, fmt.Errorf("a pattern of %d characters; at most %d are taken", len(pattern), maxPatternBytes)
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, err
	}
	if n := states(parsed); n > maxPatternStates {
		return nil, fmt.Errorf("a pattern of %d states; at most %d are taken: repeat less", n, maxPatternStates)
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

// states is about how many states an expression expands to.
func states(e *syntax.Regexp) int {
	n := max(1, len(e.Rune))
	if e.Op == syntax.OpCharClass {
		n = 1
	}
	for _, sub := range e.Sub {
		n += states(sub)
	}
	if e.Op == syntax.OpRepeat {
		n *= max(1, e.Min+1, e.Max)
	}
	return n
}
