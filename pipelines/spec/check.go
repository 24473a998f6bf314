package spec

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/levada/levada/pipelines/diagnostic"
	"github.com/levada/levada/pipelines/document"
)

// Report takes a fault.
type Report func(at diagnostic.Span, code, message, help string)

// Checker checks documents against the table. It is safe for concurrent use.
type Checker struct {
	root  Setting
	steps map[string]*Step
	order []string
}

// NewChecker makes the table.
func NewChecker() *Checker {
	c := &Checker{root: Pipeline(), steps: map[string]*Step{}}
	for _, s := range AllSteps() {
		c.steps[s.Name] = &s
		c.order = append(c.order, s.Name)
	}
	return c
}

// Check reports all that has the wrong shape.
func (c *Checker) Check(root *document.Node, report Report) {
	w := walker{Checker: c, report: report}
	w.check(root, &c.root, "the pipeline")
}

// StepOf finds the step of a one-key map: its entry, and its description. ok
// is false if there is none.
func (c *Checker) StepOf(n *document.Node) (entry document.Entry, step *Step, ok bool) {
	for _, e := range n.Entries {
		if s := c.steps[e.Key.Value]; s != nil {
			return e, s, true
		}
	}
	return document.Entry{}, nil, false
}

// Nearest is the step that a misspelt name probably means; nil: none.
func (c *Checker) Nearest(name string) *Step {
	return c.steps[diagnostic.Nearest(name, c.order)]
}

type walker struct {
	*Checker
	report Report
}

// check checks a value. what names it for messages.
func (w walker) check(n *document.Node, s *Setting, what string) {
	switch s.Kind {
	case Either:
		w.either(n, s, what)
	case Object:
		if w.shape(n, document.Mapping, what) {
			w.object(n, s, what)
		}
	case Map:
		if w.shape(n, document.Mapping, what) {
			for _, e := range n.Entries {
				w.name(e.Key, what)
				w.check(e.Value, s.Elem, fmt.Sprintf("%q", e.Key.Value))
			}
		}
	case List:
		if w.shape(n, document.Sequence, what) {
			for _, item := range n.Items {
				w.check(item, s.Elem, "an item of "+what)
			}
		}
	case Exprs:
		if w.shape(n, document.Mapping, what) {
			for _, e := range n.Entries {
				w.field(e.Key)
			}
		}
	case Types, Expr, Free: // by package pipelines, which knows types
	case Steps:
		if w.shape(n, document.Sequence, what) {
			for _, item := range n.Items {
				w.step(item)
			}
		}
	default:
		if w.shape(n, document.Scalar, what) {
			w.scalar(n, s, what)
		}
	}
}

func (w walker) shape(n *document.Node, want document.Kind, what string) bool {
	if n.IsNull() {
		w.report(n.Span, "shape", what+" is empty", "write "+want.String())
		return false
	}
	if n.Kind != want {
		w.report(n.Span, "shape", fmt.Sprintf("%s is %s, want %s", what, n.Kind, want), "")
		return false
	}
	return true
}

// either chooses the form by the shape of the value.
func (w walker) either(n *document.Node, s *Setting, what string) {
	if n.IsNull() {
		w.report(n.Span, "shape", what+" is empty", "")
		return
	}
	var shapes []string
	for i := range s.Forms {
		f := &s.Forms[i]
		shape := document.Scalar
		switch f.Kind {
		case Object, Exprs, Map:
			shape = document.Mapping
		case List:
			shape = document.Sequence
		}
		if shape == n.Kind {
			w.check(n, f, what)
			return
		}
		shapes = append(shapes, shape.String())
	}
	w.report(n.Span, "shape", fmt.Sprintf("%s is %s, want %s", what, n.Kind, strings.Join(shapes, " or ")), "")
}

