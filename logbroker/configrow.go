package logbroker

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// configRow is a config of topics, of groups or of the broker, with Kafka's name and
// default.
type configRow struct {
	name     string
	kind     kmsg.ConfigType
	fallback string
	takes    taken
	broker   string // the broker's config that it is taken from where it is not set; empty for none
}

// taken is what a config takes: what tells it, and how it reads.
type taken struct {
	check func(string) bool
	told  string
}

func between(low, high int64) taken {
	return taken{func(s string) bool {
		n, err := strconv.ParseInt(s, 10, 64)
		return err == nil && n >= low && n <= high
	}, fmt.Sprintf("%d to %d", low, high)}
}

func oneOf(values ...string) taken {
	return taken{func(s string) bool { return slices.Contains(values, s) }, strings.Join(values, " or ")}
}

// listOf takes a list of some of the values.
func listOf(values ...string) taken {
	return taken{func(s string) bool {
		return !slices.ContainsFunc(listWords(s), func(word string) bool { return !slices.Contains(values, word) })
	}, "a list of " + strings.Join(values, ", ")}
}

// listWords are the words of a config that is a list.
func listWords(s string) (words []string) {
	if s = strings.TrimSpace(s); s == "" {
		return nil
	}
	for _, word := range strings.Split(s, ",") {
		words = append(words, strings.TrimSpace(word))
	}
	return words
}

func either(value string, other taken) taken {
	return taken{func(s string) bool { return s == value || other.check(s) }, value + ", or " + other.told}
}

// throttledReplicas takes *, or a list of PARTITION:BROKER; words may be empty.
var throttledReplicas = taken{func(s string) bool {
	words := slices.DeleteFunc(listWords(s), func(word string) bool { return word == "" })
	if len(words) == 1 && words[0] == "*" {
		return true
	}
	return !slices.ContainsFunc(words, func(word string) bool { return !throttledReplica.MatchString(word) })
}, "*, or a list of PARTITION:BROKER"}

var throttledReplica = regexp.MustCompile(`^[0-9]+:[0-9]+$`)

var ratio = taken{func(s string) bool {
	f, err := strconv.ParseFloat(s, 64)
	return err == nil && f >= 0 && f <= 1
}, "0 to 1"}

// canonical is a value as it is stored and answered: Kafka takes blanks around it,
// booleans in any case, and words of a list more than once.
func (c *configRow) canonical(value string) string {
	trim := func(s string) string { return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' }) }
	value = trim(value)
	switch c.kind {
	case kmsg.ConfigTypeBoolean:
		return strings.ToLower(value)
	case kmsg.ConfigTypeInt, kmsg.ConfigTypeLong:
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			return strconv.FormatInt(n, 10)
		}
	case kmsg.ConfigTypeList:
		words := listWords(value)
		for i, word := range words {
			words[i] = trim(word)
		}
		return strings.Join(once(words, itself), ",")
	}
	return value
}

// take makes a value canonical, and refuses one that the config cannot have.
func (c *configRow) take(value string) (string, error) {
	out := c.canonical(value)
	if c.takes.check(out) {
		return out, nil
	}
	if _, err := strconv.ParseFloat(out, 64); err != nil {
		out = strconv.Quote(value)
	}
	return "", fmt.Errorf("%s is %s; it takes %s", c.name, out, c.takes.told)
}

// listChange adds words to a config that is a list, or takes them from it; c is nil where
// there is no config of that name.
func (c *configRow) listChange(configs map[string]string, name, value string, add bool) error {
	if c == nil || c.kind != kmsg.ConfigTypeList {
		return fmt.Errorf("%w: %s is not a list", kerr.InvalidConfig, name)
	}
	have := c.fallback
	if v, ok := configs[name]; ok {
		have = v
	}
	list, words := listWords(have), strings.Split(value, ",")
	if add {
		list = append(list, words...)
	} else {
		gone := make(map[string]bool, len(words))
		for _, word := range words {
			gone[word] = true // as it is: Kafka finds none with blanks around it
		}
		list = slices.DeleteFunc(list, func(word string) bool { return gone[word] })
	}
	configs[name] = strings.Join(list, ",")
	return nil
}

// checkConfigSize refuses a config of which the name or the value is longer than answers of all
// versions can tell, as Kafka does.
func checkConfigSize(name, value string) error {
	if max(len(name), len(value)) > math.MaxInt16 {
		return fmt.Errorf("%w: a config of %d bytes with a name of %d; neither can have more than %d", kerr.InvalidConfig, len(value), len(name), math.MaxInt16)
	}
	return nil
}
