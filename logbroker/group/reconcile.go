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

// retarget computes a new target assignment if one is due: the members, what they subscribe
// to, or the topics have changed, and the last is old enough. before is the epoch before the
// request that it is called for.
func (g *Consumer) retarget(now time.Time, topics Topics, before int32) {
	g.lookAtTopics(topics, before)
	if !g.due(now) {
		return
	}
	if g.Epoch > firstEpoch { // the first of nothing puts no other off, as in Kafka
		g.assigned = now
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

// due tells whether a new target assignment is to be computed, and may be.
func (g *Consumer) due(now time.Time) bool {
	return g.Epoch > g.TargetEpoch && (g.assigned.IsZero() || !now.Before(g.assigned.Add(g.times().Assignment)))
}

// lookAtTopics makes a new assignment due if the subscribed topics have changed, and the
// epoch is still the one before.
func (g *Consumer) lookAtTopics(topics Topics, before int32) {
	if g.gone { // what only they subscribed to has made its epoch
		subscribed := map[string]bool{}
		for _, name := range g.Subscribed() {
			subscribed[name] = true
		}
		g.signature = slices.DeleteFunc(g.signature, func(t Topic) bool { return !subscribed[t.Name] })
		g.gone = false
	}
	version := topics.Version()
	if version == g.version {
		return
	}
	g.version = version
	names := g.Subscribed()
	slices.Sort(names)
	now := []Topic{}
	for _, name := range slices.Compact(names) {
		if t, ok := topics.ByName(name); ok {
			now = append(now, t)
		}
	}
	same, first := slices.Equal(now, g.signature), g.signature == nil
	g.signature = now
	if same || g.Epoch != before || first && (g.Epoch > g.TargetEpoch || g.targetFits()) {
		return
	}
	g.bump()
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

// ownership is what a member says it still consumes, if it does.
type ownership struct {
	of    Partitions
	given bool
}

// any tells whether the member may still consume one of the partitions.
func (o ownership) any(p Partitions) bool { return !o.given || len(p.and(o.of)) > 0 }

// reconcile moves a member a step towards its target, of what it subscribes to.
func (g *Consumer) reconcile(now time.Time, m *ConsumerMember, owned ownership, resubscribed bool, topics Topics) {
	epoch := m.Epoch
	switch {
	case m.Epoch == LeaveForNowEpoch:
		return
	case m.State == settled && m.Epoch == g.TargetEpoch, m.State == unrevoked && owned.any(m.Revoking):
		if resubscribed {
			g.giveUp(now, m, owned, topics)
		}
		return
	case m.State == unrevoked:
		epoch = min(epoch+1, g.TargetEpoch) // it gave up what it had to, and is one step further
	}
	target := m.subscribed(m.Target, topics)
	kept := m.Assigned.and(target)
	revoking := m.Assigned.without(kept)
	var adding Partitions
	waits := false
	for _, p := range target.without(kept) {
		if by := g.holders[p]; by != nil && by != m {
			waits = true
			continue
		}
		adding = append(adding, p)
	}
	switch {
	case len(revoking) > 0 && owned.any(revoking):
		m.advance(epoch)
		g.revoke(now, m, kept, revoking)
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

// revoke lets a member keep some partitions, and give others up.
func (g *Consumer) revoke(now time.Time, m *ConsumerMember, kept, revoking Partitions) {
	m.State, m.revokeBy = unrevoked, now.Add(m.Rebalance)
	if m.Classic != nil { // it is told to join again, and has to
		m.revokeBy = time.Time{}
	}
	g.hold(m, kept, revoking)
}

// giveUp takes from a member what it does not subscribe to any more, before a new target is
// computed.
func (g *Consumer) giveUp(now time.Time, m *ConsumerMember, owned ownership, topics Topics) {
	kept := m.subscribed(m.Assigned, topics)
	if len(kept) == len(m.Assigned) {
		return
	}
	if revoking := m.Revoking.or(m.Assigned.without(kept)); owned.any(revoking) {
		g.revoke(now, m, kept, revoking)
	} else {
		g.hold(m, kept, m.Revoking)
	}
	g.changed = true
}

// subscribed are those of some partitions whose topics the member subscribes to.
func (m *ConsumerMember) subscribed(of Partitions, topics Topics) Partitions {
	ids := make(map[TopicID]bool, len(m.resolved))
	for _, name := range m.resolved {
		if t, ok := topics.ByName(name); ok {
			ids[t.ID] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(of), func(p Partition) bool { return !ids[p.Topic] })
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
