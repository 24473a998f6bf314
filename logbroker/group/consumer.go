package group

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// The states of a consumer group that classic groups do not have.
const (
	// Assigning: a new target assignment is to be computed.
	Assigning State = "Assigning"
	// Reconciling: members move towards the target assignment.
	Reconciling State = "Reconciling"
)

// Epochs of a heartbeat that mean something else (KIP-848).
const (
	// JoinEpoch joins.
	JoinEpoch = 0
	// LeaveEpoch leaves for good.
	LeaveEpoch = -1
	// LeaveForNowEpoch keeps the place of a static member until its session ends.
	LeaveForNowEpoch = -2
)

// firstEpoch is that of a group nobody has joined yet, as in Apache Kafka: its first
// member is at the next.
const firstEpoch = 1

// memberState is where a member is on its way to its target.
type memberState string

const (
	settled    memberState = "Stable"               // has what it is to have, as far as it is told
	unrevoked  memberState = "UnrevokedPartitions"  // is to give partitions up
	unreleased memberState = "UnreleasedPartitions" // waits for what others have not given up
)

// ConsumerMember is a member of a consumer group.
type ConsumerMember struct {
	ID         string
	InstanceID Instance
	RackID     string
	ClientID   string
	Host       string
	Principal  string        // whose topics its pattern matches; empty for who may see all
	Rebalance  time.Duration // the time it may take to give partitions up
	Topics     []string      // subscribed by name, sorted
	Regex      string        // and by pattern; empty for none
	Assignor   string        // the server's assignor it prefers; empty for any

	// Epoch is the epoch of the target assignment that it follows, or
	// LeaveForNowEpoch; Previous the one before.
	Epoch, Previous int32
	State           memberState
	Assigned        Partitions // what it may consume
	Revoking        Partitions // what it has to give up and may still consume
	Target          Partitions // what it is to have

	// Classic is set while the member speaks the classic protocol.
	Classic *ClassicMember

	since    map[Partition]int32 // the epoch with which it got each partition of Assigned and Revoking
	matches  matches             // the topics of Regex, as far as they were looked for
	resolved []string            // the names of all topics it subscribes to, sorted
	seen     time.Time
	revokeBy time.Time // zero unless unrevoked
}

// Consumer is a group of the consumer protocol (KIP-848): the server assigns
// partitions, and each member moves to its assignment by itself. It is not safe
// for concurrent use.
type Consumer struct {
	ID string
	// Epoch changes with the members, their subscriptions and their topics;
	// TargetEpoch is the one that the target assignment is of.
	Epoch, TargetEpoch int32
	Assignor           string
	Members            []*ConsumerMember // in the order they came
	// Emptied is when the last member went; zero if there never was one, or is.
	Emptied time.Time

	cfg       Config
	times     func() Times
	holders   map[Partition]*ConsumerMember // who may still consume it
	version   uint64                        // of the topics when they were last looked at
	signature []Topic                       // the subscribed topics then, by name; nil before
	gone      bool                          // members went since then
	assigned  time.Time                     // when the target assignment was computed; zero since the start
	looked    time.Time                     // when the topics of patterns were looked for, and
	created   uint64                        // the topics' Created then
	changed   bool

	toClassic  bool // the group is to be a classic one
	shareAgain bool // which rebalances at once
}

// Times are the configs of a consumer group.
type Times struct {
	Heartbeat  time.Duration // how often a member gives a sign of life
	Session    time.Duration // how long it may not
	Assignment time.Duration // from one new assignment to the next; 0 for as soon as it is due
}

// NewConsumer makes an empty consumer group.
func NewConsumer(id string, cfg Config, times func() Times) *Consumer {
	return &Consumer{ID: id, Epoch: firstEpoch, cfg: cfg.WithDefaults(), times: times, holders: map[Partition]*ConsumerMember{}}
}

// Unchanged is a rebalance time-out that stays. Any other negative one is over at once.
const Unchanged = -time.Millisecond

// Heartbeat is a ConsumerGroupHeartbeat. Nil pointers and slices are what has
// not changed since the last.
type Heartbeat struct {
	MemberID         string
	Epoch            int32
	InstanceID       Instance
	RackID           *string
	ClientID, Host   string
	Principal        string        // empty for who may see every topic
	Rebalance        time.Duration // or Unchanged
	Topics           []string
	Regex            *string
	Assignor         *string
	Owned            Partitions
	OwnedGiven       bool
	OwnedTopics      bool   // a topic is named among what it owns, if only with no partition
	EmptyIDForbidden bool   // version 1 and up: the member makes its id
	NewID            string // for a member that has none
	Room             int    // how many bytes the group may take; 0 for no bound
}

