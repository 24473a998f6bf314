package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/runtime/assign"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
)

const (
	defaultSessionTimeout = 10 * time.Second
	rebalanceTimeout      = time.Minute
	// heartbeatInterval is how soon a member hears of a rebalance.
	heartbeatInterval = time.Second
	// countInterval is how often the leader looks for new partitions.
	countInterval = 30 * time.Second
)

// member implements logclient.Member. A goroutine of its own (follow) keeps the
// membership: it joins, assigns if it leads, and sends heartbeats; what changes
// is queued for Poll.
type member struct {
	*fetcher
	*producer
	group *membership
	cfg   logclient.MemberConfig
	ctx   context.Context // of follow
	quit  context.CancelFunc
	work  chan struct{} // capacity 1: Released or Rejoin was called
	ended chan struct{} // closed when follow has returned

	askMu     sync.Mutex // guards what the worker asks for
	giving    int        // Revoked events that are not released
	asked     bool       // Rejoin was called
	userData  []byte
	hasClosed bool

	// Owned by follow.
	owned  []logclient.TopicPartition
	again  bool             // join again as soon as nothing is to be released
	counts map[string]int32 // partitions by topic, if the member leads
}

var _ logclient.Member = (*member)(nil)

// Join implements logclient.Log.
func (l *Log) Join(cfg logclient.MemberConfig) (logclient.Member, error) {
	if cfg.Group == "" || len(cfg.Topics) == 0 {
		return nil, errors.New("kafka: a member needs a group and topics")
	}
	if cfg.SessionTimeout <= 0 {
		cfg.SessionTimeout = defaultSessionTimeout
	}
	c, err := newClient(l.cfg, l.v2)
	if err != nil {
		return nil, err
	}
	m := &member{
		group: newMembership(c.ctx, cfg.Group, cfg.InstanceID), cfg: cfg, userData: cfg.UserData,
		work: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	m.ctx, m.quit = context.WithCancel(c.ctx)
	m.fetcher = newFetcher(c, !cfg.ReadUncommitted, cfg.MaxPollBytes)
	m.producer = newProducer(c, l.v2, cfg.TransactionalID, cfg.TransactionTimeout, m.group, m.fetcher.signal)
	c.wg.Go(m.follow)
	return m, nil
}

// Released implements logclient.Membership.
func (m *member) Released() {
	m.askMu.Lock()
	m.giving = max(m.giving-1, 0)
	m.askMu.Unlock()
	poke(m.work)
}

// Rejoin implements logclient.Membership.
func (m *member) Rejoin(userData []byte) {
	m.askMu.Lock()
	m.userData, m.asked = userData, true
	m.askMu.Unlock()
	poke(m.work)
}

// revoke counts a Revoked event that waits for its release.
func (m *member) revoke() {
	m.askMu.Lock()
	m.giving++
	m.askMu.Unlock()
}

// mayJoin tells whether everything revoked is released, and whether the worker
// has asked to join again.
func (m *member) mayJoin() (released, asked bool) {
	m.askMu.Lock()
	defer m.askMu.Unlock()
	return m.giving == 0, m.asked
}

// Close implements logclient.Membership.
func (m *member) Close(leave bool) error {
	if m.hasClosed {
		return nil
	}
	m.hasClosed = true
	m.stop(true)
	m.quit() // before it leaves, or it would join again
	<-m.ended
	var err error
	if g := m.group.now(); leave && g.memberID != "" && !g.lost {
		err = m.leave(g)
	}
	m.fetcher.c.close()
	return err
}

func (m *member) leave(g generation) error {
	ctx, cancel := context.WithTimeout(m.fetcher.c.ctx, closeTimeout)
	defer cancel()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = m.cfg.Group, g.memberID
	r := kmsg.NewLeaveGroupRequestMember()
	r.MemberID, r.InstanceID = g.memberID, m.group.instance()
	req.Members = append(req.Members, r)
	resp, err := req.RequestWith(ctx, m.fetcher.c.Client)
	if err != nil {
		return m.fetcher.c.failure("leave group "+m.cfg.Group, err)
	}
	return m.fetcher.c.answer("leave group "+m.cfg.Group, resp.ErrorCode)
}

// follow keeps the membership until the member is closed or fails for good.
func (m *member) follow() {
	defer close(m.ended)
	for try := 0; m.awaitRelease(); {
		err := m.joinAndSync()
		if err == nil {
			try = 0
			err = m.beat()
		}
		if m.ctx.Err() != nil {
			return
		}
		if fatal := m.handle(err); fatal != nil {
			m.fetcher.report(logclient.Event{Kind: logclient.Fatal, Err: fatal})
			return
		}
		if err != nil && !errors.Is(err, kerr.MemberIDRequired) && !errors.Is(err, kerr.RebalanceInProgress) {
			try++
			if !m.fetcher.c.pause(try) {
				return
			}
		}
	}
}

// awaitRelease waits until everything revoked is released: a member that the
// group has dropped meanwhile does not join before. It returns false if the
// member is closed.
func (m *member) awaitRelease() bool {
	for m.ctx.Err() == nil {
		if released, _ := m.mayJoin(); released {
			return true
		}
		select {
		case <-m.work:
		case <-m.ctx.Done():
		}
	}
	return false
}

// handle prepares the next join after an error of the group; it returns what
// cannot be mended.
func (m *member) handle(err error) error {
	g := m.group.now()
	switch {
	case err == nil, errors.Is(err, kerr.MemberIDRequired), errors.Is(err, kerr.RebalanceInProgress):
		return nil
	case errors.Is(err, kerr.UnknownMemberID), errors.Is(err, kerr.IllegalGeneration):
		id := g.memberID
		if errors.Is(err, kerr.UnknownMemberID) {
			id = ""
		}
		m.group.set(generation{memberID: g.memberID, number: -1, lost: true})
		if len(m.owned) > 0 {
			m.fetcher.report(logclient.Event{Kind: logclient.Lost, Partitions: m.owned, Err: fmt.Errorf("kafka: group %s: %w", m.cfg.Group, err)})
		}
		m.owned, m.again = nil, true
		m.group.set(generation{memberID: id, number: -1})
		return nil
	case errors.Is(err, assign.ErrCorrupt):
		return fmt.Errorf("kafka: group %s: %w", m.cfg.Group, err)
	case errors.Is(err, kerr.InconsistentGroupProtocol):
		return fmt.Errorf("kafka: group %s has members of another program, or of an older version of this one; stop them, or use another name: %w", m.cfg.Group, err)
	case errors.Is(err, kerr.InvalidSessionTimeout):
		return fmt.Errorf("kafka: group %s: the broker refuses a session time-out of %v; set one between its group.min.session.timeout.ms and group.max.session.timeout.ms: %w", m.cfg.Group, m.cfg.SessionTimeout, err)
	case isTransport(err), kerr.IsRetriable(err):
		m.fetcher.c.log.Warn("group membership", "group", m.cfg.Group, "err", m.fetcher.c.failure("follow the group", err))
		return nil
	}
	return m.fetcher.c.failure("follow group "+m.cfg.Group, err)
}

// joinAndSync joins the group with what the member owns and takes its
// assignment.
func (m *member) joinAndSync() error {
	g := m.group.now()
	m.askMu.Lock()
	m.again, m.asked, m.counts = false, false, nil
	userData := m.userData
	m.askMu.Unlock()
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.InstanceID, req.ProtocolType = m.cfg.Group, g.memberID, m.group.instance(), assign.ProtocolType
	req.SessionTimeoutMillis = int32(m.cfg.SessionTimeout.Milliseconds())
	req.RebalanceTimeoutMillis = int32(max(m.cfg.SessionTimeout, rebalanceTimeout).Milliseconds())
	req.Protocols = append(req.Protocols, wire.JoinProtocol(m.cfg.Topics, userData, m.owned, g.number))
	m.group.set(generation{memberID: g.memberID, number: g.number})
	resp, err := req.RequestWith(m.ctx, m.fetcher.c.Client)
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		if errors.Is(err, kerr.MemberIDRequired) {
			m.group.set(generation{memberID: resp.MemberID, number: -1})
		}
		return err
	}
	plan, err := m.plan(resp)
	if err != nil {
		return err
	}
	return m.sync(resp, plan)
}

