package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

// handleLeaveGroup answers LeaveGroup, versions 0 to 5: 3 lets many members
// leave at once, static ones by their instance id.
func (b *Broker) handleLeaveGroup(r *request) {
	req := r.msg.(*kmsg.LeaveGroupRequest)
	resp := req.ResponseKind().(*kmsg.LeaveGroupResponse)
	if req.Group == "" {
		resp.ErrorCode = kerr.InvalidGroupID.Code
		r.respond(resp)
		return
	}
	members := req.Members
	if req.Version < 3 {
		one := kmsg.NewLeaveGroupRequestMember()
		one.MemberID = req.MemberID
		members = []kmsg.LeaveGroupRequestMember{one}
	}
	now := b.now()
	answer := func(group.Answer) {
		if req.Version < 3 {
			resp.ErrorCode, resp.Members = resp.Members[0].ErrorCode, nil
		}
		r.respond(resp)
	}
	known := b.coordinator().do(req.Group, false, answer, func(e *groupEntry, id group.RequestID) []group.Answer {
		var leavers []group.Leaver
		for _, m := range members {
			leavers = append(leavers, group.Leaver{ID: m.MemberID, InstanceID: group.InstanceOf(m.InstanceID)})
		}
		var out []group.Answer
		var told []error
		if e.consumer != nil {
			told = e.consumer.LeaveClassic(now, leavers)
		} else {
			out, told = e.classic.Leave(now, leavers)
		}
		for i, m := range members {
			rm := kmsg.NewLeaveGroupResponseMember()
			rm.MemberID, rm.InstanceID, rm.ErrorCode = m.MemberID, m.InstanceID, groupCode(told[i])
			resp.Members = append(resp.Members, rm)
		}
		return append(out, group.Answer{Request: id})
	})
	if !known {
		for _, m := range members {
			rm := kmsg.NewLeaveGroupResponseMember()
			rm.MemberID, rm.InstanceID, rm.ErrorCode = m.MemberID, m.InstanceID, kerr.UnknownMemberID.Code
			resp.Members = append(resp.Members, rm)
		}
		answer(group.Answer{})
	}
}
