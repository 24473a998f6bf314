package document

import (
	"strings"

	"github.com/levada/levada/pipelines/diagnostic"
)

// hint is the help for text that is no YAML: most often an expression that
// needs quotes.
func (s *source) hint(at diagnostic.Span, message string) string {
	line := s.line(at.Line)
	if strings.Contains(line, "\t") && strings.TrimLeft(line, " \t") != line && strings.Contains(line[:len(line)-len(strings.TrimLeft(line, " \t"))], "\t") {
		return "a tab began the line: indent with spaces"
	}
	value := valueOf(line)
	switch {
	case strings.Contains(line, "${") && strings.Contains(message, "','"):
		return "inside { } and [ ] write variables in quotes: \"${NAME}\""
	case strings.Contains(message, "','"):
		return "inside { } and [ ] quote a value that holds one of , [ ] { }"
	case strings.Contains(message, "mapping values are not allowed"):
		return "quote expressions that contain `: `, as in " + quoted(value)
	case value == "":
		return ""
	case strings.ContainsAny(value[:1], "`@%*\"'[{&!|>"):
		return "a value that begins with " + value[:1] + " must be quoted, as in " + quoted(value)
	}
	return ""
}

// commentAt is the comment that begins at a place, if one does.
func (s *source) commentAt(at diagnostic.Span) string {
	runes := []rune(s.line(at.Line))
	rest := strings.TrimSpace(string(runes[min(max(at.Column-1, 0), len(runes)):]))
	if strings.HasPrefix(rest, "#") {
		return rest
	}
	return ""
}

// valueOf is what follows the first `key: ` of a line.
func valueOf(line string) string {
	line = strings.TrimLeft(line, " -")
	if _, value, ok := strings.Cut(line, ": "); ok {
		return strings.TrimSpace(value)
	}
	return ""
}

// quoted is an expression in single quotes, short enough for a help line.
func quoted(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "…"
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}
