package spec

import (
	"fmt"
	"strings"
)

// Reference is the documentation of the table, in Markdown.
func Reference() string {
	var b strings.Builder
	root := Pipeline()
	b.WriteString("### The file\n\n")
	writeTable(&b, root.Fields, "")
	for _, part := range []struct {
		title string
		s     Setting
	}{
		{"A stream", stream()},
		{"A table", table()},
		{"A source", source()},
		{"A sink", sink()},
		{"A flow", flow()},
	} {
		fmt.Fprintf(&b, "\n### %s\n\n", part.title)
		writeTable(&b, part.s.Fields, "")
	}
	b.WriteString("\n### Steps\n\n| step | takes | what it does |\n|---|---|---|\n")
	for _, s := range runningSteps() {
		name := "`" + s.Name + "`"
		if s.Stateful {
			name += " (needs a name)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s<br>`- %s` |\n", name, s.takes(), s.Doc, cell(s.Example))
	}
	for _, s := range runningSteps() {
		if len(s.Fields) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\nSettings of `%s`:\n\n", s.Name)
		writeTable(&b, s.Fields, "")
	}
	b.WriteString("\nAggregates (each takes an expression; `count: true` counts all):\n\n")
	agg := aggregates()
	for _, f := range agg.Fields {
		if !f.Later {
			fmt.Fprintf(&b, "- `%s`: %s\n", f.Name, f.Doc)
		}
	}
	b.WriteString("\nKnown, but not run by this release (using one is the error `step.unsupported`):\n")
	for i, s := range laterSteps() {
		sep := ","
		if i == 0 {
			sep = ""
		}
		fmt.Fprintf(&b, "%s `%s`", sep, s.Name)
	}
	b.WriteString(".\n")
	return b.String()
}

// writeTable lists settings, and those below them with a dotted name.
func writeTable(b *strings.Builder, settings []Setting, prefix string) {
	if prefix == "" {
		b.WriteString("| setting | takes | default | meaning |\n|---|---|---|---|\n")
	}
	for _, s := range settings {
		def := "–"
		switch {
		case s.Required:
			def = "required"
		case s.Default != "":
			def = cell(s.Default)
		}
		doc := s.Doc
		if s.Later {
			doc += " Not run by this release: using it is an error."
		}
		fmt.Fprintf(b, "| `%s%s` | %s | %s | %s |\n", prefix, s.Name, s.takes(), def, cell(doc))
		for _, f := range append([]Setting{s}, s.Forms...) {
			if f.Kind == Object {
				writeTable(b, f.Fields, prefix+s.Name+".")
			}
		}
	}
}

// takes names what a setting takes.
func (s Setting) takes() string {
	switch s.Kind {
	case Either:
		var forms []string
		for _, f := range s.Forms {
			forms = append(forms, f.takes())
		}
		return strings.Join(forms, ", or ")
	case List:
		return "list of " + s.Elem.takes()
	case Map:
		return "names with settings"
	case Int:
		if s.Min == s.Max {
			return fmt.Sprintf("`%d`", s.Min)
		}
		return fmt.Sprintf("whole number, %d to %d", s.Min, s.Max)
	}
	if len(s.Choices) > 0 {
		return "`" + strings.Join(s.Choices, "`, `") + "`"
	}
	return [...]string{
		Text: "text", Name: "name", Topic: "topic", Bool: "true or false", Duration: "duration", Expr: "expression",
		Exprs: "fields with expressions", Types: "fields with types", Object: "settings", Steps: "list of steps", Free: "anything",
	}[s.Kind]
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
