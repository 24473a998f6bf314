package group

import (
	"bytes"
	"iter"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Join is a request to join.
type Join struct {
	Request      RequestID
	MemberID     string
	InstanceID   Instance
	ClientID     string
	Host         string
	Session      time.Duration
	Rebalance    time.Duration
	ProtocolType string
	Protocols    []Protocol
	// NewID is the id that a new member gets.
	NewID string
	// MustKnowID makes a dynamic member without an id come back with the one it
	// is given (KIP-394, JoinGroup 4 and up).
	MustKnowID bool
	// Room is how many bytes the group may take; 0 for no bound.
	Room int
	// CanSkip says that the member understands SkipAssignment (version 9 and up).
	CanSkip bool
}

// Join takes a member into the next rebalance, or tells it at once what there
// is to tell. Its session is one that Config allows.
func (g *Group) Join(now time.Time, j Join) []Answer {
	fail := func(err error, id string) []Answer {
		return []Answer{{Request: j.Request, Join: &JoinAnswer{Err: err, MemberID: id, Generation: -1}}}
	}
	switch {
	case j.ProtocolType == "" || len(j.Protocols) == 0 || !g.compatible(&j):
		return fail(kerr.InconsistentGroupProtocol, j.MemberID)
	case !g.hasRoom(&j):
		return fail(kerr.UnknownServerError, j.MemberID)
	}
	if j.MemberID == "" {
		return g.joinNew(now, j, fail)
	}
	if i := g.pendingIndex(j.MemberID); i >= 0 && j.InstanceID == NoInstance {
		g.pending = slices.Delete(g.pending, i, i+1)
		return g.admit(now, j, j.MemberID)
	}
	m, err := g.identify(j.MemberID, j.InstanceID)
	if err != nil {
		return fail(err, j.MemberID)
	}
	return g.joinAgain(now, j, m)
}

// compatible tells whether the member shares a protocol with all that there are; those
// that it named before count, too, as Kafka has it.
func (g *Group) compatible(j *Join) bool {
	if len(g.Members) == 0 {
		return true
	}
	return j.ProtocolType == g.ProtocolType && share(j.Protocols, func(yield func([]Protocol) bool) {
		for _, m := range g.Members {
			if !yield(m.Protocols) {
				return
			}
		}
	})
}

// share tells whether one of the protocols is among those of all others.
func share(protocols []Protocol, others iter.Seq[[]Protocol]) bool {
	known := make(map[string]int, len(protocols)) // to how many others
	for _, p := range protocols {
		known[p.Name] = 0
	}
	n := 0
	for theirs := range others {
		for _, p := range theirs {
			if k, ok := known[p.Name]; ok && k == n {
				known[p.Name]++
			}
		}
		n++
	}
	return slices.ContainsFunc(protocols, func(p Protocol) bool { return known[p.Name] == n })
}

func (g *Group) joinNew(now time.Time, j Join, fail func(error, string) []Answer) []Answer {
	if old := g.static(j.InstanceID); old != nil {
		return g.replace(now, j, old)
	}
	if len(g.Members)+len(g.pending) >= g.cfg.MaxMembers {
		return fail(kerr.GroupMaxSizeReached, "")
	}
	if j.InstanceID == NoInstance && j.MustKnowID {
		g.pending = append(g.pending, pendingMember{j.NewID, now.Add(j.Session)})
		return fail(kerr.MemberIDRequired, j.NewID)
	}
	return g.admit(now, j, j.NewID)
}

// admit adds a member and begins a rebalance.
func (g *Group) admit(now time.Time, j Join, id string) []Answer {
	m := &Member{ID: id, InstanceID: j.InstanceID, seen: now, new: true}
	g.Emptied = time.Time{}
	m.update(j)
	if len(g.Members) == 0 {
		g.Leader, g.ProtocolType = id, j.ProtocolType
	}
	g.Members = append(g.Members, m)
	g.changed = true
	if g.State == PreparingRebalance {
		if g.initial != nil {
			g.initial.more = true
		}
		return g.tryComplete(now)
	}
	return g.prepare(now)
}

func (m *Member) update(j Join) {
	m.ClientID, m.Host, m.Session, m.Rebalance = j.ClientID, j.Host, j.Session, j.Rebalance
	m.Protocols, m.join = j.Protocols, j.Request
}

// replace gives the place of a static member to its new incarnation. In a
// stable group nothing else changes, so nobody else notices.
func (g *Group) replace(now time.Time, j Join, old *Member) []Answer {
	out := refuse(old, kerr.FencedInstanceID)
	wasLeader := g.Leader == old.ID
	old.ID, old.seen, old.new = j.NewID, now, false
	if wasLeader {
		g.Leader = old.ID
	}
	old.update(j)
	g.changed = true
	switch {
	case g.State == Stable && g.choose() == g.Protocol:
		old.join = 0
		a := g.joined(j.Request, old)
		if wasLeader && !j.CanSkip {
			// An older client that is told it leads would assign anew.
			a.Join.Leader, a.Join.Members = "", nil
		}
		a.Join.SkipAssignment = wasLeader && j.CanSkip
		return append(out, a)
	case g.State == PreparingRebalance:
		return append(out, g.tryComplete(now)...)
	}
	return append(out, g.prepare(now)...)
}

// joinAgain handles a member that has an id. As in Kafka, who is only told again what there
// is changes nothing, and its session goes on.
func (g *Group) joinAgain(now time.Time, j Join, m *Member) []Answer {
	same := slices.EqualFunc(m.Protocols, j.Protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
	current := g.State == CompletingRebalance && same || g.State == Stable && same && g.Leader != m.ID
	if current {
		return []Answer{g.joined(j.Request, m)}
	}
	out := refuse(m, kerr.RebalanceInProgress) // an earlier request that it gave up
	m.update(j)
	g.changed = true
	if g.State == PreparingRebalance {
		return append(out, g.tryComplete(now)...)
	}
	return append(out, g.prepare(now)...)
}

// prepare begins a rebalance: all are called to join.
func (g *Group) prepare(now time.Time) []Answer {
	out := g.refuseSyncs(now, kerr.RebalanceInProgress)
	if g.State == CompletingRebalance {
		for _, m := range g.Members {
			m.Assignment, m.Had = nil, nil // it is of a generation before
		}
	}
	g.unsynced = nil
	wait := g.rebalance()
	if delay := g.cfg.InitialDelay; g.State == Empty {
		if delay > 0 {
			g.initial = &initial{delay: delay, left: max(wait-delay, 0)}
		}
		wait = delay
	}
	g.State = PreparingRebalance
	g.deadline = now.Add(wait)
	return append(out, g.tryComplete(now)...)
}

// refuseSyncs answers all who wait for their assignment. Their sessions begin anew.
func (g *Group) refuseSyncs(now time.Time, err error) (out []Answer) {
	for _, m := range g.Members {
		if m.sync != 0 {
			out = append(out, refuse(m, err)...)
			m.seen = now
		}
	}
	return out
}

// initial is the first rebalance of a group that had no members, while more of them are
// waited for.
type initial struct {
	delay time.Duration // until the deadline
	left  time.Duration // by which that may be put off
	more  bool          // a member has come since it was set
}

// putOff gives those who have come since the deadline was set some company, if there is
// time left. It tells whether it did.
func (g *Group) putOff(now time.Time) bool {
	i := g.initial
	if i == nil || !i.more || i.left == 0 {
		return false
	}
	delay := min(g.cfg.InitialDelay, i.left)
	*i = initial{delay: delay, left: max(i.left-i.delay, 0)}
	g.deadline = now.Add(delay)
	return true
}

// tryComplete ends the joining if all are there. Who is there cannot be known of those that
// come first.
func (g *Group) tryComplete(now time.Time) []Answer {
	if g.State != PreparingRebalance || len(g.pending) > 0 || g.initial != nil {
		return nil
	}
	for _, m := range g.Members {
		if m.join == 0 {
			return nil
		}
	}
	return g.complete(now)
}

// complete makes a generation of those that have joined. Static members that
// have not keep their place until their session, which begins anew, or the time to ask for
// the assignment ends; if none has, as in Apache Kafka, there is no generation until one
// does, or all are gone.
func (g *Group) complete(now time.Time) []Answer {
	g.Members = slices.DeleteFunc(g.Members, func(m *Member) bool { return m.join == 0 && m.InstanceID == NoInstance })
	g.changed, g.initial = true, nil
	if len(g.Members) > 0 && !slices.ContainsFunc(g.Members, func(m *Member) bool { return m.join != 0 }) {
		g.deadline = now.Add(max(g.rebalance(), leastWait)) // there is nobody to make one of
		return nil
	}
	g.Generation++
	if len(g.Members) == 0 {
		g.State, g.Protocol, g.Leader, g.Emptied = Empty, "", "", now
		return nil
	}
	if m := g.member(g.Leader); m == nil || m.join == 0 {
		g.Leader = g.Members[0].ID
		for _, m := range g.Members {
			if m.join != 0 {
				g.Leader = m.ID
				break
			}
		}
	}
	g.Protocol = g.choose()
	g.State = CompletingRebalance
	var out []Answer
	g.unsynced = make(map[string]bool, len(g.Members))
	for _, m := range g.Members {
		m.seen, m.new = now, false
		g.unsynced[m.ID] = true
		if m.join != 0 {
			out = append(out, g.joined(m.join, m))
			m.join = 0
		}
	}
	g.deadline = now.Add(g.rebalance())
	return out
}

// leastWait is for static members of which none has come back, whatever time they say
// they take: asking again at once would be without end.
const leastWait = time.Second

// rebalance is how long a phase of a rebalance may take: as long as the slowest member
// says.
func (g *Group) rebalance() (wait time.Duration) {
	for _, m := range g.Members {
		wait = max(wait, m.Rebalance)
	}
	return wait
}

// choose is the protocol that all know and most want; among equals the one
// that the first member names first.
func (g *Group) choose() string {
	// How many know it of the members looked at: of all before, or it is known to
	// some only.
	known := map[string]int{}
	for i, m := range g.Members {
		for _, p := range m.Protocols {
			if known[p.Name] == i {
				known[p.Name]++
			}
		}
	}
	votes := map[string]int{}
	var order []string
	for _, m := range g.Members {
		for _, p := range m.Protocols {
			if known[p.Name] == len(g.Members) {
				if votes[p.Name] == 0 {
					order = append(order, p.Name)
				}
				votes[p.Name]++
				break
			}
		}
	}
	best := ""
	for _, name := range order {
		if votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

// joined is the answer to a member of the generation.
func (g *Group) joined(request RequestID, m *Member) Answer {
	a := &JoinAnswer{MemberID: m.ID, Generation: g.Generation, ProtocolType: g.ProtocolType, Protocol: g.Protocol, Leader: g.Leader}
	if m.ID == g.Leader {
		for _, o := range g.Members {
			a.Members = append(a.Members, JoinedMember{o.ID, o.InstanceID, o.metadata(g.Protocol)})
		}
	}
	return Answer{Request: request, Join: a}
}

// Sync is a request for an assignment; the leader's brings those of all.
type Sync struct {
	Request      RequestID
	MemberID     string
	InstanceID   Instance
	Generation   int32
	ProtocolType string // empty before version 5
	Protocol     string
	Assignments  map[string][]byte // by member
	Room         int               // how many bytes the group may take; 0 for no bound
}

// Sync answers with the assignment, or keeps the request until the leader has
// brought it.
func (g *Group) Sync(now time.Time, s Sync) []Answer {
	fail := func(err error) []Answer { return []Answer{{Request: s.Request, Sync: &SyncAnswer{Err: err}}} }
	m, err := g.identify(s.MemberID, s.InstanceID)
	switch {
	case err != nil:
		return fail(err)
	case s.Generation != g.Generation:
		return fail(kerr.IllegalGeneration)
	case s.ProtocolType != "" && s.ProtocolType != g.ProtocolType, s.Protocol != "" && s.Protocol != g.Protocol:
		return fail(kerr.InconsistentGroupProtocol)
	case g.State == PreparingRebalance:
		return fail(kerr.RebalanceInProgress)
	case g.State == Stable:
		delete(g.unsynced, m.ID)
		return []Answer{g.synced(s.Request, m)}
	case g.State != CompletingRebalance:
		return fail(kerr.UnknownMemberID)
	}
	out := refuse(m, kerr.RebalanceInProgress)
	delete(g.unsynced, m.ID)
	m.sync = s.Request
	if m.ID != g.Leader {
		return out
	}
	if !g.hasRoomFor(&s) {
		out = append(out, g.refuseSyncs(now, kerr.UnknownServerError)...)
		return append(out, g.prepare(now)...)
	}
	g.State, g.changed = Stable, true
	for _, o := range g.Members {
		o.Assignment, o.Had = s.Assignments[o.ID], nil
		if o.sync != 0 {
			o.seen = now
			out = append(out, g.synced(o.sync, o))
			o.sync = 0
		}
	}
	return out
}

func (g *Group) synced(request RequestID, m *Member) Answer {
	return Answer{Request: request, Sync: &SyncAnswer{ProtocolType: g.ProtocolType, Protocol: g.Protocol, Assignment: m.Assignment}}
}
