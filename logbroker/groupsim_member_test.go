package logbroker

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

const (
	classicSession   = 10 * time.Second
	classicRebalance = 20 * time.Second
)

// simMember is a member that keeps to its protocol.
type simMember struct {
	*actor
	w             *groupWorld
	name          string
	instance      string // of a static member
	consumer      bool   // it speaks the consumer protocol
	transactional bool   // it commits offsets in transactions
	topics        []string
	pattern       string // by which it subscribes to them, if it is set

	id         string
	generation int32 // or epoch
	line       *line
	owned      map[slot]int64 // what it consumes, and its position there
	told       []slot         // what it told last that it owns
	leaving    bool
	led        int32         // the partitions that it shared out as the leader
	pause      time.Duration // it is to be silent for
	pid        int64
	epoch      int16
	ready      bool // pid and epoch are good
}

func (m *simMember) String() string {
	return fmt.Sprintf("%s (%s, generation %d, instance %q)", m.name, m.id, m.generation, m.instance)
}

func (m *simMember) sorted() []slot {
	return slices.SortedFunc(maps.Keys(m.owned), func(a, b slot) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.part, b.part))
	})
}

func (m *simMember) instanceID() *string {
	if m.instance == "" {
		return nil
	}
	return &m.instance
}

// ask sends a request over the member's connection; a connection without an answer
// is given up.
func (m *simMember) ask(timeout time.Duration, req kmsg.Request) kmsg.Response {
	frame := frameOf(req)
	if m.w.kind.strays && m.w.chance(5) {
		if k := req.Key(); k != int16(kmsg.OffsetCommit) {
			m.w.send(&message{frame: frame, about: m.name + " (late)"}, func(kmsg.Response) {})
		}
	}
	resp := m.call(timeout, &message{frame: frame, about: m.name, line: m.line})[0]
	if resp == nil {
		m.line.broken = true
		m.line = &line{}
	}
	return resp
}

// live is the whole life of the member.
func (m *simMember) live() {
	for !m.leaving {
		if m.consumer {
			m.consume()
		} else if m.enter() {
			m.stay()
		}
		m.sleep(time.Duration(100+m.w.rng.IntN(400)) * time.Millisecond)
	}
	m.commit()

	m.owned = map[slot]int64{}
	if m.consumer {
		req := m.heartbeat(group.LeaveEpoch)
		if m.instance != "" && m.w.rng.IntN(2) == 0 {
			req.MemberEpoch = group.LeaveForNowEpoch
		}
		m.ask(requestTimeout, req)
	} else if m.instance == "" || m.w.rng.IntN(2) == 0 {
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Version, req.Group = 3, "g"
		lm := kmsg.NewLeaveGroupRequestMember()
		lm.MemberID, lm.InstanceID = m.id, m.instanceID()
		req.Members = append(req.Members, lm)
		m.ask(requestTimeout, req)
	}
	m.over = true
}

// enter joins, with what it takes, until the member has an assignment.
func (m *simMember) enter() bool {
	m.commit()
	if !m.w.kind.cooperative {
		m.owned = map[slot]int64{}
	}
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID, req.ProtocolType = 9, "g", m.id, m.instanceID(), m.w.kind.protocolType
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(classicSession.Milliseconds()), int32(classicRebalance.Milliseconds())
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "simulated", m.metadata()
	req.Protocols = append(req.Protocols, p)
	resp, _ := m.ask(classicRebalance+5*time.Second, req).(*kmsg.JoinGroupResponse)
	if resp == nil {
		return false
	}
	switch err := kerr.TypedErrorForCode(resp.ErrorCode); err {
	case nil:
	case kerr.MemberIDRequired:
		m.id = resp.MemberID
		return false
	case kerr.FencedInstanceID:
		m.end()
		return false
	case kerr.UnknownMemberID:
		m.lose()
		return false
	default:
		if err != kerr.RebalanceInProgress && err != kerr.InconsistentGroupProtocol {
			m.w.fail("%v: join: %v", m, err)
		}
		return false
	}
	m.id = resp.MemberID
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.InstanceID, sync.Generation = 5, "g", m.id, m.instanceID(), resp.Generation
	sync.ProtocolType, sync.Protocol = resp.ProtocolType, resp.Protocol
	if m.led = 0; resp.LeaderID == m.id {
		m.led = m.w.partitions()
	}
	if resp.LeaderID == m.id && !resp.SkipAssignment {
		sync.GroupAssignment = m.w.assign(resp.Members, m.w.kind.cooperative)
	}
	return m.take(resp.Generation, m.ask(classicRebalance+5*time.Second, sync))
}