func (w walker) object(n *document.Node, s *Setting, what string) {
	for _, e := range n.Entries {
		f := s.field(e.Key.Value)
		if f == nil {
			w.report(e.Key.Span, "setting.unknown", fmt.Sprintf("unknown setting %q in %s", e.Key.Value, what), diagnostic.Suggest(e.Key.Value, names(s.Fields)))
			continue
		}
		if f.Later {
			w.later(e.Key, "setting.unsupported", e.Key.Value)
			continue
		}
		w.check(e.Value, f, f.Name)
	}
	for i := range s.Fields {
		f := &s.Fields[i]
		if f.Required && n.Get(f.Name) == nil {
			help := f.Doc
			if f.Name == "version" {
				help = "write `version: 1`"
			}
			w.report(n.Span, "setting.missing", fmt.Sprintf("%s lacks %q", what, f.Name), help)
		}
	}
}

// later says that something is known and does not run.
func (w walker) later(n *document.Node, code, name string) {
	w.report(n.Span, code, fmt.Sprintf("%q is part of the format, but this release does not run it yet", name), "docs/pipelines.md lists what runs")
}

// step checks a one-key map.
func (w walker) step(n *document.Node) {
	if !w.shape(n, document.Mapping, "a step") {
		return
	}
	var found *Step
	var foundKey *document.Node
	for _, e := range n.Entries {
		s := w.steps[e.Key.Value]
		switch {
		case s == nil:
		case found != nil:
			w.report(e.Key.Span, "step.two", fmt.Sprintf("a step has one key; this one has %q and %q", found.Name, s.Name), "begin the second one with `- `")
		default:
			found, foundKey = s, e.Key
		}
	}
	unknown := false
	for _, e := range n.Entries {
		unknown = unknown || e.Key.Value != "name"
		w.beside(e, found)
	}
	switch {
	case found == nil && !unknown:
		w.report(n.Span, "step.none", "there is no step here", "steps that run: "+strings.Join(w.running(), ", "))
	case found != nil && found.Later:
		w.report(foundKey.Span, "step.unsupported", fmt.Sprintf("step %q is part of the format, but this release does not run it yet", found.Name), "steps that run: "+strings.Join(w.running(), ", "))
	}
}

// beside checks one key of a step.
func (w walker) beside(e document.Entry, found *Step) {
	if w.steps[e.Key.Value] != nil {
		if s := w.steps[e.Key.Value]; s == found {
			w.check(e.Value, &s.Setting, s.Name)
		}
		return
	}
	if e.Key.Value == "name" {
		w.check(e.Value, &Setting{Kind: Name}, "name")
		return
	}
	if found == nil {
		w.report(e.Key.Span, "step.unknown", fmt.Sprintf("unknown step %q", e.Key.Value), diagnostic.Suggest(e.Key.Value, w.order))
		return
	}
	for i := range found.With {
		if f := &found.With[i]; f.Name == e.Key.Value {
			w.check(e.Value, f, f.Name)
			return
		}
	}
	help := "a step has one key, and may have `name` beside it"
	near := diagnostic.Nearest(e.Key.Value, append(names(found.Fields), "name"))
	switch {
	case near == e.Key.Value:
		help = fmt.Sprintf("indent it below %q", found.Name)
	case near != "":
		help = fmt.Sprintf("did you mean %q? Settings of %s are indented below it", near, found.Name)
	}
	w.report(e.Key.Span, "step.key", fmt.Sprintf("%q does not belong beside %q", e.Key.Value, found.Name), help)
}

// running lists the steps of this release.
func (c *Checker) running() []string {
	var out []string
	for _, name := range c.order {
		if !c.steps[name].Later {
			out = append(out, name)
		}
	}
	return out
}

