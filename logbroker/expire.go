package logbroker

import (
	"time"

	"github.com/levada/levada/logbroker/group"
	"github.com/levada/levada/logbroker/meta"
	"github.com/levada/levada/logbroker/txn"
)

// How long what nobody uses is remembered, as by Kafka: the sequence numbers of a
// producer, a transactional id, and the offsets of a group without members.
const (
	producerExpiry = 24 * time.Hour
	txnIDExpiry    = 7 * 24 * time.Hour
	offsetExpiry   = 7 * 24 * time.Hour
)

// expireTxns forgets transactional ids that have not been used for long.
func (b *Broker) expireTxns() {
	for _, e := range b.txns.all() {
		if err := b.txns.forgetIdle(e); err != nil {
			b.log.Warn("an unused transactional id was not forgotten", "transactional_id", e.id, "error", err)
			return
		}
	}
}

// forgetIdle forgets an id if it has been idle for long.
func (t *transactions) forgetIdle(e *txnEntry) error {
	e.gate.Lock()
	defer e.gate.Unlock()
	switch e.state.Phase {
	case txn.Empty, txn.CompleteCommit, txn.CompleteAbort:
	default:
		return nil
	}
	if e.gone || t.b.now().Sub(e.state.Updated) < txnIDExpiry {
		return nil
	}
	batch := t.b.meta.NewBatch()
	batch.DeleteTxn(e.id)
	if err := t.b.commit(batch); err != nil {
		return err
	}
	e.gone = true
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, e.id)
	delete(t.byProducer, e.state.Producer.ID)
	return nil
}

// expireOffsets forgets the offsets of groups that have had no members for long
// (KIP-211); of a group that never had any, those that were committed long ago. A
// group whose last offset goes, goes with it.
func (b *Broker) expireOffsets() {
	g := b.coordinator()
	ids, err := g.ids()
	if err != nil {
		b.log.Warn("old offsets were not looked for", "error", err)
		return
	}
	for _, id := range ids {
		if err := b.expireGroup(g, id); err != nil {
			b.log.Warn("old offsets were not forgotten", "group", id, "error", err)
			return
		}
	}
}

func (b *Broker) expireGroup(g *groups, id string) error {
	g.persist.Lock()
	defer g.persist.Unlock()
	offsets, err := b.meta.Offsets(id)
	if err != nil || b.meta.HasPending(id) {
		return err
	}
	oldest := b.now().Add(-offsetExpiry)
	g.mu.Lock()
	defer g.mu.Unlock() // nobody joins meanwhile
	e := g.find(id, false)
	if e != nil && (e.state() != group.Empty || e.emptied().After(oldest)) {
		return nil
	}
	batch := b.meta.NewBatch()
	left, gone := 0, 0
	for _, o := range offsets {
		if o.CommittedMs > oldest.UnixMilli() {
			left++
			continue
		}
		batch.DeleteOffset(id, o.Topic, o.Partition)
		gone++
	}
	if left == 0 && (gone > 0 || e != nil && !e.emptied().IsZero()) {
		batch = b.meta.NewBatch()
		batch.DeleteGroup(id)
		delete(g.byID, id)
	}
	return b.expired(batch, id, gone)
}

func (b *Broker) expired(batch *meta.Batch, id string, n int) error {
	err := b.commit(batch)
	if err == nil && n > 0 {
		b.log.Info("the offsets of a group without members were forgotten", "group", id, "partitions", n)
	}
	return err
}
