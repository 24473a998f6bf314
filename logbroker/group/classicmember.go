package group

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ConsumerProtocol is the protocol type of consumers.
const ConsumerProtocol = "consumer"

// ClassicMember is what a member of a consumer group that still speaks the
// classic protocol needs: groups are upgraded online, one member after another
// (KIP-848).
type ClassicMember struct {
	Session   time.Duration
	Protocols []Protocol

	joinBy, syncBy time.Time // when it has to have done so; zero if it need not
}

// subscription is what a classic member says of itself when it joins.
type subscription struct {
	names []string
	owned Partitions
	rack  *string // nil for none
}

func subscriptionOf(metadata []byte, topics Topics) (subscription, error) {
	var md kmsg.ConsumerMemberMetadata
	if err := md.ReadFrom(metadata); err != nil {
		return subscription{}, err
	}
	if md.Version < 0 {
		return subscription{}, fmt.Errorf("version %d; 0 and up are", md.Version)
	}
	var list []Partition
	for _, o := range md.OwnedPartitions {
		if t, ok := topics.ByName(o.Topic); ok {
			for _, n := range o.Partitions {
				list = append(list, Partition{t.ID, n})
			}
		}
	}
	s := subscription{names: append([]string{}, md.Topics...), owned: NewPartitions(list)}
	if md.Rack != nil && *md.Rack != "" {
		s.rack = md.Rack
	}
	return s, nil
}

// newestAssignment is the newest version of an assignment.
const newestAssignment = 3

// encodeAssignment is an assignment as the classic consumer reads it, of the version in
// which it says what it subscribes to.
func (c *ClassicMember) encodeAssignment(assigned Partitions, topics Topics) []byte {
	a := kmsg.NewConsumerMemberAssignment()
	if md := c.Protocols[0].Metadata; len(md) >= 2 {
		a.Version = max(0, min(int16(binary.BigEndian.Uint16(md)), newestAssignment))
	}
	for _, p := range assigned {
		t, ok := topics.ByID(p.Topic)
		if !ok {
			continue // deleted
		}
		if n := len(a.Topics); n == 0 || a.Topics[n-1].Topic != t.Name {
			at := kmsg.NewConsumerMemberAssignmentTopic()
			at.Topic = t.Name
			a.Topics = append(a.Topics, at)
		}
		last := &a.Topics[len(a.Topics)-1]
		last.Partitions = append(last.Partitions, p.Index)
	}
	return a.AppendTo(nil)
}

func decodeAssignment(b []byte, topics Topics) (Partitions, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var a kmsg.ConsumerMemberAssignment
	if err := a.ReadFrom(b); err != nil {
		return nil, err
	}
	if len(a.UserData) > 0 {
		return nil, errors.New("it has data of its assignor, which the server's would not give it")
	}
	var list []Partition
	for _, at := range a.Topics {
		if t, ok := topics.ByName(at.Topic); ok {
			for _, n := range at.Partitions {
				list = append(list, Partition{t.ID, n})
			}
		}
	}
	return NewPartitions(list), nil
}

// Upgrade makes a consumer group of a classic one: its members keep their
// partitions, and speak their protocol on; one without members begins anew. Only a group
// of consumers can be upgraded; the error wraps a *kerr.Error. The classic group stays as
// it was: it may be that the upgrade is for nothing.
func (g *Group) Upgrade(now time.Time, topics Topics, times func() Times) (*Consumer, error) {
	c := NewConsumer(g.ID, g.cfg, times)
	c.Emptied, c.changed = g.Emptied, true
	if len(g.Members) == 0 {
		return c, nil // nobody knows its generation
	}
	c.Epoch, c.TargetEpoch = g.Generation, g.Generation
	if g.ProtocolType != ConsumerProtocol {
		return nil, refusef(kerr.GroupIDNotFound, "the group is of %q, not of consumers", g.ProtocolType)
	}
	if g.State != Stable {
		c.signature = []Topic{} // an assignment is due: what is to be seen of the topics is new
	}
	var told []Partitions
	for _, m := range g.Members {
		protocol := cmp.Or(g.Protocol, m.Protocols[0].Name)
		sub, err := subscriptionOf(m.metadata(protocol), topics)
		if err != nil {
			return nil, refusef(kerr.GroupIDNotFound, "what member %q subscribes to cannot be read: %v", m.ID, err)
		}
		had := m.Assignment
		if m.Had != nil {
			had = m.Had
		}
		assigned, err := decodeAssignment(had, topics)
		if err != nil {
			return nil, refusef(kerr.GroupIDNotFound, "the assignment of member %q cannot be taken over: %v", m.ID, err)
		}
		slices.Sort(sub.names)
		names := slices.Compact(sub.names)
		cm := &ConsumerMember{
			ID: m.ID, InstanceID: m.InstanceID, ClientID: m.ClientID, Host: m.Host, Rebalance: m.Rebalance, Topics: names, resolved: names,
			Epoch: g.Generation, Previous: g.Generation, State: settled, Target: assigned, seen: now,
			Classic: &ClassicMember{Session: m.Session, Protocols: m.Protocols},
		}
		c.Members = append(c.Members, cm)
		c.hold(cm, assigned, nil)
		told = append(told, sub.owned)
	}
	for i, cm := range c.Members {
		c.holdMore(cm, told[i])
	}
	return c, nil
}

