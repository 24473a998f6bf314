package logbroker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/txn"
)

// bumpVersion is the first version of EndTxn that answers with a new epoch
// (KIP-890).
const bumpVersion = 5

// handleEndTxn answers EndTxn, versions 0 to 5, when the decision is durable.
func (b *Broker) handleEndTxn(r *request) {
	req := r.msg.(*kmsg.EndTxnRequest)
	resp := req.ResponseKind().(*kmsg.EndTxnResponse)
	done := func(p txn.Producer, err error) {
		resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = groupCode(fencedBefore(2, req.Version, err)), p.ID, p.Epoch
		if err != nil {
			resp.ProducerID, resp.ProducerEpoch = -1, -1
		}
		r.respond(resp)
	}
	b.spawn(func() {
		e, err := b.txns.named(req.TransactionalID)
		if err != nil {
			done(txn.NoProducer, err)
			return
		}
		b.txns.apply(e, txn.End{
			Producer: txn.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}, Commit: req.Commit, Bump: req.Version >= bumpVersion,
		}, done)
	})
}
