package group

import (
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

func refusef(code *kerr.Error, format string, args ...any) error {
	return fmt.Errorf("%w: %s", code, fmt.Sprintf(format, args...))
}

// retarget computes a new target assignment if one is due: the members, what
// they subscribe to, or the topics have changed.
func (g *Consumer) retarget(topics Topics) {
	g.lookAtTopics(topics)
	if g.Epoch <= g.TargetEpoch {
		return
	}
	g.Assignor = g.preferred()
	in := assignment{topics: map[string]Topic{}}
	for _, t := range g.signature {
		in.topics[t.Name] = t
	}
	for _, m := range g.Members {
		in.members = append(in.members, subscriber{id: m.ID, instance: m.InstanceID, topics: m.resolved, has: m.Target})
	}
	for i, target := range in.assign(g.Assignor) {
		g.Members[i].Target = target
	}
	g.TargetEpoch = g.Epoch
	g.changed = true
}

// lookAtTopics makes a new assignment due if the subscribed topics have changed.
func (g *Consumer) lookAtTopics(topics Topics) {
	version := topics.Version()
	if version == g.version {
		return
	}
	for _, m := range g.Members {
		if m.Regex != "" {
			g.resolve(m, topics)
		}
	}
	g.version = version
	var names []string
	for _, m := range g.Members {
		names = append(names, m.resolved...)
	}
	slices.Sort(names)
	var now []Topic
	for _, name := range slices.Compact(names) {
		if t, ok := topics.ByName(name); ok {
			now = append(now, t)
		}
	}
	first := g.signature == nil
	if slices.Equal(now, g.signature) {
		return
	}
	g.signature = now
	if due := g.Epoch > g.TargetEpoch; !due && !(first && g.targetFits()) {
		g.bump()
	}
}

// targetFits tells whether the target assignment, found after a restart, is one
// of just the topics that there are.
func (g *Consumer) targetFits() bool {
	var all, want []Partition
	for _, m := range g.Members {
		all = append(all, m.Target...)
	}
	for _, t := range g.signature {
		for i := range t.Partitions {
			want = append(want, Partition{t.ID, i})
		}
	}
	return NewPartitions(all).equal(NewPartitions(want))
}

// preferred is the assignor that most members ask for; the first of the list if
// nobody does.
func (g *Consumer) preferred() string {
	votes := map[string]int{}
	for _, m := range g.Members {
		votes[m.Assignor]++
	}
	best := Assignors[0]
	for _, name := range Assignors {
		if votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

// reconcile moves a member a step towards its target. owned is what it says it
// still consumes.
func (g *Consumer) reconcile(now time.Time, m *ConsumerMember, owned Partitions, given bool) {
	epoch := m.Epoch
	holds := func(p Partitions) bool { return !given || len(p.and(owned)) > 0 }
	switch {
	case m.Epoch == LeaveForNowEpoch:
		return
	case m.State == settled && m.Epoch == g.TargetEpoch:
		return
	case m.State == unrevoked && holds(m.Revoking):
		return
	case m.State == unrevoked:
		epoch++ // it gave up what it had to, and is one step further
	}
	kept := m.Assigned.and(m.Target)
	revoking := m.Assigned.without(kept)
	var adding Partitions
	waits := false
	for _, p := range m.Target.without(kept) {
		if by := g.holders[p]; by != nil && by != m {
			waits = true
			continue
		}
		adding = append(adding, p)
	}
	switch {
	case len(revoking) > 0 && holds(revoking):
		m.State = unrevoked
		m.advance(epoch)
		m.revokeBy = now.Add(m.Rebalance)
		if m.Classic != nil { // it is told to join again, and has to
			m.revokeBy = time.Time{}
		}
		g.hold(m, kept, revoking)
	default:
		m.State, m.revokeBy = settled, time.Time{}
		if waits {
			m.State = unreleased
		}
		m.advance(g.TargetEpoch)
		g.hold(m, kept.or(adding), nil)
	}
	g.changed = true
}

func (m *ConsumerMember) advance(epoch int32) {
	if m.Epoch != epoch {
		m.Previous, m.Epoch = m.Epoch, epoch
	}
}

// hold sets what a member may consume, and what it may until it gives it up. What it
// gets, also back from what it was to give up, it has since its epoch now.
func (g *Consumer) hold(m *ConsumerMember, assigned, revoking Partitions) {
	for _, list := range []Partitions{m.Assigned, m.Revoking} {
		for _, p := range list {
			if g.holders[p] == m {
				delete(g.holders, p)
			}
		}
	}
	since := make(map[Partition]int32, len(assigned)+len(revoking))
	for _, p := range revoking {
		since[p] = m.Epoch
		if epoch, had := m.since[p]; had {
			since[p] = epoch
		}
	}
	for _, p := range assigned {
		since[p] = m.Epoch
		if m.Assigned.has(p) {
			since[p] = m.since[p]
		}
	}
	m.Assigned, m.Revoking, m.since = assigned, revoking, since
	for _, list := range []Partitions{assigned, revoking} {
		for _, p := range list {
			g.holders[p] = m
		}
	}
}

// waitsForOthers tells whether others still hold some of what a member lacks. As in Kafka
// it is not called to join again for the rest.
func (g *Consumer) waitsForOthers(m *ConsumerMember) bool {
	return slices.ContainsFunc(m.Target.without(m.Assigned), func(p Partition) bool { return g.holders[p] != nil })
}
