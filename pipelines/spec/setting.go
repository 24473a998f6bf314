package spec

// Kind is what may stand in a place.
type Kind int8

const (
	// Text is any text.
	Text Kind = iota
	// Name is a name of letters, digits, '-' and '_'.
	Name
	// Topic is the name of a topic.
	Topic
	// Int is a whole number within Min and Max.
	Int
	// Bool is true or false.
	Bool
	// Duration is text such as 250ms, 30s or 1h30m.
	Duration
	// Expr is an expression; a number, boolean or null is itself.
	Expr
	// Exprs maps names to expressions.
	Exprs
	// Types maps names of fields to their types.
	Types
	// Object has Fields.
	Object
	// Map maps names to values of Elem.
	Map
	// List has items of Elem.
	List
	// Either takes one of Forms, by shape.
	Either
	// Steps is a list of steps.
	Steps
	// Free is anything; others check it.
	Free
)

// Setting describes one place of the format.
type Setting struct {
	Name string
	Kind Kind
	// Doc is one sentence.
	Doc string
	// Default is the value if the setting is absent, as text.
	Default  string
	Required bool
	// Choices are the texts allowed; empty: any.
	Choices []string
	// Min and Max bound a whole number.
	Min, Max int64
	Fields   []Setting
	Elem     *Setting
	Forms    []Setting
	// Later tells that this release knows the setting but does not act on it:
	// using it is an error.
	Later bool
	// LaterChoices are choices of that kind.
	LaterChoices []string
}

// Step describes one step.
type Step struct {
	Setting
	// With are the keys that may stand beside the step's, other than name.
	With []Setting
	// Stateful steps must be named.
	Stateful bool
	// Keeps tells that the types of key and value stay.
	Keeps bool
	// Example is one line of YAML.
	Example string
}

// field finds a setting by its name.
func (s *Setting) field(name string) *Setting {
	for i := range s.Fields {
		if s.Fields[i].Name == name {
			return &s.Fields[i]
		}
	}
	return nil
}

func names(settings []Setting) []string {
	out := make([]string, len(settings))
	for i, s := range settings {
		out[i] = s.Name
	}
	return out
}
