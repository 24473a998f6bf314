package group

import (
	"cmp"
	"slices"
)

const (
	// MaxMemberBytes bounds what a member says of itself, as the size of a record
	// does in Kafka.
	MaxMemberBytes = 1 << 20
	// memberBytes is about what a member takes that says nothing.
	memberBytes = 256
)

// textBytes is about what strings take.
func textBytes(list ...string) (n int) {
	for _, s := range list {
		n += len(s) + 16
	}
	return n
}

func protocolBytes(list []Protocol) (n int) {
	for _, p := range list {
		n += textBytes(p.Name) + len(p.Metadata)
	}
	return n
}

// bytes is about what the member takes, without its assignment.
func (m *Member) bytes() int {
	return memberBytes + textBytes(m.ID, m.InstanceID.name, m.ClientID, m.Host) + protocolBytes(m.Protocols)
}

// Bytes is about what the group takes in memory, and in its row.
func (g *Group) Bytes() (n int) {
	for _, m := range g.Members {
		n += m.bytes() + len(m.Assignment) + len(m.Had)
	}
	for _, p := range g.pending {
		n += textBytes(p.id)
	}
	return n
}

// bytes is about what the member takes that joins.
func (j *Join) bytes() int {
	return memberBytes + textBytes(cmp.Or(j.MemberID, j.NewID), j.InstanceID.name, j.ClientID, j.Host) + protocolBytes(j.Protocols)
}

// fits tells whether a member that took old bytes may take some more or less. Only for
// more the group is measured.
func fits(old, now, room int, group interface{ Bytes() int }) bool {
	return now <= MaxMemberBytes && (room == 0 || now <= old || group.Bytes()-old+now <= room)
}

func (g *Group) hasRoom(j *Join) bool {
	m, old := g.member(j.MemberID), 0
	if s := g.static(j.InstanceID); s != nil {
		m = s
	}
	if m != nil {
		old = m.bytes()
	}
	return fits(old, j.bytes(), j.Room, g)
}

// hasRoomFor tells whether the assignments can be kept.
func (g *Group) hasRoomFor(s *Sync) bool {
	now := g.Bytes()
	for _, m := range g.Members {
		now += len(s.Assignments[m.ID]) - len(m.Assignment) - len(m.Had)
	}
	return s.Room == 0 || now <= s.Room
}

// bytes is about what the member takes, without partitions, of which there are no
// more than the topics have.
func (m *ConsumerMember) bytes() int {
	n := memberBytes + textBytes(m.ID, m.InstanceID.name, m.RackID, m.ClientID, m.Host, m.Principal, m.Regex, m.Assignor) + textBytes(m.Topics...)
	if m.Classic != nil {
		n += protocolBytes(m.Classic.Protocols)
	}
	return n
}

// Bytes is about what the group takes in memory, and in its row.
func (g *Consumer) Bytes() (n int) {
	for _, m := range g.Members {
		n += m.bytes()
	}
	return n
}

// hasRoom tells whether the member may say of itself what a heartbeat says.
func (g *Consumer) hasRoom(m *ConsumerMember, h Heartbeat) bool {
	if h.Topics == nil && h.RackID == nil && h.Regex == nil && h.ClientID == m.ClientID {
		return true
	}
	now := *m
	now.ClientID, now.Host, now.Principal = h.ClientID, h.Host, h.Principal
	if h.Topics != nil {
		now.Topics = h.Topics
	}
	if h.RackID != nil {
		now.RackID = *h.RackID
	}
	if h.Regex != nil {
		now.Regex = *h.Regex
	}
	old := 0 // of one that is new
	if slices.Contains(g.Members, m) {
		old = m.bytes()
	}
	return fits(old, now.bytes(), h.Room, g)
}

// hasRoomForClassic is hasRoom for a member that speaks the classic protocol, whose
// subscription is kept twice. Who has room here has it by hasRoom.
func (g *Consumer) hasRoomForClassic(j *Join, sub subscription) bool {
	old := 0
	m := g.member(j.MemberID)
	if s := g.static(j.InstanceID); s != nil {
		m = s
	}
	now := ConsumerMember{ID: cmp.Or(j.MemberID, j.NewID), InstanceID: j.InstanceID}
	if m != nil {
		old = m.bytes()
		now.InstanceID, now.RackID, now.Assignor = m.InstanceID, m.RackID, m.Assignor
	}
	if sub.rack != nil {
		now.RackID = *sub.rack
	}
	now.ClientID, now.Host, now.Topics, now.Classic = j.ClientID, j.Host, sub.names, &ClassicMember{Protocols: j.Protocols}
	return fits(old, now.bytes(), j.Room, g)
}
