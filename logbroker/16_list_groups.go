package logbroker

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

// handleListGroups answers ListGroups, versions 0 to 5: 4 filters by state, 5 by
// type, classic or consumer.
func (b *Broker) handleListGroups(r *request) {
	req := r.msg.(*kmsg.ListGroupsRequest)
	resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
	g := b.coordinator()
	states, types := folded(req.StatesFilter), folded(req.TypesFilter)
	for _, id := range g.ids() {
		rg := kmsg.NewListGroupsResponseGroup()
		g.mu.Lock()
		e := g.find(id, false)
		if e != nil {
			rg.Group, rg.GroupState, rg.GroupType = id, string(e.state()), "consumer"
			if rg.ProtocolType = group.ConsumerProtocol; e.classic != nil {
				rg.ProtocolType, rg.GroupType = e.classic.ProtocolType, "classic"
			}
		}
		g.mu.Unlock()
		if e != nil && listed(states, strings.ToLower(rg.GroupState)) && listed(types, strings.ToLower(rg.GroupType)) {
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