// take goes over to what a sync brought.
func (m *simMember) take(generation int32, resp kmsg.Response) bool {
	sync, _ := resp.(*kmsg.SyncGroupResponse)
	if sync == nil {
		return false
	}
	switch err := kerr.TypedErrorForCode(sync.ErrorCode); err {
	case nil:
	case kerr.FencedInstanceID:
		m.end()
		return false
	case kerr.UnknownMemberID, kerr.IllegalGeneration:
		m.lose()
		return false
	default:
		if err != kerr.RebalanceInProgress {
			m.w.fail("%v: sync: %v", m, err)
		}
		return false
	}
	var a kmsg.ConsumerMemberAssignment
	if len(sync.MemberAssignment) > 0 {
		if err := a.ReadFrom(sync.MemberAssignment); err != nil {
			m.w.fail("%v: assignment: %v", m, err)
		}
	}
	now := map[slot]int64{}
	gone := len(m.owned)
	for _, t := range a.Topics {
		for _, n := range t.Partitions {
			s := slot{t.Topic, n}
			at, had := m.owned[s]
			if now[s] = at; had {
				gone--
			} else {
				now[s] = -1
			}
		}
	}
	revoked := m.w.kind.cooperative && gone > 0
	m.owned, m.generation = now, generation
	return !revoked // else it joins again, and others get what it gave up
}

// stay sends heartbeats until something happens.
func (m *simMember) stay() {
	for !m.leaving {
		m.sleep(time.Duration(1000+m.w.rng.IntN(2000)) * time.Millisecond)
		m.rest()
		m.commit()
		if m.led > 0 && m.led != m.w.partitions() {
			return // a leader sees to it that new partitions have somebody
		}
		req := kmsg.NewPtrHeartbeatRequest()
		req.Version, req.Group, req.MemberID, req.InstanceID, req.Generation = 4, "g", m.id, m.instanceID(), m.generation
		resp, _ := m.ask(requestTimeout, req).(*kmsg.HeartbeatResponse)
		if resp == nil {
			continue
		}
		switch err := kerr.TypedErrorForCode(resp.ErrorCode); err {
		case nil:
			continue
		case kerr.RebalanceInProgress:
			return
		case kerr.FencedInstanceID:
			m.end()
			return
		case kerr.UnknownMemberID, kerr.IllegalGeneration:
			m.lose()
			return
		default:
			m.w.fail("%v: heartbeat: %v", m, err)
			return
		}
	}
}

// rest is silent as long as it was told to.
func (m *simMember) rest() {
	if d := m.pause; d > 0 {
		m.pause = 0
		m.sleep(d)
	}
}

// lose forgets everything: the member was taken out.
func (m *simMember) lose() {
	m.owned, m.generation, m.ready = map[slot]int64{}, -1, false
	if !m.consumer {
		m.id = ""
	}
}

// end stops a member whose place another has.
func (m *simMember) end() {
	m.owned = map[slot]int64{}
	m.turn++
	panic(errStopped{})
}

func (m *simMember) metadata() []byte {
	md := kmsg.NewConsumerMemberMetadata()
	md.Version, md.Topics, md.Generation = 3, m.topics, m.generation
	for _, s := range m.sorted() {
		o := kmsg.NewConsumerMemberMetadataOwnedPartition()
		o.Topic, o.Partitions = s.topic, []int32{s.part}
		md.OwnedPartitions = append(md.OwnedPartitions, o)
	}
	return md.AppendTo(nil)
}