// plan computes the assignment of the group if the member leads it.
func (m *member) plan(resp *kmsg.JoinGroupResponse) ([]kmsg.SyncGroupRequestGroupAssignment, error) {
	if resp.LeaderID != resp.MemberID || resp.SkipAssignment {
		return nil, nil
	}
	whole, err := wire.DecodeGroup(resp)
	if err != nil {
		return nil, err
	}
	counts, err := m.fetcher.c.partitionCounts(m.ctx, whole.Topics)
	if err != nil {
		return nil, err
	}
	m.counts = counts
	return whole.Assign(counts)
}

// sync takes the assignment and reports what changed: first what is to be
// given up, after whose release the member joins again.
func (m *member) sync(joined *kmsg.JoinGroupResponse, plan []kmsg.SyncGroupRequestGroupAssignment) error {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.Generation, req.MemberID, req.InstanceID = m.cfg.Group, joined.Generation, joined.MemberID, m.group.instance()
	req.ProtocolType, req.Protocol, req.GroupAssignment = kmsg.StringPtr(assign.ProtocolType), kmsg.StringPtr(assign.Protocol), plan
	resp, err := req.RequestWith(m.ctx, m.fetcher.c.Client)
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	change, err := wire.DecodeChange(resp.MemberAssignment, m.owned)
	if err != nil {
		return err
	}
	m.owned = change.Owned
	m.group.set(generation{memberID: joined.MemberID, number: joined.Generation, stable: true})
	if len(change.Lost) > 0 {
		m.revoke()
		m.fetcher.report(logclient.Event{Kind: logclient.Revoked, Partitions: change.Lost})
	}
	m.fetcher.report(logclient.Event{Kind: logclient.Assigned, Partitions: change.Added, UserData: change.UserData})
	return nil
}

