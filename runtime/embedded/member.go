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

	idMu       sync.Mutex // the producer reads these from answers of the broker
	memberID   string
	generation int32
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
		conn: logbroker.NewConn(clientID, host), generation: -1,
	}
	if cfg.TransactionalID == "" {
		m.Transaction = &plainProducer{broker: l.broker, conn: logbroker.NewConn(clientID, host), member: m.metadata}
	} else {
		m.Transaction = newProducer(l.broker, cfg.TransactionalID, cfg.TransactionTimeout, m.metadata)
	}
	m.signal()
	return m, nil
}

func (m *member) metadata() groupMetadata {
	m.idMu.Lock()
	defer m.idMu.Unlock()
	return groupMetadata{group: m.cfg.Group, generation: m.generation, memberID: m.memberID, instanceID: m.instance()}
}

func (m *member) instance() *string {
	if m.cfg.InstanceID == "" {
		return nil
	}
	return &m.cfg.InstanceID
}

func (m *member) identify(memberID string, generation int32) {
	m.idMu.Lock()
	m.memberID, m.generation = memberID, generation
	m.idMu.Unlock()
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
	id := m.metadata()
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID = 9, m.cfg.Group, id.memberID, id.instanceID
	req.SessionTimeoutMillis = int32(m.cfg.SessionTimeout.Milliseconds())
	req.RebalanceTimeoutMillis = max(req.SessionTimeoutMillis, 60_000)
	req.ProtocolType = assign.ProtocolType
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name = assign.Protocol
	p.Metadata = assign.EncodeMetadata(assign.Metadata{
		Topics: m.cfg.Topics, UserData: m.cfg.UserData, Owned: owned(m.owned), Generation: id.generation,
	})
	req.Protocols = append(req.Protocols, p)
	request(m, req, m.joined)
}

func owned(tps []logclient.TopicPartition) []assign.Partition {
	out := make([]assign.Partition, len(tps))
	for i, tp := range tps {
		out[i] = assign.Partition{Topic: tp.Topic, Partition: tp.Partition}
	}
	return out
}

// joined handles the answer to JoinGroup; the leader assigns.
func (m *member) joined(resp *kmsg.JoinGroupResponse) {
	if m.state != joining {
		return
	}
	if m.refused(resp.ErrorCode, "join", resp.MemberID) {
		return
	}
	m.identify(resp.MemberID, resp.Generation)
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.Generation, req.MemberID, req.InstanceID = 5, m.cfg.Group, resp.Generation, resp.MemberID, m.instance()
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
	var members []assign.Member
	topics := map[string]bool{}
	for _, r := range resp.Members {
		meta, err := assign.DecodeMetadata(r.ProtocolMetadata)
		if err != nil {
			return nil, fmt.Errorf("embedded: metadata of member %s: %w", r.MemberID, err)
		}
		member := assign.Member{ID: r.MemberID, Metadata: meta}
		if r.InstanceID != nil {
			member.InstanceID = *r.InstanceID
		}
		members = append(members, member)
		for _, t := range meta.Topics {
			topics[t] = true
		}
	}
	var names []string
	for t := range topics {
		names = append(names, t)
	}
	partitions := map[string]int32{}
	for name, info := range (admin{m.broker}).metadata(names) {
		partitions[name] = info.Partitions
	}
	assigned, err := assign.Assign(members, partitions)
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	var out []kmsg.SyncGroupRequestGroupAssignment
	for _, member := range members {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = member.ID, assign.EncodeAssignment(assigned[member.ID])
		out = append(out, a)
	}
	return out, nil
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
	a, err := assign.DecodeAssignment(resp.MemberAssignment)
	if err != nil {
		m.fail(fmt.Errorf("embedded: assignment: %w", err))
		return
	}
	var next, added, lost []logclient.TopicPartition
	has := map[logclient.TopicPartition]bool{}
	for _, p := range a.Partitions {
		tp := logclient.TopicPartition{Topic: p.Topic, Partition: p.Partition}
		has[tp] = true
		next = append(next, tp)
		if m.find(tp) == nil {
			added = append(added, tp)
			m.add(tp)
		}
	}
	for _, tp := range m.owned {
		if !has[tp] {
			lost = append(lost, tp)
		}
	}
	m.owned = next
	m.state = stable
	m.beatAt = m.now.Add(m.beatInterval())
	if len(lost) > 0 {
		m.state = releasing
		m.events = append(m.events, logclient.Event{Kind: logclient.Revoked, Partitions: lost})
	}
	m.events = append(m.events, logclient.Event{Kind: logclient.Assigned, Partitions: added, UserData: a.UserData})
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

func (m *member) heartbeat() {
	m.beating = true
	id := m.metadata()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.Generation, req.MemberID, req.InstanceID = 4, m.cfg.Group, id.generation, id.memberID, id.instanceID
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
	id := m.metadata()
	switch {
	case err == nil:
		return false
	case errors.Is(err, kerr.MemberIDRequired):
		m.identify(memberID, -1)
		m.state = outside
	case errors.Is(err, kerr.RebalanceInProgress):
		m.state = outside
	case errors.Is(err, kerr.UnknownMemberID), errors.Is(err, kerr.IllegalGeneration):
		m.lose(fmt.Errorf("embedded: group %s: %s: %w", m.cfg.Group, what, err))
		m.identify("", -1)
		if errors.Is(err, kerr.IllegalGeneration) {
			m.identify(id.memberID, -1)
		}
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
	m.removeAll()
}

func (m *member) fail(err error) {
	m.state = failed
	m.events = append(m.events, logclient.Event{Kind: logclient.Fatal, Err: err})
	m.removeAll()
}

// Close implements logclient.Membership.
func (m *member) Close(leave bool) error {
	m.removeAll()
	id := m.metadata()
	m.state = failed
	if !leave || id.memberID == "" {
		return nil
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group = 5, m.cfg.Group
	r := kmsg.NewLeaveGroupRequestMember()
	r.MemberID, r.InstanceID = id.memberID, id.instanceID
	req.Members = append(req.Members, r)
	left := callAs[*kmsg.LeaveGroupResponse](m.broker, m.conn, req)
	if !left.Done() {
		return nil // the session time-out tells the group otherwise
	}
	resp, err := left.Result()
	if err != nil {
		return err
	}
	return mapped(resp.ErrorCode, "leave group "+m.cfg.Group)
}