// HeartbeatAnswer answers a Heartbeat.
type HeartbeatAnswer struct {
	MemberID string
	Epoch    int32
	Interval time.Duration
	// Assignment is given if it changed, or if the member told all about itself: an
	// answer may have been lost.
	Assignment      Partitions
	AssignmentGiven bool
}

// Changed tells, once, whether what Encode writes has changed.
func (g *Consumer) Changed() bool {
	c := g.changed
	g.changed = false
	return c
}

// State is where the group stands.
func (g *Consumer) State() State {
	switch {
	case len(g.Members) == 0:
		return Empty
	case g.Epoch > g.TargetEpoch:
		return Assigning
	}
	for _, m := range g.Members {
		if m.State != settled || m.Epoch != g.TargetEpoch {
			return Reconciling
		}
	}
	return Stable
}

func (g *Consumer) member(id string) *ConsumerMember {
	i := slices.IndexFunc(g.Members, func(m *ConsumerMember) bool { return m.ID == id })
	if i < 0 {
		return nil
	}
	return g.Members[i]
}

func (g *Consumer) static(instance Instance) *ConsumerMember {
	if instance == NoInstance {
		return nil
	}
	i := slices.IndexFunc(g.Members, func(m *ConsumerMember) bool { return m.InstanceID == instance })
	if i < 0 {
		return nil
	}
	return g.Members[i]
}

// IsBlank tells of a text without any character that shows, which is no name.
func IsBlank(s string) bool {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' }) == ""
}

// CheckHeartbeat refuses what no group can take.
func CheckHeartbeat(h Heartbeat) error {
	joins := h.Epoch == JoinEpoch
	switch {
	case h.Epoch < LeaveForNowEpoch:
		return refusef(kerr.InvalidRequest, "member epoch %d; -2, -1, 0 and up are", h.Epoch)
	case IsBlank(h.MemberID) && (h.EmptyIDForbidden || h.Epoch > 0 || h.Epoch == LeaveEpoch):
		return refusef(kerr.InvalidRequest, "the member id is empty")
	case h.RackID != nil && IsBlank(*h.RackID):
		return refusef(kerr.InvalidRequest, "the rack id is empty")
	case h.Epoch == LeaveForNowEpoch && h.InstanceID == NoInstance:
		return refusef(kerr.InvalidRequest, "only a static member leaves for now: the instance id is missing")
	case joins && h.Rebalance == Unchanged:
		return refusef(kerr.InvalidRequest, "the rebalance timeout is missing in the request that joins")
	case joins && (!h.OwnedGiven || h.OwnedTopics || len(h.Owned) > 0):
		return refusef(kerr.InvalidRequest, "a member that joins owns partitions, or does not say that it owns none")
	case joins && h.Topics == nil && h.Regex == nil:
		return refusef(kerr.InvalidRequest, "a member that joins subscribes to nothing")
	case h.Assignor != nil && !slices.Contains(Assignors, *h.Assignor):
		return refusef(kerr.UnsupportedAssignor, "there is no assignor %q; %q are", *h.Assignor, Assignors)
	}
	return nil
}

// Heartbeat takes a member's sign of life, with what has changed about it, and
// tells it what it may consume. Errors wrap a *kerr.Error.
func (g *Consumer) Heartbeat(now time.Time, h Heartbeat, topics Topics) (HeartbeatAnswer, error) {
	if err := CheckHeartbeat(h); err != nil {
		return HeartbeatAnswer{}, err
	}
	if h.Epoch == LeaveEpoch || h.Epoch == LeaveForNowEpoch {
		return g.leave(now, h)
	}
	epoch, matched := g.Epoch, g.anyPatternMatched()
	m, err := g.subscribe(h)
	if err != nil {
		return HeartbeatAnswer{}, err
	}
	before := m.Assigned
	full := h.Epoch == JoinEpoch || h.OwnedGiven && h.Rebalance != Unchanged && (h.Topics != nil || h.Regex != nil)
	resubscribed, err := g.update(m, h, epoch)
	if err != nil {
		return HeartbeatAnswer{}, err
	}
	g.retarget(now, topics, epoch)
	g.reconcile(now, m, ownership{h.Owned, h.OwnedGiven}, resubscribed, topics)
	m.seen = now
	a := HeartbeatAnswer{MemberID: m.ID, Epoch: m.Epoch, Interval: g.times().Heartbeat}
	if full || !before.equal(m.Assigned) {
		a.Assignment, a.AssignmentGiven = m.Assigned, true
	}
	g.lookForPatterns(now, topics, matched)
	return a, nil
}

