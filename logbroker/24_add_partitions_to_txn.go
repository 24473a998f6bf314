package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/txn"
)

// handleAddPartitionsToTxn answers AddPartitionsToTxn, versions 0 to 5, of
// producers of the older protocol: the registration is durable before the
// answer. If one partition does not exist none is added. From version 4 on it
// is for brokers, and several transactions come at once.
func (b *Broker) handleAddPartitionsToTxn(r *request) {
	req := r.msg.(*kmsg.AddPartitionsToTxnRequest)
	resp := req.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
	if req.Version >= 4 {
		b.addTransactions(req, resp, func() { r.respond(resp) })
		return
	}
	add := txn.Add{Producer: txn.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}}
	resp.Topics = b.addTopics(&add, req.Topics)
	b.addOrRefuse(req.TransactionalID, add, req.Version, resp.Topics, func() { r.respond(resp) })
}

// addTransactions serves one transaction of a request after the other.
func (b *Broker) addTransactions(req *kmsg.AddPartitionsToTxnRequest, resp *kmsg.AddPartitionsToTxnResponse, done func()) {
	if len(req.Transactions) == 0 {
		done()
		return
	}
	t := req.Transactions[0]
	req.Transactions = req.Transactions[1:]
	add := txn.Add{Producer: txn.Producer{ID: t.ProducerID, Epoch: t.ProducerEpoch}}
	var asked []kmsg.AddPartitionsToTxnRequestTopic
	for _, topic := range t.Topics {
		asked = append(asked, kmsg.AddPartitionsToTxnRequestTopic{Topic: topic.Topic, Partitions: topic.Partitions})
	}
	topics := b.addTopics(&add, asked)
	finish := func() {
		rt := kmsg.NewAddPartitionsToTxnResponseTransaction()
		rt.TransactionalID = t.TransactionalID
		for _, topic := range topics {
			tt := kmsg.NewAddPartitionsToTxnResponseTransactionTopic()
			tt.Topic = topic.Topic
			for _, p := range topic.Partitions {
				tp := kmsg.NewAddPartitionsToTxnResponseTransactionTopicPartition()
				tp.Partition, tp.ErrorCode = p.Partition, p.ErrorCode
				tt.Partitions = append(tt.Partitions, tp)
			}
			rt.Topics = append(rt.Topics, tt)
		}
		resp.Transactions = append(resp.Transactions, rt)
		b.addTransactions(req, resp, done)
	}
	if t.VerifyOnly {
		b.spawn(func() {
			setAll(topics, b.txns.verify(t.TransactionalID, add, topics))
			finish()
		})
		return
	}
	b.addOrRefuse(t.TransactionalID, add, req.Version, topics, finish)
}

// verify tells of each partition that is there whether it belongs to the open transaction.
func (t *transactions) verify(id string, add txn.Add, topics []kmsg.AddPartitionsToTxnResponseTopic) error {
	e := t.find(id)
	if e == nil {
		return kerr.InvalidProducerIDMapping
	}
	e.gate.RLock()
	defer e.gate.RUnlock()
	if _, _, err := txn.Step(e.state, add, t.b.now()); err != nil {
		return err
	}
	n := 0 // of add, which has what is there
	for i := range topics {
		for j := range topics[i].Partitions {
			p := &topics[i].Partitions[j]
			if p.ErrorCode != 0 {
				continue
			}
			if _, ok := e.state.Partitions[add.Partitions[n]]; !ok || e.state.Phase != txn.Ongoing {
				p.ErrorCode = kerr.TransactionAbortable.Code
			}
			n++
		}
	}
	return nil
}

// addTopics collects the partitions that a request names.
func (b *Broker) addTopics(add *txn.Add, topics []kmsg.AddPartitionsToTxnRequestTopic) []kmsg.AddPartitionsToTxnResponseTopic {
	var out []kmsg.AddPartitionsToTxnResponseTopic
	for _, t := range topics {
		rt := kmsg.NewAddPartitionsToTxnResponseTopic()
		rt.Topic = t.Topic
		topic := b.topics.byName(t.Topic)
		for _, n := range t.Partitions {
			rp := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
			rp.Partition = n
			if p, err := b.topics.partition(topic, n); err != nil {
				rp.ErrorCode = groupCode(err)
			} else {
				id := p.id()
				add.Partitions = append(add.Partitions, txn.Partition{Topic: id.Topic, Index: id.Index})
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		out = append(out, rt)
	}
	return out
}

// addOrRefuse adds all partitions or, if one of them does not exist, none.
func (b *Broker) addOrRefuse(id string, add txn.Add, version int16, topics []kmsg.AddPartitionsToTxnResponseTopic, done func()) {
	for _, t := range topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				setAll(topics, kerr.OperationNotAttempted)
				done()
				return
			}
		}
	}
	b.addToTxn(id, add, func(err error) {
		setAll(topics, fencedBefore(2, version, err))
		done()
	})
}

// setAll gives an error to all partitions that have none.
func setAll(topics []kmsg.AddPartitionsToTxnResponseTopic, err error) {
	for i := range topics {
		for j := range topics[i].Partitions {
			if p := &topics[i].Partitions[j]; p.ErrorCode == 0 {
				p.ErrorCode = groupCode(err)
			}
		}
	}
}

// named finds the transaction of an id.
func (t *transactions) named(id string) (*txnEntry, error) {
	if id == "" {
		return nil, kerr.InvalidRequest
	}
	if e := t.find(id); e != nil {
		return e, nil
	}
	return nil, kerr.InvalidProducerIDMapping
}

// addToTxn registers partitions or groups with the transaction of an id.
func (b *Broker) addToTxn(id string, add txn.Add, done func(error)) {
	b.spawn(func() {
		e, err := b.txns.named(id)
		if err != nil {
			done(err)
			return
		}
		b.txns.apply(e, add, func(_ txn.Producer, err error) { done(err) })
	})
}
