package logbroker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/txn"
)

// handleAddOffsetsToTxn answers AddOffsetsToTxn, versions 0 to 4, of producers
// of the older protocol.
func (b *Broker) handleAddOffsetsToTxn(r *request) {
	req := r.msg.(*kmsg.AddOffsetsToTxnRequest)
	resp := req.ResponseKind().(*kmsg.AddOffsetsToTxnResponse)
	add := txn.Add{Producer: txn.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}, Groups: []string{req.Group}}
	b.addToTxn(req.TransactionalID, add, func(err error) {
		resp.ErrorCode = groupCode(fencedBefore(2, req.Version, err))
		r.respond(resp)
	})
}
