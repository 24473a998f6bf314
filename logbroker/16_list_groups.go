package logbroker

import (
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
	states, types := folded(req.StatesFilter), folded(req.TypesFilter)
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
		if listed(states, strings.ToLower(rg.GroupState)) && listed(types, strings.ToLower(rg.GroupType)) {
			resp.Groups = append(resp.Groups, rg)
		}
	}
	r.respond(resp)
}

// folded is a filter as a set, in lower case. Filters come as lists, which may be as
// long as what they are held against.
func folded(filter []string) map[string]bool {
	out := make(map[string]bool, len(filter))
	for _, f := range filter {
		out[strings.ToLower(f)] = true
	}
	return out
}

// listed tells whether a filter lets a value pass; no filter lets all pass.
func listed[T comparable](filter map[T]bool, value T) bool {
	return len(filter) == 0 || filter[value]
}
