package embedded

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/runtime/assign"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
)

const defaultSessionTimeout = 10 * time.Second

// memberState is where a member stands in the classic group protocol.
type memberState int8

const (
	outside   memberState = iota // to send JoinGroup
	joining                      // JoinGroup sent
	syncing                      // SyncGroup sent
	stable                       // has an assignment
	releasing                    // has told the owner to give partitions up; joins again after
	failed                       // can do no more
)

// member implements logclient.Member: a member of a classic group with
// cooperative rebalances (KIP-429), stepped by Poll.
type member struct {
	*fetcher
	logclient.Transaction
	log     *Log
	cfg     logclient.MemberConfig
	conn    *logbroker.Conn
	now     time.Time
	state   memberState
	owned   []logclient.TopicPartition
	events  []logclient.Event
	rejoin  bool      // join again as soon as possible
	retryAt time.Time // no request to the group before this
	beatAt  time.Time // when the next heartbeat is due
	beating bool

	inboxMu sync.Mutex
	inbox   []func() // answers, to be taken up by Poll

	group *membership
}

// Join implements logclient.Log.
func (l *Log) Join(cfg logclient.MemberConfig) (logclient.Member, error) {
	if cfg.Group == "" || len(cfg.Topics) == 0 {
		return nil, errors.New("embedded: a member needs a group and topics")
	}
	if cfg.SessionTimeout <= 0 {
		cfg.SessionTimeout = defaultSessionTimeout
	}
	m := &member{
		fetcher: newFetcher(l.broker, cfg.ReadUncommitted, cfg.MaxPollBytes), log: l, cfg: cfg,
		conn: logbroker.NewConn(clientID, host), group: newMembership(cfg.Group, cfg.InstanceID),
	}
	if cfg.TransactionalID == "" {
		m.Transaction = &plainProducer{broker: l.broker, conn: logbroker.NewConn(clientID, host), group: m.group}
	} else {
		m.Transaction = newProducer(l.broker, cfg.TransactionalID, cfg.TransactionTimeout, m.group)
	}
	m.signal()
	return m, nil
}

// request sends a request to the group; its answer is handled by a later Poll,
// or by the one under way.
func request[R kmsg.Response](m *member, req kmsg.Request, handle func(R)) {
	answered := callAs[R](m.broker, m.conn, req)
	answered.OnDone(func() {
		resp, err := answered.Result()
		m.inboxMu.Lock()
		m.inbox = append(m.inbox, func() {
			if err != nil {
				m.fail(err)
				return
			}
			handle(resp)
		})
		m.inboxMu.Unlock()
		m.signal()
	})
}

// Poll implements logclient.Fetcher.
func (m *member) Poll(now time.Time) logclient.Poll {
	m.now = now
	for m.takeInbox() || m.step() {
	}
	p := logclient.Poll{Events: m.events, NextDue: m.nextDue()}
	m.events = nil
	m.fetch(&p)
	return p
}

func (m *member) takeInbox() bool {
	m.inboxMu.Lock()
	work := m.inbox
	m.inbox = nil
	m.inboxMu.Unlock()
	for _, fn := range work {
		fn()
	}
	return len(work) > 0
}

// step sends what is due to the group. It returns false if nothing was.
func (m *member) step() bool {
	if m.now.Before(m.retryAt) {
		return false
	}
	switch {
	case m.state == outside, m.state == stable && m.rejoin && !m.beating:
		m.join()
		return true
	case (m.state == stable || m.state == releasing) && !m.beating && !m.now.Before(m.beatAt):
		m.heartbeat()
		return true
	}
	return false
}

func (m *member) nextDue() time.Time {
	switch {
	case m.state == failed:
		return time.Time{}
	case m.now.Before(m.retryAt):
		return m.retryAt
	case m.state == stable || m.state == releasing:
		return m.beatAt
	}
	return time.Time{}
}

