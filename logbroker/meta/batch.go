package meta

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
)

// Batch collects changes for one atomic Commit. It is not safe for concurrent
// use. A fault while it is filled is returned by Commit.
type Batch struct {
	s       *Store
	b       *pebble.Batch
	err     error
	added   []PendingOffset
	decided []PendingOffset
}

// NewBatch starts an empty batch.
func (s *Store) NewBatch() *Batch { return &Batch{s: s, b: s.db.NewBatch()} }

func (b *Batch) set(key, value []byte) { b.keep(b.b.Set(key, value, nil)) }
func (b *Batch) del(key []byte)        { b.keep(b.b.Delete(key, nil)) }
func (b *Batch) log(p []byte)          { b.keep(b.b.LogData(p, nil)) }

func (b *Batch) keep(err error) {
	if b.err == nil {
		b.err = err
	}
}

// PutSystem sets a system value.
func (b *Batch) PutSystem(name string, value []byte) { b.set(nameKey(kindSystem, name), value) }

// PutTopic writes the row of a topic.
func (b *Batch) PutTopic(t Topic) { b.set(nameKey(kindTopic, t.Name), t.encode()) }

// DeleteTopic removes a topic with its log starts and all offsets in it, the
// committed ones and those that are pending in open transactions, and leaves a
// row that says its directories are to be removed. No offset in the topic may be
// written between this call and the Commit of the batch.
func (b *Batch) DeleteTopic(t Topic) {
	b.del(nameKey(kindTopic, t.Name))
	e := newEncoder()
	e.string(t.Name)
	e.raw(t.ID[:])
	e.int(int64(t.Partitions))
	b.set(idKey(kindDeleted, t.ID), e.buf)
	for i := range t.Partitions {
		b.del(logStartKey(Partition{t.ID, i}))
	}
	b.keep(b.s.scan([]byte{kindOffset}, func(k, _ []byte) error {
		group, topic, partition, err := splitOffsetKey(k)
		if err == nil && topic == t.Name {
			b.del(offsetKey(group, topic, partition))
		}
		return err
	}))
	b.dropPending(func(id pendingID) bool { return id.topic == t.Name })
}

// dropPending removes the pending offsets that match.
func (b *Batch) dropPending(match func(pendingID) bool) {
	for _, p := range b.s.pendingWhere(match) {
		b.del(pendingKey(p.ProducerID, p.Group, p.Offset.Topic, p.Offset.Partition))
		b.decided = append(b.decided, p)
	}
}

// ForgetDeleted removes the row DeleteTopic left, once the directories are gone.
func (b *Batch) ForgetDeleted(id TopicID) { b.del(idKey(kindDeleted, id)) }

// PutLogStart sets the first offset of a partition that may still be read.
func (b *Batch) PutLogStart(p Partition, offset int64) {
	b.set(logStartKey(p), binary.BigEndian.AppendUint64(nil, uint64(offset)))
}

// PutTxn writes the row of a transactional id.
func (b *Batch) PutTxn(t Txn) { b.set(nameKey(kindTxn, t.ID), t.encode()) }

// DeleteTxn removes the row of a transactional id.
func (b *Batch) DeleteTxn(id string) { b.del(nameKey(kindTxn, id)) }

// PutDecision writes a decision.
func (b *Batch) PutDecision(c Decision) {
	b.set(decisionKey(c.ProducerID, c.Epoch, c.Counter), c.encode())
}

// DeleteDecision removes a decision whose markers are synced everywhere.
func (b *Batch) DeleteDecision(c Decision) {
	b.del(decisionKey(c.ProducerID, c.Epoch, c.Counter))
}

// PutGroup writes the row of a group; the value is package group's own.
func (b *Batch) PutGroup(group string, value []byte) { b.set(nameKey(kindGroup, group), value) }

// DeleteGroup removes the row of a group and all its offsets: those that are
// committed and those that are pending in open transactions.
func (b *Batch) DeleteGroup(group string) {
	b.del(nameKey(kindGroup, group))
	prefix := offsetPrefix(group)
	b.keep(b.b.DeleteRange(prefix, upperBound(prefix), nil))
	b.dropPending(func(id pendingID) bool { return id.group == group })
}

// PutOffset commits an offset of a group.
func (b *Batch) PutOffset(group string, o Offset) {
	b.set(offsetKey(group, o.Topic, o.Partition), o.encode())
}

// DeleteOffset removes a committed offset of a group.
func (b *Batch) DeleteOffset(group, topic string, partition int32) {
	b.del(offsetKey(group, topic, partition))
}

// PutPending adds an offset to the open transaction of a producer.
func (b *Batch) PutPending(producerID int64, group string, o Offset) {
	b.set(pendingKey(producerID, group, o.Topic, o.Partition), o.encode())
	b.added = append(b.added, PendingOffset{ProducerID: producerID, Group: group, Offset: o})
}

// Announce makes the pending offsets of the batch known to Unstable before the
// Commit, which must follow.
func (b *Batch) Announce() {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	for _, p := range b.added {
		b.s.addPending(p)
	}
}

// DecideOffsets ends the pending offsets of a producer's transaction: they
// become the groups' committed offsets, or vanish. No pending offset of the
// producer may be added, or deleted, between this call and the Commit of the batch.
func (b *Batch) DecideOffsets(producerID int64, commit bool) {
	pending, err := b.s.pendingUnder(pendingPrefix(producerID))
	b.keep(err)
	for _, p := range pending {
		b.del(pendingKey(producerID, p.Group, p.Offset.Topic, p.Offset.Partition))
		if commit {
			b.PutOffset(p.Group, p.Offset)
		}
	}
	b.decided = append(b.decided, pending...)
}
