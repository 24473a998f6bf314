package tlsfiles

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// mapping is one rule: what matches the whole name is replaced.
type mapping struct {
	pattern *regexp.Regexp // nil takes every name as it is
	replace string
	fold    func(string) string
}

// ruleEnd is where a rule of a list ends: before the next.
var ruleEnd = regexp.MustCompile(`,\s*(?:RULE:|DEFAULT)`)

// PrincipalRules reads rules in the form of Kafka's ssl.principal.mapping.rules:
// RULE:pattern/replacement/[LU] and DEFAULT, with commas between them. The first
// whose pattern matches the whole distinguished name makes the user's name; $1 is
// the first group. If none does, the name is refused.
func PrincipalRules(text string) (func(string) (string, error), error) {
	var rules []mapping
	for rest := strings.TrimSpace(text); rest != ""; {
		one := rest
		if at := ruleEnd.FindStringIndex(rest); at != nil {
			one, rest = rest[:at[0]], strings.TrimSpace(rest[at[0]+1:])
		} else {
			rest = ""
		}
		rule, err := parseRule(strings.TrimSpace(one))
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	return func(name string) (string, error) {
		for _, r := range rules {
			if out, ok := r.apply(name); ok {
				return out, nil
			}
		}
		return "", fmt.Errorf("no rule makes a user of %q", name)
	}, nil
}

func parseRule(text string) (mapping, error) {
	if text == "DEFAULT" {
		return mapping{}, nil
	}
	body, ok := strings.CutPrefix(text, "RULE:")
	if !ok {
		return mapping{}, fmt.Errorf("principal rule %q: write RULE:pattern/replacement/ or DEFAULT", text)
	}
	parts := splitSlashes(body)
	if len(parts) != 3 {
		return mapping{}, fmt.Errorf("principal rule %q: write RULE:pattern/replacement/, with L or U at the end for lower or upper case", text)
	}
	pattern, err := regexp.Compile(`\A(?:` + parts[0] + `)\z`)
	if err != nil {
		why := err.Error()
		var bad *syntax.Error
		if errors.As(err, &bad) {
			why = bad.Code.String() // without the anchors around it
		}
		return mapping{}, fmt.Errorf("principal rule %q: the pattern %q is none: %s", text, parts[0], why)
	}
	r := mapping{pattern: pattern, replace: braceGroups(parts[1])}
	switch parts[2] {
	case "":
	case "L":
		r.fold = strings.ToLower
	case "U":
		r.fold = strings.ToUpper
	default:
		return mapping{}, fmt.Errorf("principal rule %q: %q is neither L nor U", text, parts[2])
	}
	return r, nil
}

// splitSlashes cuts at slashes that have no backslash before them.
func splitSlashes(s string) []string {
	var out []string
	start := 0
	for i := range len(s) {
		if s[i] == '/' && (i == 0 || s[i-1] != '\\') {
			out = append(out, strings.ReplaceAll(s[start:i], `\/`, "/"))
			start = i + 1
		}
	}
	return append(out, s[start:])
}

var group = regexp.MustCompile(`\$(\d+)`)

// braceGroups writes $1 as ${1}, so that letters after it are not part of its name.
func braceGroups(s string) string { return group.ReplaceAllString(s, `$${$1}`) }

func (r mapping) apply(name string) (string, bool) {
	if r.pattern == nil {
		return name, true
	}
	at := r.pattern.FindStringSubmatchIndex(name)
	if at == nil {
		return "", false
	}
	out := string(r.pattern.ExpandString(nil, r.replace, name, at))
	if r.fold != nil {
		out = r.fold(out)
	}
	return out, true
}