// beat sends heartbeats until the member has to join again: nil, or the error
// that the group answered.
func (m *member) beat() error {
	if released, _ := m.mayJoin(); !released {
		m.again = true // to let the others have what was given up
	}
	tick := time.NewTicker(min(m.cfg.SessionTimeout/3, heartbeatInterval))
	defer tick.Stop()
	count := time.NewTicker(countInterval)
	defer count.Stop()
	for {
		released, asked := m.mayJoin()
		if released && (m.again || asked) {
			return nil
		}
		select {
		case <-m.ctx.Done():
			return nil
		case <-m.work:
		case <-count.C:
			m.again = m.again || m.partitionsChanged()
		case <-tick.C:
			err := m.heartbeat()
			if err != nil && !errors.Is(err, kerr.RebalanceInProgress) {
				return err
			}
			m.again = m.again || err != nil
		}
	}
}

// partitionsChanged tells the leader of the group that topics have other
// partitions than those it has assigned.
func (m *member) partitionsChanged() bool {
	if m.counts == nil {
		return false
	}
	var topics []string
	topics = append(topics, m.cfg.Topics...)
	for t := range m.counts {
		topics = append(topics, t)
	}
	slices.Sort(topics)
	counts, err := m.fetcher.c.partitionCounts(m.ctx, slices.Compact(topics))
	if err != nil {
		return false // asked again after the next interval
	}
	return !maps.Equal(counts, m.counts)
}

func (m *member) heartbeat() error {
	g := m.group.now()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.Generation, req.MemberID, req.InstanceID = m.cfg.Group, g.number, g.memberID, m.group.instance()
	ctx, cancel := context.WithTimeout(m.ctx, m.cfg.SessionTimeout/3)
	defer cancel()
	resp, err := req.RequestWith(ctx, m.fetcher.c.Client)
	if err != nil {
		if m.ctx.Err() == nil {
			m.fetcher.c.log.Warn("heartbeat", "group", m.cfg.Group, "err", m.fetcher.c.failure("heartbeat", err))
		}
		return nil // the session decides
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}
