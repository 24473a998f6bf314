package group

import (
	"cmp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// State is where a group stands. The names are Kafka's.
type State string

const (
	// Empty groups have no members; they may have offsets.
	Empty State = "Empty"
	// PreparingRebalance: members are called to join.
	PreparingRebalance State = "PreparingRebalance"
	// CompletingRebalance: members have joined, the leader's assignment is awaited.
	CompletingRebalance State = "CompletingRebalance"
	// Stable: every member has its assignment.
	Stable State = "Stable"
	// Dead: there is no such group.
	Dead State = "Dead"
)

// Config bounds groups. The zero value takes Kafka's defaults, but for
// InitialDelay, whose default is that of the server.properties which Kafka brings.
type Config struct {
	MinSession, MaxSession time.Duration // default 6 s and 30 min
	MaxMembers             int           // default 10000
	// InitialDelay is how long the first member of an empty group waits for
	// others, and each of these for more, up to the rebalance time-out of the first.
	// Default 0: a single process need not wait for nobody; those who come later
	// join by a rebalance of their own.
	InitialDelay time.Duration
}

// WithDefaults fills in the defaults.
func (c Config) WithDefaults() Config {
	c.MinSession = cmp.Or(c.MinSession, 6*time.Second)
	c.MaxSession = cmp.Or(c.MaxSession, 30*time.Minute)
	c.MaxMembers = cmp.Or(c.MaxMembers, 10_000)
	return c
}

// Allows tells whether a classic member may have such a session time-out.
func (c Config) Allows(session time.Duration) bool {
	c = c.WithDefaults()
	return session >= c.MinSession && session <= c.MaxSession
}

// RequestID names a request that waits for its answer; 0 is none.
type RequestID uint64

// Instance is the name of a static member (KIP-345), which may be empty.
type Instance struct {
	name  string
	named bool
}

// NoInstance is that of a member that is none.
var NoInstance Instance

// InstanceOf is the instance of a name, as requests have it; nil is none.
func InstanceOf(name *string) Instance {
	if name == nil {
		return NoInstance
	}
	return Instance{*name, true}
}

// Name is the name as answers have it, nil for none.
func (i Instance) Name() *string {
	if !i.named {
		return nil
	}
	return &i.name
}

// String is the name, empty for none.
func (i Instance) String() string { return i.name }

// MarshalText implements encoding.TextMarshaler.
func (i Instance) MarshalText() ([]byte, error) { return []byte(i.name), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (i *Instance) UnmarshalText(text []byte) error {
	*i = Instance{string(text), true}
	return nil
}

// Protocol is an assignor that a member knows, with its metadata.
type Protocol struct {
	Name     string
	Metadata []byte
}

// Member is a member of a group.
type Member struct {
	ID         string
	InstanceID Instance
	ClientID   string
	Host       string
	Session    time.Duration
	Rebalance  time.Duration
	Protocols  []Protocol
	Assignment []byte
	// Had is what it could consume when the group was made a classic one, until it is
	// assigned something; nil if that is Assignment.
	Had []byte

	seen time.Time // its last sign of life, or when its session began anew
	new  bool      // its first join is not answered yet
	join RequestID // waits for the rebalance to begin
	sync RequestID // waits for the assignment
}

func (m *Member) metadata(protocol string) []byte {
	for _, p := range m.Protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// Group is one group. It is not safe for concurrent use.
type Group struct {
	ID           string
	State        State
	ProtocolType string
	Protocol     string
	Generation   int32
	Leader       string
	Members      []*Member // in the order they came
	// Emptied is when the last member went; zero if there never was one, or is.
	Emptied time.Time

	cfg      Config
	pending  []pendingMember
	deadline time.Time       // of the phase of the rebalance
	unsynced map[string]bool // the members of the generation that have not asked for their assignment
	initial  *initial        // nil: members are not waited for who are not known yet
	changed  bool            // since the last Changed
}

// pendingMember was given an id and has not joined with it yet (KIP-394).
type pendingMember struct {
	id    string
	until time.Time
}

// New makes an empty group.
func New(id string, cfg Config) *Group {
	return &Group{ID: id, State: Empty, cfg: cfg.WithDefaults()}
}

// Answer is the answer to a waiting request. Exactly one of Join and Sync is
// set.
type Answer struct {
	Request RequestID
	Join    *JoinAnswer
	Sync    *SyncAnswer
}

// JoinAnswer answers a join.
type JoinAnswer struct {
	Err            error // a *kerr.Error, or nil
	MemberID       string
	Generation     int32
	ProtocolType   string
	Protocol       string
	Leader         string
	SkipAssignment bool
	Members        []JoinedMember // for the leader only
}

// JoinedMember is a member as the leader sees it.
type JoinedMember struct {
	ID         string
	InstanceID Instance
	Metadata   []byte
}

// SyncAnswer answers a sync.
type SyncAnswer struct {
	Err          error
	ProtocolType string
	Protocol     string
	Assignment   []byte
}

// Changed tells, once, whether what Encode writes has changed.
func (g *Group) Changed() bool {
	c := g.changed
	g.changed = false
	return c
}

func (g *Group) member(id string) *Member {
	for _, m := range g.Members {
		if m.ID == id {
			return m
		}
	}
	return nil
}

func (g *Group) static(instance Instance) *Member {
	if instance == NoInstance {
		return nil
	}
	for _, m := range g.Members {
		if m.InstanceID == instance {
			return m
		}
	}
	return nil
}

// identify finds the member that a request names, or says why not.
func (g *Group) identify(id string, instance Instance) (*Member, error) {
	if instance != NoInstance {
		m := g.static(instance)
		switch {
		case m == nil:
			return nil, kerr.UnknownMemberID
		case m.ID != id:
			return nil, kerr.FencedInstanceID
		}
		return m, nil
	}
	if m := g.member(id); m != nil {
		return m, nil
	}
	return nil, kerr.UnknownMemberID
}

// Check tells whether a member may commit offsets: nil or a *kerr.Error. An
// empty member and generation -1 are a client that uses the group for offsets
// only; that is allowed while the group has no members. A producer's commit
// (KIP-447) that names no member is always allowed.
func (g *Group) Check(id string, instance Instance, generation int32, producer bool) error {
	if generation < 0 && id == "" && instance == NoInstance {
		if producer || len(g.Members) == 0 {
			return nil
		}
		return kerr.UnknownMemberID
	}
	if g.State == Empty && generation < 0 {
		return nil
	}
	if _, err := g.identify(id, instance); err != nil {
		return err
	}
	if generation != g.Generation {
		return kerr.IllegalGeneration
	}
	if g.State == CompletingRebalance && !producer {
		return kerr.RebalanceInProgress
	}
	return nil
}

// Heartbeat takes a sign of life.
func (g *Group) Heartbeat(now time.Time, id string, instance Instance, generation int32) error {
	if g.State == Empty || g.State == Dead {
		return kerr.UnknownMemberID
	}
	m, err := g.identify(id, instance)
	if err != nil {
		return err
	}
	if generation != g.Generation {
		return kerr.IllegalGeneration
	}
	m.seen = now
	if g.State == PreparingRebalance {
		return kerr.RebalanceInProgress
	}
	return nil
}

// Seen counts a commit of offsets as a sign of life.
func (g *Group) Seen(now time.Time, id string) {
	if m := g.member(id); m != nil {
		m.seen = now
	}
}

// Leaver is who leaves by a LeaveGroup.
type Leaver struct {
	ID         string
	InstanceID Instance
}

// Leave removes members at once; the others rebalance once. As in Kafka they do so also if
// only an id leaves that nobody has joined with. What each is told is in the order of those
// who leave.
func (g *Group) Leave(now time.Time, leavers []Leaver) (out []Answer, told []error) {
	left := false
	for _, l := range leavers {
		var m *Member
		var err error
		if i := g.pendingIndex(l.ID); i >= 0 && l.InstanceID == NoInstance {
			g.pending = slices.Delete(g.pending, i, i+1)
		} else if m, err = g.leaver(l); err == nil {
			out = append(out, refuse(m, kerr.UnknownMemberID)...)
			g.drop(now, m)
		}
		left, told = left || err == nil, append(told, err)
	}
	if left {
		out = append(out, g.goOn(now)...)
	}
	return out, told
}

// leaver finds who leaves; a static member may be named by its instance alone.
func (g *Group) leaver(l Leaver) (*Member, error) {
	if m := g.static(l.InstanceID); m != nil && l.ID == "" {
		return m, nil
	}
	return g.identify(l.ID, l.InstanceID)
}

// remove takes a member out; the others rebalance.
func (g *Group) remove(now time.Time, m *Member) []Answer {
	out := refuse(m, kerr.UnknownMemberID)
	g.drop(now, m)
	return append(out, g.goOn(now)...)
}

// goOn rebalances those who are left, or sees whether all of them have joined.
func (g *Group) goOn(now time.Time) []Answer {
	switch g.State {
	case Stable, CompletingRebalance:
		return g.prepare(now)
	case PreparingRebalance:
		return g.tryComplete(now)
	}
	return nil
}

func (g *Group) drop(now time.Time, m *Member) {
	g.Members = slices.DeleteFunc(g.Members, func(o *Member) bool { return o == m })
	g.changed = true
	if len(g.Members) == 0 {
		g.Emptied = now // a rebalance may be under way for those who come, and be lost in a crash
	}
	if g.Leader == m.ID {
		g.Leader = ""
		if len(g.Members) > 0 {
			g.Leader = g.Members[0].ID
		}
	}
}

// refuse answers the requests of a member that wait.
func refuse(m *Member, err error) []Answer {
	var out []Answer
	if m.join != 0 {
		out = append(out, Answer{Request: m.join, Join: &JoinAnswer{Err: err, MemberID: m.ID, Generation: -1}})
		m.join = 0
	}
	if m.sync != 0 {
		out = append(out, Answer{Request: m.sync, Sync: &SyncAnswer{Err: err}})
		m.sync = 0
	}
	return out
}

func (g *Group) pendingIndex(id string) int {
	return slices.IndexFunc(g.pending, func(p pendingMember) bool { return p.id == id })
}

// Next is when Tick must be called; zero if nothing waits.
func (g *Group) Next() time.Time {
	var next time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if g.State == PreparingRebalance || len(g.unsynced) > 0 {
		sooner(g.deadline)
	}
	for _, m := range g.Members {
		sooner(m.due())
	}
	for _, p := range g.pending {
		sooner(p.until)
	}
	return next
}

// newMemberWait is how long the first join of a member waits, as in Kafka: its client may be
// gone, and come again under another id.
const newMemberWait = 5 * time.Minute

// due is when a member that says nothing more is taken out; zero for one whose request
// waits.
func (m *Member) due() time.Time {
	switch {
	case m.new:
		return m.seen.Add(newMemberWait)
	case m.join != 0 || m.sync != 0:
		return time.Time{}
	}
	return m.seen.Add(m.Session)
}

// Tick runs what is due.
func (g *Group) Tick(now time.Time) []Answer {
	var out []Answer
	n := len(g.pending)
	g.pending = slices.DeleteFunc(g.pending, func(p pendingMember) bool { return !now.Before(p.until) })
	if len(g.pending) < n {
		out = append(out, g.tryComplete(now)...)
	}
	for _, m := range slices.Clone(g.Members) {
		if due := m.due(); !due.IsZero() && !now.Before(due) {
			out = append(out, g.remove(now, m)...)
		}
	}
	if now.Before(g.deadline) {
		return out
	}
	switch {
	case g.State == PreparingRebalance:
		if !g.putOff(now) {
			out = append(out, g.complete(now)...)
		}
	case len(g.unsynced) > 0:
		// Members that never asked for their assignment are gone, also those to whose
		// place another has come meanwhile.
		for _, m := range slices.Clone(g.Members) {
			if g.unsynced[m.ID] {
				g.drop(now, m)
			}
		}
		out = append(out, g.prepare(now)...)
	}
	return out
}
