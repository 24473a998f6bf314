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

// matches are the topics that a pattern was found to match, and for whom.
type matches struct {
	regex, principal, host string
	names                  []string
}

// isFor tells whether the pattern is the member's, and has been looked for as it sees topics.
func (f matches) isFor(m *ConsumerMember) bool {
	return m.Regex != "" && f.regex == m.Regex && f.principal == m.Principal && f.host == m.Host
}

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
	return slices.ContainsFunc(g.Members, func(m *ConsumerMember) bool { return m.Regex != "" && m.matches.regex == m.Regex })
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
	for _, m := range with {
		re, err := CompilePattern(m.Regex)
		if err != nil {
			continue // it was checked, by this program or an older one
		}
		var names []string
		for _, t := range topics.Match(re, m.Principal, m.Host) {
			names = append(names, t.Name)
		}
		other = other || !slices.Equal(names, m.matches.names)
		m.matches = matches{m.Regex, m.Principal, m.Host, names}
		m.resolve()
	}
	if other {
		g.bump()
	}
	g.version = 0
	g.lookAtTopics(topics, before)
}
