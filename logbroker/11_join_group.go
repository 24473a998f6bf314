package logbroker

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

// handleJoinGroup answers JoinGroup, versions 0 to 9: 1 has a rebalance
// time-out of its own, 4 asks a new member to come back with its id (KIP-394),
// 5 has static members (KIP-345), 9 tells a returning static leader not to
// assign (KIP-814).
func (b *Broker) handleJoinGroup(r *request) {
	req := r.msg.(*kmsg.JoinGroupRequest)
	resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
	refuse := func(code int16) {
		resp.ErrorCode, resp.MemberID, resp.Generation = code, req.MemberID, -1
		r.respond(resp)
	}
	if req.Group == "" {
		refuse(kerr.InvalidGroupID.Code)
		return
	}
	if err := b.space.forGroups(); err != nil {
		refuse(groupCode(err))
		return
	}
	if session := milliseconds(req.SessionTimeoutMillis); !b.groupConfig().Allows(session) { // no group hears of it
		refuse(kerr.InvalidSessionTimeout.Code)
		return
	}
	g := b.coordinator()
	prefix := r.conn.ClientID
	if req.InstanceID != nil {
		prefix = *req.InstanceID
	}
	newID, err := g.newMemberID(prefix)
	if err != nil {
		refuse(kerr.UnknownServerError.Code)
		return
	}
	j := group.Join{
		MemberID: req.MemberID, InstanceID: group.InstanceOf(req.InstanceID), ClientID: r.conn.ClientID, Host: r.conn.Host,
		Session: milliseconds(req.SessionTimeoutMillis), Rebalance: milliseconds(req.RebalanceTimeoutMillis),
		ProtocolType: req.ProtocolType, NewID: newID, MustKnowID: req.Version >= 4, CanSkip: req.Version >= 9,
	}
	if req.Version == 0 {
		j.Rebalance = j.Session
	}
	for _, p := range req.Protocols {
		j.Protocols = append(j.Protocols, group.Protocol{Name: p.Name, Metadata: append([]byte(nil), p.Metadata...)})
	}
	answer := func(a group.Answer) {
		fillJoin(resp, a.Join)
		r.respond(resp)
	}
	now := b.now()
	r.msg = nil // what waits may be large, and is kept no longer
	known := g.do(req.Group, req.MemberID == "", answer, func(e *groupEntry, id group.RequestID) []group.Answer {
		j.Request, j.Room = id, g.room(e)
		if e.consumer != nil && len(e.consumer.Members) > 0 {
			a := e.consumer.JoinClassic(now, j, topicView{b})
			return []group.Answer{{Request: id, Join: &a}}
		}
		if e.consumer != nil {
			b.toClassic(e)
		}
		return e.classic.Join(now, j)
	})
	if !known && req.MemberID == "" {
		refuse(kerr.GroupMaxSizeReached.Code)
	} else if !known {
		refuse(kerr.UnknownMemberID.Code)
	}
}

func milliseconds(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }

func fillJoin(resp *kmsg.JoinGroupResponse, a *group.JoinAnswer) {
	resp.ErrorCode, resp.Generation, resp.MemberID = groupCode(a.Err), a.Generation, a.MemberID
	resp.Protocol = &a.Protocol
	if a.Err != nil {
		return
	}
	resp.ProtocolType, resp.LeaderID, resp.SkipAssignment = &a.ProtocolType, a.Leader, a.SkipAssignment
	for _, m := range a.Members {
		rm := kmsg.NewJoinGroupResponseMember()
		rm.MemberID, rm.ProtocolMetadata = m.ID, m.Metadata
		rm.InstanceID = m.InstanceID.Name()
		resp.Members = append(resp.Members, rm)
	}
}
