package logbroker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

// handleDescribeGroups answers DescribeGroups, versions 0 to 6: from 6 a group
// that does not exist is an error, before it is a Dead group.
func (b *Broker) handleDescribeGroups(r *request) {
	req := r.msg.(*kmsg.DescribeGroupsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
	left := maxRoom
	repeats := repeatsIn[string, kmsg.DescribeGroupsResponseGroup](&left)
	for _, id := range req.Groups {
		resp.Groups = repeats.add(resp.Groups, id, func() kmsg.DescribeGroupsResponseGroup { return b.describeAnyGroup(r, req, id) })
	}
	r.respond(resp)
}

func (b *Broker) describeAnyGroup(r *request, req *kmsg.DescribeGroupsRequest, id string) kmsg.DescribeGroupsResponseGroup {
	g := b.coordinator()
	rg := kmsg.NewDescribeGroupsResponseGroup()
	rg.Group, rg.State = id, string(group.Dead)
	rg.AuthorizedOperations = who{b, r.conn}.operations(req.IncludeAuthorizedOperations, kmsg.ACLResourceTypeGroup, id)
	g.mu.Lock()
	e := g.find(id, false)
	if e != nil && e.classic != nil {
		describeGroup(&rg, e.classic)
	}
	g.mu.Unlock()
	if e != nil && e.consumer != nil && req.Version >= 6 {
		rg.ErrorCode, rg.ErrorMessage = groupError(fmt.Errorf("%w: it is of the consumer protocol", kerr.GroupIDNotFound))
	}
	if e == nil && req.Version >= 6 {
		rg.ErrorCode = kerr.GroupIDNotFound.Code
	}
	if rg.ErrorCode == kerr.GroupIDNotFound.Code {
		rg.AuthorizedOperations = noOperations
	}
	return rg
}

func describeGroup(rg *kmsg.DescribeGroupsResponseGroup, gr *group.Group) {
	rg.State, rg.ProtocolType = string(gr.State), gr.ProtocolType
	if gr.State == group.Stable {
		rg.Protocol = gr.Protocol
	}
	for _, m := range gr.Members {
		rm := kmsg.NewDescribeGroupsResponseGroupMember()
		rm.MemberID, rm.ClientID, rm.ClientHost = m.ID, m.ClientID, m.Host
		rm.InstanceID = m.InstanceID.Name()
		rm.MemberAssignment = m.Assignment
		if gr.State == group.Stable {
			for _, p := range m.Protocols {
				if p.Name == gr.Protocol {
					rm.ProtocolMetadata = p.Metadata
				}
			}
		}
		rg.Members = append(rg.Members, rm)
	}
}
