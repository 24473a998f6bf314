package logbroker

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

// handleListGroups answers ListGroups, versions 0 to 5: 4 filters by state, 5 by
// type, classic or consumer.
func (b *Broker) handleListGroups(r *request) {
	req := r.msg.(*kmsg.ListGroupsRequest)
	resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
	g := b.coordinator()
	ids, err := g.ids()
	if err != nil {
		b.log.Error("groups cannot be listed", "error", err)
		resp.ErrorCode = kerr.UnknownServerError.Code
	}
	for _, id := range ids {
		rg := kmsg.NewListGroupsResponseGroup()
		rg.Group, rg.GroupState, rg.GroupType = id, string(group.Empty), "classic"
		g.mu.Lock()
		if e := g.find(id, false); e != nil {
			rg.GroupState = string(e.state())
			if e.consumer != nil {
				rg.ProtocolType, rg.GroupType = "consumer", "consumer"
			} else {
				rg.ProtocolType = e.classic.ProtocolType
			}
		}
		g.mu.Unlock()
		if listed(req.StatesFilter, rg.GroupState) && listed(req.TypesFilter, rg.GroupType) {
			resp.Groups = append(resp.Groups, rg)
		}
	}
	r.respond(resp)
}

// listed tells whether a filter lets a value pass; no filter lets all pass.
func listed(filter []string, value string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(f, value) })
}