// join sends JoinGroup with what the member owns.
func (m *member) join() {
	m.state, m.rejoin = joining, false
	g := m.group.now()
	m.group.set(generation{memberID: g.memberID, number: g.number})
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.InstanceID = m.cfg.Group, g.memberID, m.group.instanceID
	req.SessionTimeoutMillis = int32(m.cfg.SessionTimeout.Milliseconds())
	req.RebalanceTimeoutMillis = max(req.SessionTimeoutMillis, 60_000)
	req.ProtocolType = assign.ProtocolType
	req.Protocols = append(req.Protocols, wire.JoinProtocol(m.cfg.Topics, m.cfg.UserData, m.owned, g.number))
	request(m, req, m.joined)
}

// joined handles the answer to JoinGroup; the leader assigns.
func (m *member) joined(resp *kmsg.JoinGroupResponse) {
	if m.state != joining {
		return
	}
	if m.refused(resp.ErrorCode, "join", resp.MemberID) {
		return
	}
	m.group.set(generation{memberID: resp.MemberID, number: resp.Generation})
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.Generation, req.MemberID, req.InstanceID = m.cfg.Group, resp.Generation, resp.MemberID, m.group.instanceID
	req.ProtocolType, req.Protocol = resp.ProtocolType, resp.Protocol
	if resp.LeaderID == resp.MemberID && !resp.SkipAssignment {
		plans, err := m.plan(resp)
		if err != nil {
			m.fail(err)
			return
		}
		req.GroupAssignment = plans
	}
	m.state = syncing
	request(m, req, m.synced)
}

// plan computes the assignment of the whole group.
func (m *member) plan(resp *kmsg.JoinGroupResponse) ([]kmsg.SyncGroupRequestGroupAssignment, error) {
	whole, err := wire.DecodeGroup(resp)
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	counts, err := admin{m.broker}.counts(whole.Topics)
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	plans, err := whole.Assign(counts)
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	return plans, nil
}

// synced takes the assignment: what is lost is revoked first, and only after
// its release the member joins again, so that another can have it.
func (m *member) synced(resp *kmsg.SyncGroupResponse) {
	if m.state != syncing {
		return
	}
	if m.refused(resp.ErrorCode, "sync", "") {
		return
	}
	change, err := wire.DecodeChange(resp.MemberAssignment, m.owned)
	if err != nil {
		m.fail(fmt.Errorf("embedded: assignment: %w", err))
		return
	}
	for _, tp := range change.Added {
		m.add(tp)
	}
	m.owned = change.Owned
	g := m.group.now()
	m.group.set(generation{memberID: g.memberID, number: g.number, stable: true})
	m.state = stable
	m.beatAt = m.now.Add(m.beatInterval())
	if len(change.Lost) > 0 {
		m.state = releasing
		m.events = append(m.events, logclient.Event{Kind: logclient.Revoked, Partitions: change.Lost})
	}
	m.events = append(m.events, logclient.Event{Kind: logclient.Assigned, Partitions: change.Added, UserData: change.UserData})
}

// beatInterval is how soon a member hears of a rebalance.
func (m *member) beatInterval() time.Duration { return min(m.cfg.SessionTimeout/3, time.Second) }

// Released implements logclient.Membership.
func (m *member) Released() {
	keep := map[logclient.TopicPartition]bool{}
	for _, tp := range m.owned {
		keep[tp] = true
	}
	for _, p := range append([]*partition(nil), m.parts...) {
		if !keep[p.TopicPartition] {
			m.remove(p.TopicPartition)
		}
	}
	if m.state == releasing {
		m.state, m.rejoin = stable, true
		m.signal()
	}
}

// Rejoin implements logclient.Membership.
func (m *member) Rejoin(userData []byte) {
	m.cfg.UserData, m.rejoin = userData, true
	m.signal()
}

// Copies implements logclient.Copier.
func (m *member) Copies() bool {
	c, ok := m.Transaction.(logclient.Copier)
	return ok && c.Copies()
}

