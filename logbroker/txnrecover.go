package logbroker

import (
	"fmt"
	"slices"

	"github.com/levada/levada/logbroker/commitlog"
	"github.com/levada/levada/logbroker/meta"
	"github.com/levada/levada/logbroker/txn"
)

// recover brings transactions to a state in which every promise holds, before
// any request is served: decided ones are finished; after a SIGKILL open ones
// go on, with what the logs and the pending offsets tell of them; after a power
// loss they are aborted, and every id gets a new epoch. So they are where a
// partition is offline: it may hold a part of any of them, which would not be
// committed with the rest.
func (t *transactions) recover(st start) error {
	rows, err := t.b.meta.Txns()
	if err != nil {
		return err
	}
	for _, row := range rows {
		e := &txnEntry{id: row.ID, state: txn.New()}
		t.byID[row.ID] = e
		t.setState(e, stateOf(row))
	}
	decisions, err := t.b.meta.Decisions()
	if err != nil {
		return err
	}
	for _, d := range decisions {
		t.counter.Store(max(t.counter.Load(), d.Counter))
		t.finish(d)
	}
	if st.powerLoss || t.b.topics.offline() > 0 {
		return t.abortAll(st)
	}
	if err := t.resume(); err != nil {
		return err
	}
	return t.abortOrphans()
}

// finish carries a decision out that was durable before the restart.
func (t *transactions) finish(d meta.Decision) {
	var parts []*partition
	offline := 0
	kept := d
	kept.Partitions = nil
	for _, dp := range d.Partitions {
		topic := t.b.topics.byID(dp.Topic)
		if topic == nil || int(dp.Index) >= len(topic.parts()) {
			continue // deleted, and its part of the transaction with it
		}
		p := topic.parts()[dp.Index]
		if p.log == nil {
			offline++
			continue
		}
		kept.Partitions = append(kept.Partitions, dp)
		parts = append(parts, p)
	}
	t.mark(kept, parts, offline, false)
}

// openInLog is an undecided transaction as a log shows it.
type openInLog struct {
	commitlog.OpenTxn
	p *partition
}

// undecided lists the open transactions of all logs, by producer id, then in
// the order of the partitions.
func (t *transactions) undecided() []openInLog {
	var out []openInLog
	t.b.topics.each(func(p *partition) {
		if p.log == nil {
			return
		}
		for _, open := range p.log.OpenTransactions() {
			if !open.Decided {
				out = append(out, openInLog{open, p})
			}
		}
	})
	slices.SortStableFunc(out, func(a, b openInLog) int {
		switch {
		case a.ProducerID < b.ProducerID:
			return -1
		case a.ProducerID > b.ProducerID:
			return 1
		}
		return 0
	})
	return out
}

// resume lets open transactions go on: their partitions are derived from the
// logs, their groups from the pending offsets.
func (t *transactions) resume() error {
	for _, open := range t.undecided() {
		e := t.findProducer(open.ProducerID)
		if e == nil || e.state.Producer.Epoch != open.Epoch {
			continue
		}
		id := open.p.id()
		t.addBack(e, txn.Add{Partitions: []txn.Partition{{Topic: id.Topic, Index: id.Index}}})
	}
	pending, err := t.b.meta.PendingOffsets()
	if err != nil {
		return err
	}
	for _, o := range pending {
		if e := t.findProducer(o.ProducerID); e != nil {
			t.addBack(e, txn.Add{Groups: []string{o.Group}})
		}
	}
	return nil
}

func (t *transactions) addBack(e *txnEntry, add txn.Add) {
	add.Producer, add.Implicit = e.state.Producer, true
	next, _, err := txn.Step(e.state, add, t.b.now())
	if err != nil {
		t.b.log.Error("an open transaction cannot go on", "transactional_id", e.id, "error", err)
		return
	}
	t.setState(e, next)
}

// abortOrphans aborts what no id answers for: an open transaction in a log
// whose producer is not known or has a newer epoch.
func (t *transactions) abortOrphans() error {
	batch := t.b.meta.NewBatch()
	decisions := t.orphans(func(open openInLog) bool {
		e := t.findProducer(open.ProducerID)
		return e == nil || e.state.Producer.Epoch != open.Epoch
	})
	if len(decisions) == 0 {
		return nil
	}
	for _, d := range decisions {
		batch.PutDecision(d)
	}
	if err := t.b.commit(batch); err != nil {
		return err
	}
	for _, d := range decisions {
		t.b.log.Warn("a transaction without an owner is aborted", "producer_id", d.ProducerID, "epoch", d.Epoch)
		t.finish(d)
	}
	return nil
}

// orphans makes a decision to abort for each producer and epoch of the chosen
// open transactions.
func (t *transactions) orphans(choose func(openInLog) bool) []meta.Decision {
	var out []meta.Decision
	for _, open := range t.undecided() {
		if !choose(open) {
			continue
		}
		last := len(out) - 1
		if last < 0 || out[last].ProducerID != open.ProducerID || out[last].Epoch != open.Epoch {
			out = append(out, meta.Decision{
				ProducerID: open.ProducerID, Epoch: open.Epoch, Counter: t.counter.Add(1), MarkerEpoch: nextEpoch(open.Epoch),
			})
			last++
		}
		out[last].Partitions = append(out[last].Partitions, meta.DecisionPartition{Partition: open.p.id(), End: open.p.log.End()})
	}
	return out
}

// nextEpoch is the epoch of markers that fence an epoch.
func nextEpoch(epoch int16) int16 {
	if epoch == 1<<15-1 {
		return epoch
	}
	return epoch + 1
}

// abortAll ends what a power loss, or the loss of a partition, interrupted: every undecided transaction is
// aborted and every transactional id gets a new epoch, in one durable write
// together with the new boot id, so that a crash in between is seen as the same
// power loss.
func (t *transactions) abortAll(st start) error {
	batch := t.b.meta.NewBatch()
	for _, e := range t.sortedEntries() {
		ev, err := t.withFresh(e.state, txn.PowerLoss{})
		if err != nil {
			return err
		}
		batch.DecideOffsets(e.state.Producer.ID, false)
		next, _, err := txn.Step(e.state, ev, t.b.now())
		if err != nil {
			return fmt.Errorf("transactional id %q: %w", e.id, err)
		}
		t.setState(e, next)
		batch.PutTxn(rowOf(e.id, next))
	}
	decisions := t.orphans(func(openInLog) bool { return true })
	for _, d := range decisions {
		batch.PutDecision(d)
	}
	batch.PutSystem(sysBoot, []byte(st.boot))
	if err := t.b.commit(batch); err != nil {
		return err
	}
	for _, d := range decisions {
		t.finish(d)
	}
	return nil
}

func (t *transactions) sortedEntries() []*txnEntry {
	var list []*txnEntry
	for _, e := range t.byID {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *txnEntry) int {
		switch {
		case a.id < b.id:
			return -1
		case a.id > b.id:
			return 1
		}
		return 0
	})
	return list
}