// subscribe finds the member that a heartbeat is of, a new one if it joins.
func (g *Consumer) subscribe(h Heartbeat) (*ConsumerMember, error) {
	if h.InstanceID != NoInstance {
		return g.subscribeStatic(h)
	}
	if m := g.member(h.MemberID); m != nil { // a static one may leave its instance out
		return m, g.joinAgain(m, h)
	}
	if h.Epoch != JoinEpoch {
		return nil, refusef(kerr.UnknownMemberID, "member %q is not in the group", h.MemberID)
	}
	return g.add(h)
}

func (g *Consumer) subscribeStatic(h Heartbeat) (*ConsumerMember, error) {
	m, known := g.static(h.InstanceID), g.member(h.MemberID)
	switch {
	case m == nil && h.Epoch == JoinEpoch && known != nil: // it becomes static, or another instance
		return known, g.joinAgain(known, h)
	case m == nil && h.Epoch != JoinEpoch:
		return nil, refusef(kerr.UnknownMemberID, "instance %q is not in the group", h.InstanceID)
	case m == nil:
		return g.add(h)
	case h.Epoch == JoinEpoch:
		// It has to leave first, itself too: two processes may have been given one instance.
		if m.Epoch != LeaveForNowEpoch && m.Classic == nil {
			return nil, refusef(kerr.UnreleasedInstanceID, "instance %q is owned by member %q, which has not left", h.InstanceID, m.ID)
		}
		if err := g.admits(m, h); err != nil {
			return nil, err // the place stays as it is
		}
		if known != nil && known != m { // its own place is free: there is one member of an id
			g.drop(known)
			g.bump()
			g.version = 0 // look at the topics again
		}
		g.takePlace(m, h)
		return m, nil
	case m.ID != h.MemberID:
		return nil, refusef(kerr.FencedInstanceID, "instance %q is another member now", h.InstanceID)
	}
	return m, m.checkEpoch(h.Epoch, h.Owned, h.OwnedGiven)
}

// joinAgain lets a member in that is there, at any epoch if it joins: it has been
// fenced, or has lost what it knew, and nobody else has its id.
func (g *Consumer) joinAgain(m *ConsumerMember, h Heartbeat) error {
	if h.Epoch != JoinEpoch {
		return m.checkEpoch(h.Epoch, h.Owned, h.OwnedGiven)
	}
	if m.Classic == nil && m.Epoch != LeaveForNowEpoch {
		return nil
	}
	if err := g.admits(m, h); err != nil {
		return err // it speaks its protocol on, or stays away
	}
	if m.Epoch == LeaveForNowEpoch {
		g.takePlace(m, h)
	}
	m.Classic, g.changed = nil, true
	return nil
}

// takePlace gives the place of a static member, with its target, to its next
// incarnation. Nobody else notices.
func (g *Consumer) takePlace(m *ConsumerMember, h Heartbeat) {
	m.ID, m.Classic = cmp.Or(h.MemberID, h.NewID), nil
	m.Epoch, m.Previous, m.State, m.revokeBy = JoinEpoch, JoinEpoch, settled, time.Time{}
	g.hold(m, nil, nil)
	g.changed = true
}

// add adds a member that has to have a first assignment.
func (g *Consumer) add(h Heartbeat) (*ConsumerMember, error) {
	if len(g.Members) >= g.cfg.MaxMembers {
		return nil, refusef(kerr.GroupMaxSizeReached, "the group has %d members, more cannot join", len(g.Members))
	}
	m := &ConsumerMember{ID: cmp.Or(h.MemberID, h.NewID), InstanceID: h.InstanceID, State: settled}
	if err := g.admits(m, h); err != nil {
		return nil, err
	}
	g.Members = append(g.Members, m)
	g.Emptied, g.changed = time.Time{}, true
	return m, nil
}

