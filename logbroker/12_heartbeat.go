package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

// handleHeartbeat answers Heartbeat, versions 0 to 4: 3 has static members.
func (b *Broker) handleHeartbeat(r *request) {
	req := r.msg.(*kmsg.HeartbeatRequest)
	resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
	resp.ErrorCode = kerr.UnknownMemberID.Code
	if req.Group == "" {
		resp.ErrorCode = kerr.InvalidGroupID.Code
	}
	now := b.now()
	b.coordinator().do(req.Group, false, nil, func(e *groupEntry, _ group.RequestID) []group.Answer {
		if e.consumer != nil {
			resp.ErrorCode = groupCode(e.consumer.HeartbeatClassic(now, req.MemberID, group.InstanceOf(req.InstanceID), req.Generation))
		} else {
			resp.ErrorCode = groupCode(e.classic.Heartbeat(now, req.MemberID, group.InstanceOf(req.InstanceID), req.Generation))
		}
		return nil
	})
	r.respond(resp)
}