// SendAway are the answers to those that wait, who have to join again: the group that took
// the place of this one, or this one. Their sessions begin anew.
func (g *Group) SendAway(now time.Time) (out []Answer) {
	for _, m := range g.Members {
		if m.join != 0 || m.sync != 0 {
			out = append(out, refuse(m, kerr.RebalanceInProgress)...)
			m.seen = now
		}
	}
	return out
}

// holdMore leaves a member what it said it owned when it joined, and was not assigned
// to anybody: it may not have heard yet that it is to give it up.
func (g *Consumer) holdMore(m *ConsumerMember, owned Partitions) {
	held := m.Assigned
	for _, p := range owned {
		if g.holders[p] == nil {
			held = held.or(Partitions{p})
		}
	}
	g.hold(m, held, nil)
}

// onlyClassic tells whether all members speak the classic protocol.
func (g *Consumer) onlyClassic() bool {
	return len(g.Members) > 0 && !slices.ContainsFunc(g.Members, func(m *ConsumerMember) bool { return m.Classic == nil })
}

// ToClassic tells whether the group is to be a classic one again: the last member that
// speaks the consumer protocol has gone, or its place is a classic member's.
func (g *Consumer) ToClassic() bool { return g.toClassic }

// Downgrade makes a classic group of a consumer group whose members all speak the
// classic protocol, or that has none. Its members are called to join, unless none has
// gone and all have what they are to have; what they have not given up yet is
// theirs until then, whatever they are to have.
func (g *Consumer) Downgrade(now time.Time, topics Topics) *Group {
	c := New(g.ID, g.cfg)
	c.Emptied, c.changed = g.Emptied, true
	if len(g.Members) == 0 {
		return c // nobody knows its epoch
	}
	c.Generation = g.Epoch
	c.ProtocolType, c.State, c.Leader = ConsumerProtocol, Stable, g.Members[0].ID
	for _, m := range g.Members {
		cm := &Member{
			ID: m.ID, InstanceID: m.InstanceID, ClientID: m.ClientID, Host: m.Host, Session: m.Classic.Session, Rebalance: m.Rebalance,
			Protocols: m.Classic.Protocols, Assignment: m.Classic.encodeAssignment(m.Target, topics), seen: now,
		}
		if has := m.Consumes(); !has.equal(m.Target) {
			cm.Had = m.Classic.encodeAssignment(has, topics)
		}
		c.Members = append(c.Members, cm)
	}
	c.Protocol = c.choose()
	if g.shareAgain || g.State() != Stable {
		c.prepare(now) // nobody has joined yet, so nobody is answered
	}
	return c
}

// JoinClassic is a JoinGroup in a consumer group: the member is assigned
// partitions by the server, and asks for them with a sync. As in Kafka, who is refused
// is not told its id.
func (g *Consumer) JoinClassic(now time.Time, j Join, topics Topics) JoinAnswer {
	fail := func(err error, id string) JoinAnswer { return JoinAnswer{Err: err, MemberID: id, Generation: -1} }
	switch {
	case j.ProtocolType != ConsumerProtocol || len(j.Protocols) == 0 || !g.sharesProtocol(j):
		return fail(kerr.InconsistentGroupProtocol, "")
	case j.MemberID == "" && j.InstanceID == NoInstance && j.MustKnowID:
		return fail(kerr.MemberIDRequired, j.NewID)
	}
	sub, err := subscriptionOf(j.Protocols[0].Metadata, topics)
	if err != nil || !g.hasRoomForClassic(&j, sub) {
		return fail(kerr.UnknownServerError, "") // Kafka stumbles over what it cannot read
	}
	h := Heartbeat{
		MemberID: j.MemberID, InstanceID: j.InstanceID, RackID: sub.rack, ClientID: j.ClientID, Host: j.Host, Rebalance: j.Rebalance, Topics: sub.names, NewID: j.NewID,
		Regex: new(string), // there is none in this protocol
	}
	replaces, epoch, matched := g.static(j.InstanceID) != nil, g.Epoch, g.anyPatternMatched()
	m, err := g.placeOf(j, h, sub.owned)
	if err != nil {
		return fail(err, "")
	}
	m.Classic = &ClassicMember{Session: j.Session, Protocols: j.Protocols, syncBy: now.Add(j.Rebalance)}
	g.changed = true
	resubscribed, err := g.update(m, h, epoch)
	if err != nil {
		return fail(err, "")
	}
	if replaces && g.onlyClassic() {
		g.toClassic = true
	} else {
		g.retarget(now, topics, epoch)
	}
	g.reconcile(now, m, ownership{sub.owned, true}, resubscribed, topics)
	m.seen = now
	g.lookForPatterns(now, topics, matched)
	return JoinAnswer{MemberID: m.ID, Generation: m.Epoch, ProtocolType: ConsumerProtocol, Protocol: j.Protocols[0].Name}
}