// checkEpoch fences a member that does not know its epoch. One that is behind by
// one, and owns no more than it was given, has not got its last answer.
func (m *ConsumerMember) checkEpoch(epoch int32, owned Partitions, given bool) error {
	switch {
	case epoch > m.Epoch:
		return refusef(kerr.FencedMemberEpoch, "epoch %d, and the member is at %d", epoch, m.Epoch)
	case epoch < m.Epoch && (epoch != m.Previous || !given || !owned.within(m.Assigned)):
		return refusef(kerr.FencedMemberEpoch, "epoch %d, and the member is at %d", epoch, m.Epoch)
	}
	return nil
}

// admits tells whether what a heartbeat says about its member can be taken over.
func (g *Consumer) admits(m *ConsumerMember, h Heartbeat) error {
	regex := m.pattern(h)
	if _, err := CompilePattern(regex); err != nil {
		return refusef(kerr.InvalidRegularExpression, "%q: %v", regex, err)
	}
	if !g.hasRoom(m, h) {
		return refusef(kerr.UnknownServerError, "what the member subscribes to is too large for it or for the group")
	}
	return nil
}

// pattern is what the member subscribes to by a heartbeat.
func (m *ConsumerMember) pattern(h Heartbeat) string {
	if h.Regex != nil {
		return *h.Regex
	}
	return m.Regex
}

// update takes over what a heartbeat says about its member, and tells whether it subscribes
// to something else. before is the epoch before the request.
func (g *Consumer) update(m *ConsumerMember, h Heartbeat, before int32) (resubscribed bool, err error) {
	if err := g.admits(m, h); err != nil {
		return false, err
	}
	old := *m
	if m.InstanceID = cmp.Or(h.InstanceID, m.InstanceID); m.InstanceID != old.InstanceID {
		g.changed = true
	}
	if h.RackID != nil {
		m.RackID = *h.RackID
	}
	m.ClientID, m.Host, m.Principal, m.Regex = h.ClientID, h.Host, h.Principal, m.pattern(h)
	if h.Rebalance != Unchanged {
		m.Rebalance = h.Rebalance
	}
	if h.Assignor != nil {
		m.Assignor = *h.Assignor
	}
	if h.Topics != nil {
		m.Topics = slices.Compact(slices.Sorted(slices.Values(h.Topics)))
	}
	// Who comes in another's name does not see what that one saw.
	pattern := m.Regex != old.Regex || m.Regex != "" && m.Principal != old.Principal
	due := !slices.Equal(m.Topics, old.Topics)
	if pattern && g.setPattern(m) {
		due = true
	}
	if pattern || due || m.Principal != old.Principal || m.RackID != old.RackID || m.Rebalance != old.Rebalance || m.Assignor != old.Assignor || m.ClientID != old.ClientID || m.Host != old.Host {
		g.changed = true
	}
	if pattern || due || m.resolved == nil {
		m.resolve()
	}
	if due && g.Epoch == before {
		g.bump()
	}
	if due {
		g.version = 0 // look at the topics again
	}
	return pattern || due, nil
}

// bump makes a new target assignment due.
func (g *Consumer) bump() {
	g.Epoch = max(g.Epoch, g.TargetEpoch) + 1
	g.changed = true
}

// leave ends the membership of a member, or, of a static one, lets its place
// wait for it.
func (g *Consumer) leave(now time.Time, h Heartbeat) (HeartbeatAnswer, error) {
	m := g.member(h.MemberID)
	if h.InstanceID != NoInstance {
		if m = g.static(h.InstanceID); m != nil && m.ID != h.MemberID {
			return HeartbeatAnswer{}, refusef(kerr.FencedInstanceID, "instance %q is another member now", h.InstanceID)
		}
	}
	if m == nil {
		return HeartbeatAnswer{}, refusef(kerr.UnknownMemberID, "member %q is not in the group", h.MemberID)
	}
	if h.Epoch == LeaveForNowEpoch {
		m.Previous, m.Epoch, m.State, m.revokeBy, m.seen = m.Epoch, LeaveForNowEpoch, settled, time.Time{}, now
		g.hold(m, m.Assigned, nil)
		g.changed = true
	} else {
		g.remove(now, m)
	}
	return HeartbeatAnswer{MemberID: h.MemberID, Epoch: h.Epoch}, nil
}

