package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/txn"
)

// handleAddPartitionsToTxn answers AddPartitionsToTxn, versions 0 to 3, of
// producers of the older protocol: the registration is durable before the
// answer. If one partition does not exist none is added.
func (b *Broker) handleAddPartitionsToTxn(r *request) {
	req := r.msg.(*kmsg.AddPartitionsToTxnRequest)
	resp := req.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
	add := txn.Add{Producer: txn.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}}
	missing := false
	for _, t := range req.Topics {
		rt := kmsg.NewAddPartitionsToTxnResponseTopic()
		rt.Topic = t.Topic
		topic := b.topics.byName(t.Topic)
		for _, n := range t.Partitions {
			rp := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
			rp.Partition = n
			if p, err := b.topics.partition(topic, n); err != nil {
				rp.ErrorCode, missing = groupCode(err), true
			} else {
				id := p.id()
				add.Partitions = append(add.Partitions, txn.Partition{Topic: id.Topic, Index: id.Index})
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	answer := func(err error) {
		for i := range resp.Topics {
			for j := range resp.Topics[i].Partitions {
				if p := &resp.Topics[i].Partitions[j]; p.ErrorCode == 0 {
					p.ErrorCode = groupCode(err)
				}
			}
		}
		r.respond(resp)
	}
	if missing {
		answer(kerr.OperationNotAttempted)
		return
	}
	b.addToTxn(req.TransactionalID, add, answer)
}

// addToTxn registers partitions or groups with the transaction of an id.
func (b *Broker) addToTxn(id string, add txn.Add, done func(error)) {
	b.spawn(func() {
		e := b.txns.find(id)
		if e == nil {
			done(kerr.InvalidProducerIDMapping)
			return
		}
		b.txns.apply(e, add, func(_ txn.Producer, err error) { done(err) })
	})
}
