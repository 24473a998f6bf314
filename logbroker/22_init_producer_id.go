package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/txn"
)

// maxTransactionTimeoutMs is the longest time-out, Kafka's
// transaction.max.timeout.ms.
const maxTransactionTimeoutMs = 900_000

// handleInitProducerID answers InitProducerId, versions 0 to 5: 3 lets a
// producer keep its id with a new epoch (KIP-360). Without a transactional id
// any new id will do. Over an open transaction the answer is CONCURRENT_TRANSACTIONS,
// which comes when that is aborted: who asks again is given a producer.
func (b *Broker) handleInitProducerID(r *request) {
	req := r.msg.(*kmsg.InitProducerIDRequest)
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	done := func(p txn.Producer, err error) {
		resp.ProducerID, resp.ProducerEpoch, resp.ErrorCode = p.ID, p.Epoch, groupCode(fencedBefore(4, req.Version, err))
		if err != nil {
			resp.ProducerID, resp.ProducerEpoch = -1, -1
		}
		r.respond(resp)
	}
	b.spawn(func() {
		switch {
		case (req.ProducerID == -1) != (req.ProducerEpoch == -1): // one without the other
			done(txn.NoProducer, kerr.InvalidRequest)
		case req.TransactionalID == nil:
			id, err := int64(-1), b.space.forMetadata()
			if err == nil {
				id, err = b.pids.take()
			}
			if err != nil {
				err = errNoID
			}
			done(txn.Producer{ID: id, Epoch: 0}, err)
		case *req.TransactionalID == "":
			done(txn.NoProducer, kerr.InvalidRequest)
		case req.TransactionTimeoutMillis <= 0 || req.TransactionTimeoutMillis > maxTransactionTimeoutMs:
			done(txn.NoProducer, kerr.InvalidTransactionTimeout)
		case b.space.forMetadata() != nil:
			done(txn.NoProducer, errNotWritten)
		default:
			b.initTransactional(req, done)
		}
	})
}

func (b *Broker) initTransactional(req *kmsg.InitProducerIDRequest, done func(txn.Producer, error)) {
	e, err := b.txns.findOrAdd(*req.TransactionalID)
	if err != nil {
		done(txn.NoProducer, err)
		return
	}
	ev := txn.Init{Holder: txn.NoProducer, Timeout: milliseconds(req.TransactionTimeoutMillis)}
	if req.Version >= 3 {
		ev.Holder = txn.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}
	}
	b.txns.apply(e, ev, done)
}
