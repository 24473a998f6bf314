package group

import (
	"slices"
	"time"
)

// How often the topics of patterns are looked for, as by Kafka: not again before a pause;
// where topics have come; and now and then, as it changes what members may see.
const (
	patternPause   = 10 * time.Second
	patternRefresh = 10 * time.Minute // group.consumer.regex.refresh.interval.ms
)

// pattern is one that is looked for as somebody sees topics.
type pattern struct{ regex, principal, host string }

func (m *ConsumerMember) looksFor() pattern { return pattern{m.Regex, m.Principal, m.Host} }

// matches are the topics that a pattern was found to match.
type matches struct {
	of    pattern
	names []string
}

// isFor tells whether the pattern is the member's, and has been looked for as it sees topics.
func (f matches) isFor(m *ConsumerMember) bool { return m.Regex != "" && f.of == m.looksFor() }

// setPattern takes over a pattern that a member did not have, and tells whether it is known
// what it matches: another member has it, or there is none.
func (g *Consumer) setPattern(m *ConsumerMember) (known bool) {
	m.matches = matches{}
	for _, other := range g.Members {
		if other != m && other.matches.isFor(m) {
			m.matches = other.matches
			return true
		}
	}
	return m.Regex == ""
}

// resolve finds the names of all topics that the member subscribes to.
func (m *ConsumerMember) resolve() {
	names := slices.Concat([]string{}, m.Topics, m.matches.names)
	slices.Sort(names)
	m.resolved = slices.Compact(names)
}

// anyPatternMatched tells whether some pattern has been looked for.
func (g *Consumer) anyPatternMatched() bool {
	return slices.ContainsFunc(g.Members, func(m *ConsumerMember) bool { return m.Regex != "" && m.matches.of.regex == m.Regex })
}

// lookForPatterns looks for the topics of patterns, if it is time: what it finds counts from
// the next heartbeat or join on, as in Kafka, which does it in the background. matched is what
// anyPatternMatched was before this one.
func (g *Consumer) lookForPatterns(now time.Time, topics Topics, matched bool) {
	var with []*ConsumerMember
	isNew := false
	for _, m := range g.Members {
		if m.Regex != "" {
			with = append(with, m)
			isNew = isNew || !m.matches.isFor(m)
		}
	}
	due := isNew || topics.Created() != g.created || now.After(g.looked.Add(patternRefresh))
	if len(with) == 0 || !due || matched && !now.After(g.looked.Add(patternPause)) {
		return
	}
	g.looked, g.created = now, topics.Created()
	before, other := g.Epoch, false
	found := map[pattern][]string{}
	for _, m := range with {
		of := m.looksFor()
		names, known := found[of]
		if !known {
			names = matching(of, topics)
			found[of] = names
		}
		other = other || !slices.Equal(names, m.matches.names)
		isNew := m.matches.of != of
		m.matches = matches{of, names}
		m.resolve()
		if isNew && len(m.subscribed(m.Target, topics)) < len(m.Target) {
			other = true // what it gave up for a pattern that matches nothing is others'
		}
	}
	if other {
		g.bump()
	}
	g.version = 0
	g.lookAtTopics(topics, before)
}

// matching are the names of the topics that a pattern matches.
func matching(of pattern, topics Topics) (names []string) {
	re, err := CompilePattern(of.regex)
	if err != nil {
		return nil // it was checked, by an older program
	}
	for _, t := range topics.Match(re, of.principal, of.host) {
		names = append(names, t.Name)
	}
	return names
}