func (w walker) scalar(n *document.Node, s *Setting, what string) {
	if n.Unset {
		return
	}
	switch s.Kind {
	case Int:
		w.integer(n, s, what)
	case Bool:
		if _, ok := n.Bool(); !ok {
			w.report(n.Span, "shape", fmt.Sprintf("%s: %q is neither true nor false", what, n.Value), "")
		}
	case Duration:
		if d, ok := ParseDuration(n.Value); !ok || d <= 0 {
			w.report(n.Span, "duration", fmt.Sprintf("%q is not a duration", n.Value), "write 250ms, 30s, 5m, 1h30m or 24h")
		}
	case Name:
		w.name(n, what)
	case Topic:
		if wrong := topicFault(n.Value); wrong != "" {
			w.report(n.Span, "topic.name", fmt.Sprintf("topic name %q %s", n.Value, wrong), "use letters, digits, '.', '_' and '-'")
		}
	default:
		w.choice(n, s, what)
	}
}

func (w walker) integer(n *document.Node, s *Setting, what string) {
	v, ok := n.Int()
	switch {
	case !ok:
		w.report(n.Span, "shape", fmt.Sprintf("%s: %q is not a whole number", what, n.Value), "")
	case s.Name == "version" && v != 1:
		w.report(n.Span, "version", fmt.Sprintf("version %d of the format is not known", v), "write `version: 1`")
	case v < s.Min || v > s.Max:
		w.report(n.Span, "range", fmt.Sprintf("%s is %d, not within %d and %d", what, v, s.Min, s.Max), "")
	}
}

func (w walker) choice(n *document.Node, s *Setting, what string) {
	if len(s.Choices) == 0 {
		return
	}
	for _, c := range s.LaterChoices {
		if c == n.Value {
			w.later(n, "setting.unsupported", what+": "+c)
			return
		}
	}
	for _, c := range s.Choices {
		if c == n.Value {
			return
		}
	}
	help := diagnostic.Suggest(n.Value, s.Choices)
	if what == "errors" && n.Value == "dead_letter" {
		help = "name the topic: `errors: { on_error: dead_letter, topic: … }`"
	}
	w.report(n.Span, "choice", fmt.Sprintf("%s: %q is not known", what, n.Value), help)
}

const maxNameBytes = 100

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

func (w walker) name(n *document.Node, what string) {
	if !validName.MatchString(n.Value) || len(n.Value) > maxNameBytes {
		w.report(n.Span, "name", fmt.Sprintf("%s: %q is no name", what, n.Value), fmt.Sprintf("use up to %d letters, digits, '-' and '_'", maxNameBytes))
	}
}

// field checks the name of a field, which may be any text.
func (w walker) field(n *document.Node) {
	if n.Value == "" || len(n.Value) > maxNameBytes {
		w.report(n.Span, "name", fmt.Sprintf("%q is no name of a field", n.Value), fmt.Sprintf("use up to %d characters", maxNameBytes))
	}
}

var validTopic = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// topicFault tells what is wrong with the name of a topic; empty: nothing.
func topicFault(name string) string {
	switch {
	case name == "." || name == "..":
		return "is not possible"
	case len(name) > 249:
		return fmt.Sprintf("has %d characters, at most 249 are possible", len(name))
	case !validTopic.MatchString(name):
		return "has characters that a topic cannot have"
	}
	return ""
}

// TopicFault tells what is wrong with the name of a topic; empty: nothing.
func TopicFault(name string) string { return topicFault(name) }

var durationParts = regexp.MustCompile(`^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$`)

// ParseDuration reads 250ms, 30s, 1h30m, 7d.
func ParseDuration(s string) (time.Duration, bool) {
	if s == "" || !durationParts.MatchString(s) || len(s) > 32 {
		return 0, false
	}
	var total time.Duration
	if days, rest, ok := strings.Cut(s, "d"); ok {
		d, err := time.ParseDuration(days + "h")
		if err != nil || d > 10*365*time.Hour {
			return 0, false
		}
		total, s = 24*d, rest
	}
	if s == "" {
		return total, true
	}
	d, err := time.ParseDuration(s)
	return total + d, err == nil && total+d >= 0
}