// remove takes members out at once; the others share what they had. Where those who are
// left speak the classic protocol the group becomes a classic one, and they share it there.
func (g *Consumer) remove(now time.Time, gone ...*ConsumerMember) {
	for _, m := range gone {
		g.drop(m)
	}
	g.gone = true
	g.toClassic = g.onlyClassic()
	if g.shareAgain = g.toClassic; !g.toClassic {
		g.bump()
	}
	if len(g.Members) == 0 {
		g.Emptied = now
	}
}

func (g *Consumer) drop(m *ConsumerMember) {
	g.hold(m, nil, nil)
	g.Members = slices.DeleteFunc(g.Members, func(o *ConsumerMember) bool { return o == m })
	g.changed = true
}

// Next is when Tick must be called; zero if nothing waits.
func (g *Consumer) Next() time.Time {
	var next time.Time
	session := g.times().Session
	for _, m := range g.Members {
		if at := m.due(session); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// due is when a member that does nothing is out of the group.
func (m *ConsumerMember) due(session time.Duration) time.Time {
	at := m.seen.Add(m.session(session))
	limits := []time.Time{m.revokeBy}
	if m.Classic != nil {
		limits = append(limits, m.Classic.joinBy, m.Classic.syncBy)
	}
	for _, limit := range limits {
		if !limit.IsZero() && limit.Before(at) {
			at = limit
		}
	}
	return at
}

// session is how long a member may be silent.
func (m *ConsumerMember) session(consumer time.Duration) time.Duration {
	if m.Classic != nil {
		return m.Classic.Session
	}
	return consumer
}

// Tick takes out who is silent for too long, does not give up what it must, or does not
// join or sync when it has to.
func (g *Consumer) Tick(now time.Time) {
	session := g.times().Session
	for _, m := range slices.Clone(g.Members) {
		if !now.Before(m.due(session)) {
			g.remove(now, m)
		}
	}
}

// Check tells whether a member may commit offsets: nil or an error that wraps a
// *kerr.Error. An empty member and epoch -1 are a client that uses the group for offsets
// only; that is allowed while the group has no members, whatever member it names. A
// producer's commit that names none is always allowed. An instance is not compared: the
// member is who it is by its id.
func (g *Consumer) Check(id string, instance Instance, epoch int32, producer bool) error {
	if epoch < 0 && (len(g.Members) == 0 || producer && id == "" && instance == NoInstance) {
		return nil
	}
	return g.CheckMember(id, epoch)
}

// CheckMember tells whether there is such a member, at that epoch.
func (g *Consumer) CheckMember(id string, epoch int32) error {
	m := g.member(id)
	switch {
	case m == nil:
		return kerr.UnknownMemberID
	case epoch != m.Epoch:
		return m.stale()
	}
	return nil
}

// CheckCommit is Check for a commit of offsets of some partitions. An older epoch will
// do if the member has had all of them since then (KIP-1251): nobody else has
// committed them meanwhile, and a commit that crosses a rebalance need not be repeated.
func (g *Consumer) CheckCommit(id string, instance Instance, epoch int32, producer bool, of iter.Seq[Partition]) error {
	m := g.member(id)
	if m == nil || epoch < 0 || epoch >= m.Epoch {
		return g.Check(id, instance, epoch, producer)
	}
	for p := range of {
		if since, ok := m.since[p]; !ok || epoch < since {
			return m.stale()
		}
	}
	return nil
}

// stale is what a member is told that is at another epoch, in its protocol.
func (m *ConsumerMember) stale() error {
	if m.Classic != nil {
		return kerr.IllegalGeneration
	}
	return kerr.StaleMemberEpoch
}

// OfConsumerProtocol tells whether a member speaks the consumer protocol.
func (g *Consumer) OfConsumerProtocol(id string) bool {
	m := g.member(id)
	return m != nil && m.Classic == nil
}

// Subscribed lists the topics that members subscribe to; some of them twice.
func (g *Consumer) Subscribed() (names []string) {
	for _, m := range g.Members {
		names = append(names, m.resolved...)
	}
	return names
}

// Consumes is what the member may consume, also what it has to give up.
func (m *ConsumerMember) Consumes() Partitions { return m.Assigned.or(m.Revoking) }

// IsClassic tells whether the member speaks the classic protocol.
func (m *ConsumerMember) IsClassic() bool { return m.Classic != nil }
