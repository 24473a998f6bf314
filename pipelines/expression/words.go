package expression

import (
	"fmt"
	"strings"
	"unicode"
)

// toWords is the function words: the runs of letters of a text, in lower case.
func toWords(args ...any) (any, error) {
	text, ok := args[0].(string)
	if !ok {
		return nil, fmt.Errorf("words takes a text, not a %T", args[0])
	}
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) }), nil
}
