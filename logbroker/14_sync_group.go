package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

// handleSyncGroup answers SyncGroup, versions 0 to 5: 3 has static members, 5
// names the protocol, which is checked, and must.
func (b *Broker) handleSyncGroup(r *request) {
	req := r.msg.(*kmsg.SyncGroupRequest)
	resp := req.ResponseKind().(*kmsg.SyncGroupResponse)
	unnamed := req.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil)
	if unnamed || req.Group == "" {
		resp.ErrorCode = kerr.InvalidGroupID.Code
		if unnamed { // said first, as Kafka does
			resp.ErrorCode = kerr.InconsistentGroupProtocol.Code
		}
		r.respond(resp)
		return
	}
	if err := b.space.forGroups(); err != nil && len(req.GroupAssignment) > 0 {
		resp.ErrorCode = groupCode(err)
		r.respond(resp)
		return
	}
	s := group.Sync{
		MemberID: req.MemberID, InstanceID: group.InstanceOf(req.InstanceID), Generation: req.Generation,
		ProtocolType: deref(req.ProtocolType), Protocol: deref(req.Protocol), Assignments: map[string][]byte{},
	}
	for _, a := range req.GroupAssignment {
		s.Assignments[a.MemberID] = append([]byte(nil), a.MemberAssignment...)
	}
	answer := func(a group.Answer) {
		resp.ErrorCode, resp.MemberAssignment = groupCode(a.Sync.Err), a.Sync.Assignment
		if a.Sync.Err == nil {
			resp.ProtocolType, resp.Protocol = &a.Sync.ProtocolType, &a.Sync.Protocol
		}
		r.respond(resp)
	}
	now := b.now()
	r.msg = nil // what waits may be large, and is kept no longer
	g := b.coordinator()
	known := g.do(req.Group, false, answer, func(e *groupEntry, id group.RequestID) []group.Answer {
		s.Request, s.Room = id, g.room(e)
		if e.consumer != nil {
			a := e.consumer.SyncClassic(now, s, topicView{b})
			return []group.Answer{{Request: id, Sync: &a}}
		}
		return e.classic.Sync(now, s)
	})
	if !known {
		resp.ErrorCode = kerr.UnknownMemberID.Code
		r.respond(resp)
	}
}
