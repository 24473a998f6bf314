package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
	"github.com/levada/levada/logbroker/txn"
)

// handleDeleteGroups answers DeleteGroups, versions 0 to 3. Only a group
// without members can go; offsets of open transactions go with it.
func (b *Broker) handleDeleteGroups(r *request) {
	req := r.msg.(*kmsg.DeleteGroupsRequest)
	resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
	b.spawn(func() {
		for _, id := range once(req.Groups, itself) {
			rg := kmsg.NewDeleteGroupsResponseGroup()
			rg.Group = id
			rg.ErrorCode, rg.ErrorMessage = alterError(b.deleteGroup(id))
			resp.Groups = append(resp.Groups, rg)
		}
		r.respond(resp)
	})
}

func (b *Broker) deleteGroup(id string) error {
	g := b.coordinator()
	g.persist.Lock()
	defer g.persist.Unlock()
	b.topics.offsets.Lock() // no offset is under way
	defer b.topics.offsets.Unlock()
	g.mu.Lock()
	e := g.find(id, false)
	busy := e != nil && e.state() != group.Empty
	if e != nil && !busy {
		g.drop(e)
	}
	g.mu.Unlock()
	switch {
	case busy:
		return kerr.NonEmptyGroup
	case e == nil:
		return kerr.GroupIDNotFound
	}
	batch := b.meta.NewBatch()
	batch.DeleteGroup(id)
	release := b.txns.keep(batch, func(open txn.State) bool {
		_, touches := open.Groups[id]
		return touches
	})
	defer release()
	return b.commit(batch)
}