// assign is what a leader does: every topic is shared by those who subscribe to it.
// With cooperative members nothing is given to one that another still has.
func (w *groupWorld) assign(members []kmsg.JoinGroupResponseMember, cooperative bool) (out []kmsg.SyncGroupRequestGroupAssignment) {
	all := make([]map[slot]bool, len(members))
	metadata := make([]kmsg.ConsumerMemberMetadata, len(members))
	for i, m := range members {
		all[i] = map[slot]bool{}
		if err := metadata[i].ReadFrom(m.ProtocolMetadata); err != nil {
			w.fail("metadata of %s: %v", m.MemberID, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.topics)) {
		var who []int
		for i := range members {
			if slices.Contains(metadata[i].Topics, name) {
				who = append(who, i)
			}
		}
		if len(who) > 0 {
			share(name, w.topics[name], who, metadata, all, cooperative)
		}
	}
	for i, m := range members {
		a := kmsg.NewConsumerMemberAssignment()
		for _, s := range slices.SortedFunc(maps.Keys(all[i]), func(a, b slot) int { return cmp.Or(cmp.Compare(a.topic, b.topic), int(a.part-b.part)) }) {
			t := kmsg.NewConsumerMemberAssignmentTopic()
			t.Topic, t.Partitions = s.topic, []int32{s.part}
			a.Topics = append(a.Topics, t)
		}
		ga := kmsg.NewSyncGroupRequestGroupAssignment()
		ga.MemberID, ga.MemberAssignment = m.MemberID, a.AppendTo(nil)
		out = append(out, ga)
	}
	return out
}

// share gives the partitions of a topic to members.
func share(topic string, n int32, who []int, metadata []kmsg.ConsumerMemberMetadata, all []map[slot]bool, cooperative bool) {
	quota := (int(n) + len(who) - 1) / len(who)
	count := map[int]int{}
	for part := range n {
		s := slot{topic, part}
		owner, generation := -1, int32(-2)
		for i := range metadata {
			owns := slices.ContainsFunc(metadata[i].OwnedPartitions, func(o kmsg.ConsumerMemberMetadataOwnedPartition) bool {
				return o.Topic == topic && slices.Contains(o.Partitions, part)
			})
			if owns && metadata[i].Generation > generation {
				owner, generation = i, metadata[i].Generation
			}
		}
		if cooperative && owner >= 0 {
			if slices.Contains(who, owner) && count[owner] < quota {
				all[owner][s] = true
				count[owner]++
			}
			continue // else it is to give it up first
		}
		least := who[0]
		for _, i := range who {
			if count[i] < count[least] {
				least = i
			}
		}
		all[least][s] = true
		count[least]++
	}
}

// heartbeat is one of the consumer protocol.
func (m *simMember) heartbeat(epoch int32) *kmsg.ConsumerGroupHeartbeatRequest {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.MemberEpoch, req.InstanceID, req.RebalanceTimeoutMillis = 1, "g", m.id, epoch, m.instanceID(), -1
	return req
}

// full tells all about the member, as it does after an answer was lost.
func (m *simMember) full(req *kmsg.ConsumerGroupHeartbeatRequest) {
	req.RebalanceTimeoutMillis, req.SubscribedTopicNames = 30_000, m.topics
	if m.pattern != "" {
		req.SubscribedTopicNames, req.SubscribedTopicRegex = []string{}, &m.pattern
	}
	m.tell(req)
}

func (m *simMember) tell(req *kmsg.ConsumerGroupHeartbeatRequest) {
	req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	for _, s := range m.sorted() {
		t := kmsg.NewConsumerGroupHeartbeatRequestTopic()
		t.TopicID, t.Partitions = m.w.broker.topics.byName(s.topic).id, []int32{s.part}
		req.Topics = append(req.Topics, t)
	}
	m.told = m.sorted()
}

// consume is a membership of the consumer protocol, from its beginning to its end.
func (m *simMember) consume() {
	m.generation = group.JoinEpoch
	all := true
	for !m.leaving {
		req := m.heartbeat(m.generation)
		if all || m.generation == group.JoinEpoch {
			m.full(req)
		} else if !slices.Equal(m.told, m.sorted()) {
			m.tell(req)
		}
		resp, _ := m.ask(requestTimeout, req).(*kmsg.ConsumerGroupHeartbeatResponse)
		if all = resp == nil; all {
			m.sleep(time.Second)
			continue
		}
		switch err := kerr.TypedErrorForCode(resp.ErrorCode); err {
		case nil:
		case kerr.FencedInstanceID:
			m.end()
		case kerr.UnreleasedInstanceID:
			m.sleep(2 * time.Second)
			continue
		case kerr.FencedMemberEpoch, kerr.UnknownMemberID, kerr.GroupIDNotFound:
			m.lose()
			return
		default:
			m.w.fail("%v: heartbeat: %v", m, err)
			return
		}
		m.generation = resp.MemberEpoch
		if resp.Assignment != nil && m.follow(*resp.Assignment) {
			continue // it says at once what it gave up
		}
		m.sleep(time.Duration(2000+m.w.rng.IntN(3000)) * time.Millisecond)
		m.rest()
		m.commit()
	}
}

// follow gives up what the member is not to have, then takes what it is to; it tells
// whether it gave anything up.
func (m *simMember) follow(a kmsg.ConsumerGroupHeartbeatResponseAssignment) (revoked bool) {
	target := map[slot]bool{}
	for _, t := range a.Topics {
		if topic := m.w.broker.topics.byID(t.TopicID); topic != nil {
			for _, n := range t.Partitions {
				target[slot{topic.name, n}] = true
			}
		}
	}
	for _, s := range m.sorted() {
		revoked = revoked || !target[s]
	}
	if revoked {
		m.sleep(time.Duration(m.w.rng.IntN(3000)) * time.Millisecond) // its work takes a while
		m.commit()
		if !m.transactional && m.w.chance(30) { // a transaction may have come further than the member knows
			m.haunt(target)
		}
	}
	maps.DeleteFunc(m.owned, func(s slot, _ int64) bool { return !target[s] })
	for s := range target {
		if _, had := m.owned[s]; !had {
			m.owned[s] = -1
		}
	}
	return revoked
}

// commit reads where it has not read yet, goes on a little, and commits.
func (m *simMember) commit() {
	if len(m.owned) == 0 || m.w.rng.IntN(2) == 0 {
		return
	}
	if m.transactional && !m.initProducer() {
		return
	}
	for _, s := range m.sorted() {
		if m.owned[s] < 0 && !m.position(s) {
			return
		}
	}
	sent := maps.Clone(m.owned)
	for s := range sent {
		sent[s] += int64(1 + m.w.rng.IntN(3))
	}
	if m.transactional {
		m.commitTxn(sent)
		return
	}
	req := m.offsetCommit(sent)
	if m.w.chance(10) && m.generation > 1 { // as one sends that missed a rebalance
		zombie := *req
		zombie.Generation -= 1 + m.w.rng.Int32N(min(3, m.generation-1))
		late := &message{frame: frameOf(&zombie), about: "a zombie of " + m.name}
		if m.w.kind.consumer {
			late.line = m.line // it may be taken, and then its place counts
		}
		m.w.send(late, func(kmsg.Response) {})
	}
	m.went(sent, m.ask(requestTimeout, req))
}

// offsetCommit commits where the member is.
func (m *simMember) offsetCommit(sent map[slot]int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID, req.Generation = 9, "g", m.id, m.instanceID(), m.generation
	for _, s := range m.sorted() {
		to, ok := sent[s]
		if !ok || to < 0 {
			continue
		}
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic = s.topic
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = s.part, to
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
	}
	return req
}

// haunt lets a commit of what the member gives up be late: others have it by then, or
// are about to.
func (m *simMember) haunt(target map[slot]bool) {
	lost := maps.Clone(m.owned)
	maps.DeleteFunc(lost, func(s slot, _ int64) bool { return target[s] })
	if req := m.offsetCommit(lost); len(req.Topics) > 0 {
		m.w.send(&message{frame: frameOf(req), about: "a late commit of " + m.name}, func(kmsg.Response) {})
	}
}

// went moves the positions, unless the commit was refused.
func (m *simMember) went(sent map[slot]int64, resp kmsg.Response) {
	switch errorOf(resp) {
	case nil, lost: // if the answer was lost, it may be there
		for s := range sent {
			if _, ok := m.owned[s]; ok {
				m.owned[s] = sent[s]
			}
		}
	}
}

// position reads the offset where the member before it came to.
func (m *simMember) position(s slot) bool {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.RequireStable = 8, true
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = "g"
	t := kmsg.NewOffsetFetchRequestGroupTopic()
	t.Topic, t.Partitions = s.topic, []int32{s.part}
	g.Topics = append(g.Topics, t)
	req.Groups = append(req.Groups, g)
	resp, _ := m.ask(requestTimeout, req).(*kmsg.OffsetFetchResponse)
	if resp == nil || errorOf(resp) != nil {
		return false
	}
	if _, ok := m.owned[s]; ok {
		m.owned[s] = max(0, resp.Groups[0].Topics[0].Partitions[0].Offset)
	}
	return true
}

func (m *simMember) txnID() string { return cmp.Or(m.instance, m.name) }

// initProducer takes the member's transactional id over. After it an open
// transaction of the member is no more, so it reads again where it is.
func (m *simMember) initProducer() bool {
	if m.ready {
		return true
	}
	id := m.txnID()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 5, &id, 30_000, -1, -1
	resp, _ := m.ask(requestTimeout, req).(*kmsg.InitProducerIDResponse)
	if resp == nil || resp.ErrorCode != 0 {
		return false
	}
	m.pid, m.epoch, m.ready = resp.ProducerID, resp.ProducerEpoch, true
	for s := range m.owned {
		m.owned[s] = -1
	}
	return true
}

// commitTxn commits offsets in a transaction of their own.
func (m *simMember) commitTxn(sent map[slot]int64) {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.Version, req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = 5, m.txnID(), "g", m.pid, m.epoch
	req.Generation, req.MemberID, req.InstanceID = m.generation, m.id, m.instanceID()
	for _, s := range m.sorted() {
		t := kmsg.NewTxnOffsetCommitRequestTopic()
		t.Topic = s.topic
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = s.part, sent[s]
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
	}
	if m.w.chance(10) && m.generation > 1 {
		zombie := *req
		zombie.Generation--
		m.w.send(&message{frame: frameOf(&zombie), about: "a zombie of " + m.name}, func(kmsg.Response) {})
	}
	refused := errorOf(m.ask(requestTimeout, req)) != nil
	end := kmsg.NewPtrEndTxnRequest()
	end.Version, end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = 5, m.txnID(), m.pid, m.epoch, !refused
	resp, _ := m.ask(requestTimeout, end).(*kmsg.EndTxnResponse)
	if m.ready = resp != nil && resp.ErrorCode == 0; !m.ready {
		return
	}
	m.pid, m.epoch = resp.ProducerID, resp.ProducerEpoch
	if !refused {
		m.went(sent, resp)
	}
}
