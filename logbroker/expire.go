package logbroker

import (
	"slices"
	"time"

	"github.com/levada/levada/logbroker/group"
	"github.com/levada/levada/logbroker/meta"
	"github.com/levada/levada/logbroker/txn"
)

// How long what nobody uses is remembered, as by Kafka: a transactional id, and the
// offsets of a group without members.
const (
	txnIDExpiry  = 7 * 24 * time.Hour
	offsetExpiry = 7 * 24 * time.Hour
)

// offsetsCheckInterval is the time between two looks for offsets and groups that go, Kafka's
// offsets.retention.check.interval.ms.
const offsetsCheckInterval = 10 * time.Minute

// scheduleOffsetsCheck looks again and again.
func (b *Broker) scheduleOffsetsCheck() {
	b.timers.at(b.now().Add(offsetsCheckInterval), func(time.Time) {
		b.spawn(func() {
			b.expireOffsets()
			b.scheduleOffsetsCheck()
		})
	})
}

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

// expiredAtOnce is how many groups are looked at before what goes is deleted, all of
// it with one sync.
const expiredAtOnce = 500

// expireOffsets forgets the offsets of groups that have had no members for long
// (KIP-211); of a group that never had any, those that were committed long ago. A
// group whose last offset goes, goes with it, and one without offsets with its last
// member.
func (b *Broker) expireOffsets() {
	if b.run.closed.Load() || b.failure() != nil {
		return
	}
	g := b.coordinator()
	for some := range slices.Chunk(g.ids(), expiredAtOnce) {
		if err := b.expireGroups(g, some); err != nil {
			b.log.Warn("old offsets were not forgotten", "error", err)
			return
		}
	}
}

// expireGroups deletes what goes of some groups with one sync. No offset is written
// meanwhile: none is deleted that was committed, or became pending, a moment ago. Who
// joins a group that goes makes a new one, whose row is written after the old is
// deleted.
func (b *Broker) expireGroups(g *groups, ids []string) error {
	g.persist.Lock()
	defer g.persist.Unlock()
	b.topics.offsets.Lock()
	defer b.topics.offsets.Unlock()
	batch := b.meta.NewBatch()
	gone := 0
	for _, id := range ids {
		n, err := b.expireGroup(g, batch, id)
		if err != nil {
			return err
		}
		gone += n
	}
	err := b.commit(batch)
	if err == nil && gone > 0 {
		b.log.Info("offsets of groups without members were forgotten", "partitions", gone)
	}
	return err
}

// expireGroup adds to the batch what goes of a group, and says of how many partitions.
func (b *Broker) expireGroup(g *groups, batch *meta.Batch, id string) (gone int, err error) {
	offsets, err := b.meta.Offsets(id)
	if err != nil || b.meta.HasPending(id) {
		return 0, err
	}
	oldest := b.now().Add(-offsetExpiry)
	old := slices.DeleteFunc(slices.Clone(offsets), func(o meta.Offset) bool { return o.CommittedMs > oldest.UnixMilli() })
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.find(id, false)
	if e == nil || e.state() != group.Empty || !e.next().IsZero() || len(offsets) > 0 && e.emptied().After(oldest) {
		return 0, nil // somebody is there, may come with the id that it was given, or was there
	}
	if len(old) < len(offsets) {
		for _, o := range old {
			batch.DeleteOffset(id, o.Topic, o.Partition)
		}
		return len(old), nil
	}
	batch.DeleteGroup(id)
	g.drop(e)
	return len(old), nil
}