// placeOf finds the member that joins, or makes it. One that is not a member and says
// that it has partitions was taken out: it has to hear of it, for they are others'.
func (g *Consumer) placeOf(j Join, h Heartbeat, owned Partitions) (*ConsumerMember, error) {
	if m := g.static(j.InstanceID); m != nil {
		if j.MemberID != "" && m.ID != j.MemberID {
			return nil, kerr.FencedInstanceID
		}
		if j.MemberID == "" {
			g.takePlace(m, h)
		}
		return m, nil
	}
	if m := g.member(j.MemberID); m != nil && j.InstanceID == NoInstance {
		return m, nil
	}
	if j.MemberID != "" && (j.InstanceID != NoInstance || len(owned) > 0) {
		return nil, kerr.UnknownMemberID
	}
	return g.add(h)
}

// sharesProtocol tells whether all classic members know one of the protocols; what the
// member itself named before counts, too, as Kafka has it.
func (g *Consumer) sharesProtocol(j Join) bool {
	return share(j.Protocols, func(yield func([]Protocol) bool) {
		for _, m := range g.Members {
			if m.Classic != nil && !yield(m.Classic.Protocols) {
				return
			}
		}
	})
}

// classic finds the classic member that a request names.
func (g *Consumer) classic(id string, instance Instance, generation int32) (*ConsumerMember, error) {
	m := g.member(id)
	if instance != NoInstance {
		if m = g.static(instance); m != nil && m.ID != id {
			return nil, kerr.FencedInstanceID
		}
	}
	switch {
	case m == nil || m.Classic == nil:
		return nil, kerr.UnknownMemberID
	case generation != m.Epoch:
		return nil, kerr.IllegalGeneration
	}
	return m, nil
}

// SyncClassic is a SyncGroup in a consumer group.
func (g *Consumer) SyncClassic(now time.Time, s Sync, topics Topics) SyncAnswer {
	m, err := g.classic(s.MemberID, s.InstanceID, s.Generation)
	if err != nil {
		return SyncAnswer{Err: err}
	}
	protocol := m.Classic.Protocols[0].Name
	switch {
	case s.ProtocolType != "" && s.ProtocolType != ConsumerProtocol || s.Protocol != "" && s.Protocol != protocol:
		return SyncAnswer{Err: kerr.InconsistentGroupProtocol}
	case g.TargetEpoch > m.Epoch && m.State != unrevoked:
		return SyncAnswer{Err: g.callToJoin(now, m)}
	}
	m.seen, m.Classic.syncBy = now, time.Time{}
	return SyncAnswer{ProtocolType: ConsumerProtocol, Protocol: protocol, Assignment: m.Classic.encodeAssignment(m.Assigned, topics)}
}

// callToJoin is what a member is told that has to join again, and has its rebalance
// time-out for it.
func (g *Consumer) callToJoin(now time.Time, m *ConsumerMember) error {
	if m.Classic.joinBy.IsZero() {
		m.Classic.joinBy = now.Add(m.Rebalance)
		g.changed = true
	}
	return kerr.RebalanceInProgress
}

// HeartbeatClassic is a Heartbeat in a consumer group. A member that has to move
// is called to join again. As in Kafka, new assignments are made when a member of the
// consumer protocol is heard of, or somebody joins.
func (g *Consumer) HeartbeatClassic(now time.Time, id string, instance Instance, generation int32) error {
	m, err := g.classic(id, instance, generation)
	if err != nil {
		return err
	}
	m.seen = now
	late := g.due(now) && g.onlyClassic() // nobody else lets an assignment be made
	if late || m.Epoch < g.TargetEpoch || m.State == unrevoked || m.State == unreleased && !g.waitsForOthers(m) {
		return g.callToJoin(now, m)
	}
	return nil
}

// LeaveClassic is a LeaveGroup; what each member is told is in the order of those who leave.
func (g *Consumer) LeaveClassic(now time.Time, leavers []Leaver) []error {
	out := make([]error, len(leavers))
	var gone []*ConsumerMember
	for i, l := range leavers {
		m := g.member(l.ID)
		if l.InstanceID != NoInstance {
			m = g.static(l.InstanceID)
		}
		switch {
		case m == nil:
			out[i] = kerr.UnknownMemberID
		case l.ID != "" && m.ID != l.ID:
			out[i] = kerr.FencedInstanceID
		case !slices.Contains(gone, m):
			gone = append(gone, m)
		}
	}
	if len(gone) > 0 {
		g.remove(now, gone...)
	}
	return out
}

// Seen counts a commit of offsets of a classic member as a sign of life.
func (g *Consumer) Seen(now time.Time, id string) {
	if m := g.member(id); m != nil && m.Classic != nil {
		m.seen = now
	}
}