// Commit implements logclient.Transaction; its outcome wakes the member.
func (m *member) Commit(positions []logclient.Position) *logclient.Pending[logclient.CommitResult] {
	p := m.Transaction.Commit(positions)
	p.OnDone(m.signal)
	return p
}

// Abort implements logclient.Transaction; its outcome wakes the member.
func (m *member) Abort() *logclient.Pending[struct{}] {
	p := m.Transaction.Abort()
	p.OnDone(m.signal)
	return p
}

func (m *member) heartbeat() {
	m.beating = true
	g := m.group.now()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.Generation, req.MemberID, req.InstanceID = m.cfg.Group, g.number, g.memberID, m.group.instanceID
	request(m, req, func(resp *kmsg.HeartbeatResponse) {
		m.beating = false
		m.beatAt = m.now.Add(m.beatInterval())
		if m.state != stable && m.state != releasing {
			return
		}
		if resp.ErrorCode == kerr.RebalanceInProgress.Code {
			m.rejoin = true
			return
		}
		m.refused(resp.ErrorCode, "heartbeat", "")
	})
}

// refused handles an error of the group coordinator; false if there is none.
func (m *member) refused(code int16, what, memberID string) bool {
	err := kerr.ErrorForCode(code)
	g := m.group.now()
	switch {
	case err == nil:
		return false
	case errors.Is(err, kerr.MemberIDRequired):
		m.group.set(generation{memberID: memberID, number: -1})
		m.state = outside
	case errors.Is(err, kerr.RebalanceInProgress):
		m.state = outside
	case errors.Is(err, kerr.UnknownMemberID), errors.Is(err, kerr.IllegalGeneration):
		m.lose(fmt.Errorf("embedded: group %s: %s: %w", m.cfg.Group, what, err))
		next := generation{number: -1}
		if errors.Is(err, kerr.IllegalGeneration) {
			next.memberID = g.memberID
		}
		m.group.set(next)
		m.state = outside
	case errors.Is(err, kerr.CoordinatorLoadInProgress), errors.Is(err, kerr.CoordinatorNotAvailable), errors.Is(err, kerr.NotCoordinator):
		m.state, m.retryAt = outside, m.now.Add(50*time.Millisecond)
	default:
		m.fail(fmt.Errorf("embedded: group %s: %s: %w", m.cfg.Group, what, sentinel(err)))
	}
	return true
}

// lose gives up all partitions without a chance to commit.
func (m *member) lose(err error) {
	if len(m.owned) > 0 || len(m.parts) > 0 {
		m.events = append(m.events, logclient.Event{Kind: logclient.Lost, Partitions: m.owned, Err: err})
	}
	m.owned = nil
	m.end()
	m.removeAll()
}

// end tells the commits that wait for another generation that there is none.
func (m *member) end() {
	g := m.group.now()
	g.lost = true
	m.group.set(g)
}

func (m *member) fail(err error) {
	m.state = failed
	m.end()
	m.events = append(m.events, logclient.Event{Kind: logclient.Fatal, Err: err})
	m.removeAll()
}

// Close implements logclient.Membership.
func (m *member) Close(leave bool) error {
	m.removeAll()
	m.state = failed
	if p, ok := m.Transaction.(*producer); ok {
		p.close()
	}
	g := m.group.now()
	m.end()
	if !leave || g.memberID == "" {
		return nil
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = m.cfg.Group
	r := kmsg.NewLeaveGroupRequestMember()
	r.MemberID, r.InstanceID = g.memberID, m.group.instanceID
	req.Members = append(req.Members, r)
	left := callAs[*kmsg.LeaveGroupResponse](m.broker, m.conn, req)
	if !left.Done() {
		return nil // the session time-out tells the group otherwise
	}
	resp, err := left.Result()
	if err != nil {
		return err
	}
	return mapped("leave group "+m.cfg.Group, resp.ErrorCode)
}
