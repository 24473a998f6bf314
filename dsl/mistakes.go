package dsl

import (
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
)

// Mistake is one fault of a topology.
type Mistake struct {
	// File and Line are the call that made it.
	File string
	Line int
	// Step is the name of the step concerned, if it has one.
	Step string
	Text string
}

// String is `file:line: step "name": text`; the file is relative to the
// working directory if it lies below it.
func (m Mistake) String() string {
	file := m.File
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, file); err == nil && !strings.HasPrefix(rel, "..") {
			file = rel
		}
	}
	if m.Step == "" {
		return fmt.Sprintf("%s:%d: %s", file, m.Line, m.Text)
	}
	return fmt.Sprintf("%s:%d: step %q: %s", file, m.Line, m.Step, m.Text)
}

// BuildError holds all mistakes of a topology, in the order of the source.
type BuildError struct {
	Mistakes []Mistake
}

// Error lists the mistakes, one a line.
func (e *BuildError) Error() string {
	lines := make([]string, len(e.Mistakes))
	for i, m := range e.Mistakes {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

// caller is the place outside this package where a call came from.
type caller struct {
	file string
	line int
}

func (c caller) String() string {
	return fmt.Sprintf("%s:%d", filepath.Base(c.file), c.line)
}

func (c caller) mistake(step, format string, args ...any) Mistake {
	return Mistake{File: c.file, Line: c.line, Step: step, Text: fmt.Sprintf(format, args...)}
}

// thisPackage is how names of this package's functions begin.
const thisPackage = "github.com/levada/levada/dsl."

// callerOf finds the first frame outside this package.
func callerOf() caller {
	pcs := make([]uintptr, 16)
	frames := goruntime.CallersFrames(pcs[:goruntime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, thisPackage) || !more {
			return caller{file: f.File, line: f.Line}
		}
	}
}

// fault notes a mistake.
func (b *Builder) fault(at caller, step, format string, args ...any) {
	b.mistakes = append(b.mistakes, at.mistake(step, format, args...))
}

func sortMistakes(ms []Mistake) {
	slices.SortStableFunc(ms, func(a, b Mistake) int {
		if a.File != b.File {
			return strings.Compare(a.File, b.File)
		}
		return a.Line - b.Line
	})
}

// maxNameBytes leaves room in a topic name (249) for the application id and
// the longest suffix.
const maxNameBytes = 150

// checkName tells what is wrong with a name that becomes part of a topic name.
func checkName(name string, limit int) string {
	switch {
	case name == "":
		return "is empty"
	case name == "." || name == "..":
		return "is not a legal topic name"
	case len(name) > limit:
		return fmt.Sprintf("has %d bytes, at most %d are possible", len(name), limit)
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-') {
			return fmt.Sprintf("holds %q; letters, digits, '.', '_' and '-' are possible", r)
		}
	}
	return ""
}
