package document

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// envFault is a fault at characters from to to of a scalar.
type envFault struct {
	from, to            int
	code, message, help string
}

// substitute puts variables in: ${X} must be set, ${X:-d} takes d if X is
// unset or empty, ${X:?m} reports m then, $$ is $. Any other $ is itself.
func substitute(s string, env func(string) (string, bool)) (string, []envFault) {
	var b strings.Builder
	var faults []envFault
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "$$"):
			b.WriteByte('$')
			i += 2
		case strings.HasPrefix(s[i:], "${"):
			length := strings.IndexByte(s[i:], '}')
			from := utf8.RuneCountInString(s[:i])
			if length < 0 {
				faults = append(faults, envFault{from, from + 2, "env.syntax", "`${` is never closed", "write ${NAME}, or $$ for a dollar sign"})
				b.WriteString(s[i:])
				i = len(s)
				continue
			}
			value, code, message, help := lookUp(s[i+2:i+length], env)
			if code != "" {
				faults = append(faults, envFault{from, from + utf8.RuneCountInString(s[i:i+length+1]), code, message, help})
			}
			b.WriteString(value)
			i += length + 1
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return b.String(), faults
}

// lookUp resolves what stands between the braces.
func lookUp(inner string, env func(string) (string, bool)) (value, code, message, help string) {
	name, rest, _ := strings.Cut(inner, ":")
	if !validName(name) {
		return "", "env.syntax", fmt.Sprintf("%q is not the name of a variable", name), "write ${NAME}, ${NAME:-default} or ${NAME:?message}"
	}
	value, set := env(name)
	switch {
	case rest == "" && strings.HasSuffix(inner, ":"), rest != "" && rest[0] != '-' && rest[0] != '?':
		return "", "env.syntax", fmt.Sprintf("%q is not understood", ":"+rest), "write ${NAME:-default} or ${NAME:?message}"
	case rest == "" && !set:
		return "", "env.unset", fmt.Sprintf("the variable %s is not set", name), fmt.Sprintf("set it, or write ${%s:-default}", name)
	case rest == "" || value != "":
		return value, "", "", ""
	case rest[0] == '-':
		return rest[1:], "", "", ""
	}
	message = rest[1:]
	if message == "" {
		message = "it is required"
	}
	return "", "env.unset", fmt.Sprintf("the variable %s is not set: %s", name, message), "set it in the environment"
}

func validName(s string) bool {
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
