package logbroker

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/meta"
	"github.com/levada/levada/logbroker/txn"
)

// implicitOffsets is the first version of TxnOffsetCommit that adds the group to
// the transaction by itself (KIP-890).
const implicitOffsets = 5

// handleTxnOffsetCommit answers TxnOffsetCommit, versions 0 to 6: 3 names the
// member, so that one that lost its place is refused (KIP-447), 6 has topic
// ids. The offsets are
// pending, and durable before the answer, until the transaction ends.
func (b *Broker) handleTxnOffsetCommit(r *request) {
	req := r.msg.(*kmsg.TxnOffsetCommitRequest)
	resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
	b.spawn(func() {
		var offsets []topicOffset
		known := false // one of the partitions
		for _, t := range req.Topics {
			rt := kmsg.NewTxnOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			topic, unknown := b.offsetTopic(req.Version >= 6, t.Topic, t.TopicID)
			for _, p := range t.Partitions {
				rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				rp.Partition = p.Partition
				switch {
				case req.Group == "":
					rp.ErrorCode = kerr.InvalidGroupID.Code
				case topic == nil:
					rp.ErrorCode = unknown
				case p.Partition < 0 || int(p.Partition) >= len(topic.parts()):
					rp.ErrorCode = kerr.UnknownTopicOrPartition.Code
				case len(deref(p.Metadata)) > maxOffsetMetadata:
					rp.ErrorCode, known = kerr.OffsetMetadataTooLarge.Code, true
				default:
					known = true
					offsets = append(offsets, topicOffset{topic, meta.Offset{
						Topic: topic.name, Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch,
						Metadata: deref(p.Metadata), CommittedMs: b.now().UnixMilli(),
					}})
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		if known {
			if err := b.addPending(req, offsets); err != nil {
				failTxnOffsets(resp, err)
			}
		}
		r.respond(resp)
	})
}

// addPending makes offsets pending in the open transaction. The gate is held
// while they are written, so none is added after the decision. Those in a topic
// that was deleted meanwhile are gone with it. The member is checked when the
// gate is passed, which may take long: whoever has its partitions by then has looked
// for pending offsets, or finds these.
func (b *Broker) addPending(req *kmsg.TxnOffsetCommitRequest, offsets []topicOffset) error {
	b.topics.offsets.RLock()
	defer b.topics.offsets.RUnlock()
	producer := txn.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}
	e, err := b.txns.enterGroup(req.TransactionalID, producer, req.Group, req.Version >= implicitOffsets)
	switch {
	case errors.Is(err, kerr.ProducerFenced):
		return kerr.InvalidProducerEpoch // as Produce calls it
	case err != nil:
		return err
	}
	defer e.gate.RUnlock()
	if err := b.space.forGroups(); err != nil {
		return err
	}
	batch := b.meta.NewBatch()
	for _, o := range offsets {
		if b.topics.has(o.topic) {
			batch.PutPending(producer.ID, req.Group, o.Offset)
		}
	}
	if err := b.groups.checkTxnCommit(req.Group, req.Generation, req.MemberID, req.InstanceID, offsets, batch.Announce); err != nil {
		return err
	}
	if err := b.commit(batch); err != nil {
		return kerr.NotCoordinator // which clients retry
	}
	return nil
}

// enterGroup is enter for a group: on return without an error the gate of the
// entry is held for reading, and the group belongs to the open transaction.
func (t *transactions) enterGroup(id string, producer txn.Producer, group string, implicit bool) (*txnEntry, error) {
	e := t.find(id)
	if e == nil {
		return nil, kerr.InvalidProducerIDMapping
	}
	for range maxGateTries {
		e.gate.RLock()
		if e.state.Phase == txn.Ongoing && e.state.Producer == producer {
			if _, ok := e.state.Groups[group]; ok {
				return e, nil
			}
		}
		e.gate.RUnlock()
		e.gate.Lock()
		if e.gone {
			e.gate.Unlock()
			return nil, kerr.InvalidProducerIDMapping
		}
		next, _, err := txn.Step(e.state, txn.Add{Producer: producer, Groups: []string{group}, Implicit: true}, t.b.now())
		if err == nil && !implicit {
			err = kerr.InvalidTxnState
		}
		if err != nil {
			e.gate.Unlock()
			return nil, err
		}
		t.setState(e, next)
		e.gate.Unlock()
	}
	return nil, kerr.ConcurrentTransactions
}

// failTxnOffsets gives an error to all that was accepted.
func failTxnOffsets(resp *kmsg.TxnOffsetCommitResponse, err error) {
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			if p := &resp.Topics[i].Partitions[j]; p.ErrorCode == 0 || p.ErrorCode == kerr.OffsetMetadataTooLarge.Code {
				p.ErrorCode = groupCode(err)
			}
		}
	}
}
