package logbroker

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/levada/levada/internal/planted"
	"github.com/levada/levada/logbroker/commitlog"
	"github.com/levada/levada/logbroker/meta"
	"github.com/levada/levada/logbroker/txn"
)

// errNotWritten is what Kafka's coordinator answers when its log cannot be written: clients
// look for another and retry. errNoID is what it answers when it has no producer id to give.
var (
	errNotWritten = kerr.NotCoordinator
	errNoID       = kerr.CoordinatorLoadInProgress
)

// maxGateTries bounds how often an append looks again after it has registered
// its partition: only a decision in between sends it back.
const maxGateTries = 8

// transactions holds the state of every transactional id and carries out the
// effects that package txn asks for.
type transactions struct {
	b          *Broker
	mu         sync.RWMutex // guards the maps
	byID       map[string]*txnEntry
	byProducer map[int64]*txnEntry
	counter    atomic.Int64 // of the last decision
}

// txnEntry is one transactional id.
type txnEntry struct {
	id string
	// gate is held for reading by who adds to the open transaction, from the
	// check of its state until what it adds is in the page cache or in the
	// database; for writing by who changes the state. So nothing is added to a
	// transaction whose end has begun.
	gate  sync.RWMutex
	state txn.State
	alarm *timer // of the open transaction's time-out; guarded by gate
	gone  bool   // it expired, and is in no map; guarded by gate
}

func (t *transactions) init(b *Broker) {
	t.b, t.byID, t.byProducer = b, map[string]*txnEntry{}, map[int64]*txnEntry{}
}

func (t *transactions) find(id string) *txnEntry {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

func (t *transactions) findProducer(id int64) *txnEntry {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byProducer[id]
}

// findOrAdd returns the entry of an id, a new one if it was never seen.
func (t *transactions) findOrAdd(id string) (*txnEntry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byID[id]; e != nil {
		return e, nil
	}
	if len(t.byID) >= t.b.cfg.Limits.Transactions {
		return nil, kerr.PolicyViolation
	}
	e := &txnEntry{id: id, state: txn.New()}
	t.byID[id] = e
	return e, nil
}

// apply feeds an event to an id, carries out the effects, and calls done with
// the producer to answer with or a Kafka error. It waits for the disk.
func (t *transactions) apply(e *txnEntry, ev txn.Event, done func(txn.Producer, error)) {
	e.gate.Lock()
	ev, err := t.withFresh(e.state, ev)
	if err != nil || e.gone {
		e.gate.Unlock()
		if err == nil {
			err = errNotWritten
		}
		done(txn.NoProducer, err)
		return
	}
	if end, ok := ev.(txn.End); ok {
		end.Producer = t.letIn(e.state, end.Producer)
		if end.Producer.ID == e.state.Producer.ID && t.b.cfg.planted.Acts(planted.LateEnd) {
			end.Producer = e.state.Producer
		}
		ev = end
	}
	next, eff, err := txn.Step(e.state, ev, t.b.now())
	if err == nil && eff.Persist {
		batch := t.b.meta.NewBatch()
		batch.PutTxn(rowOf(e.id, next))
		if t.b.commit(batch) != nil {
			err = errNotWritten
		}
	}
	if err != nil {
		e.gate.Unlock()
		done(txn.NoProducer, err)
		return
	}
	t.setState(e, next)
	e.gate.Unlock()
	if eff.Decide == nil {
		done(eff.Answer, nil)
		return
	}
	t.end(e, next, *eff.Decide, func(p txn.Producer, err error) {
		if err == nil && eff.Again {
			p, err = txn.NoProducer, kerr.ConcurrentTransactions
		}
		done(p, err)
	})
}

// withFresh adds a new producer id to an event that will need one.
func (t *transactions) withFresh(s txn.State, ev txn.Event) (txn.Event, error) {
	if !s.NeedsID() {
		return ev, nil
	}
	err := error(nil)
	take := func() (id int64) {
		if id, err = t.b.pids.take(); err != nil {
			err = errNoID
		}
		return id
	}
	switch e := ev.(type) {
	case txn.Init:
		e.Fresh = take()
		ev = e
	case txn.End:
		e.Fresh = take()
		ev = e
	case txn.Expire:
		e.Fresh = take()
		ev = e
	case txn.PowerLoss:
		e.Fresh = take()
		ev = e
	}
	return ev, err
}

// setState stores a state and keeps the index and the alarm with it. The gate
// is held for writing, or nobody else knows the entry yet.
func (t *transactions) setState(e *txnEntry, s txn.State) {
	if old := e.state.Producer.ID; old != s.Producer.ID || t.findProducer(old) != e {
		t.mu.Lock()
		delete(t.byProducer, old)
		if s.Producer.ID >= 0 {
			t.byProducer[s.Producer.ID] = e
		}
		t.mu.Unlock()
	}
	e.state = s
	if at, ok := s.Deadline(); ok && e.alarm == nil {
		e.alarm = t.b.timers.at(at, func(now time.Time) { t.expire(e, now) })
	}
}

// expire aborts the open transaction if its time is over; else it looks again
// when that will be.
func (t *transactions) expire(e *txnEntry, now time.Time) {
	e.gate.Lock()
	e.alarm = nil
	at, ok := e.state.Deadline()
	if ok && now.Before(at) {
		e.alarm = t.b.timers.at(at, func(now time.Time) { t.expire(e, now) })
		ok = false
	}
	e.gate.Unlock()
	if !ok {
		return
	}
	t.b.log.Info("transaction timed out and is aborted", "transactional_id", e.id)
	t.b.spawn(func() { t.apply(e, txn.Expire{}, func(txn.Producer, error) {}) })
}

// end decides a transaction: its data is made durable if it is a commit, then
// the decision, then the markers are appended. They become durable with the
// next sync of each log; the decision's row stays until then.
func (t *transactions) end(e *txnEntry, s txn.State, d txn.Decision, done func(txn.Producer, error)) {
	row, parts := t.decision(d)
	finish := func(err error) {
		if err == nil {
			err = t.writeDecision(e.id, s, d, row)
		}
		if err != nil {
			done(txn.NoProducer, errNotWritten)
			return
		}
		t.mark(row, parts, 0, true)
		e.gate.Lock()
		next, eff, err := txn.Step(e.state, txn.Decided{}, t.b.now())
		t.setState(e, next)
		e.gate.Unlock()
		done(eff.Answer, err)
	}
	if !d.Commit || t.b.cfg.planted.Acts(planted.DecideEarly) {
		finish(nil)
		return
	}
	t.syncAll(row, parts, finish)
}

// decision is the row of a decision, with the partitions that still exist.
func (t *transactions) decision(d txn.Decision) (meta.Decision, []*partition) {
	row := meta.Decision{
		ProducerID: d.Producer.ID, Epoch: d.Producer.Epoch, Counter: t.counter.Add(1),
		Commit: d.Commit, MarkerEpoch: d.MarkerEpoch,
	}
	var parts []*partition
	for _, id := range d.Partitions {
		if p := t.b.topics.byMetaID(id2meta(id)); p != nil {
			row.Partitions = append(row.Partitions, meta.DecisionPartition{Partition: p.id(), End: p.log.End()})
			parts = append(parts, p)
		}
	}
	return row, parts
}

// syncAll syncs the partitions at once and calls done when all are durable. A
// partition whose topic is deleted meanwhile has nothing left to lose.
func (t *transactions) syncAll(row meta.Decision, parts []*partition, done func(error)) {
	var failed atomic.Pointer[error]
	var left atomic.Int64
	left.Store(int64(len(parts)) + 1)
	one := func(err error) {
		if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			failed.Store(&err)
		}
		if left.Add(-1) > 0 {
			return
		}
		if p := failed.Load(); p != nil {
			done(*p)
			return
		}
		done(nil)
	}
	for i, p := range parts {
		p.syncTo(row.Partitions[i].End, one)
	}
	one(nil)
}

func (t *transactions) writeDecision(id string, s txn.State, d txn.Decision, row meta.Decision) error {
	t.b.topics.offsets.RLock() // a pending offset whose topic is deleted does not become a committed one
	defer t.b.topics.offsets.RUnlock()
	batch := t.b.meta.NewBatch()
	batch.PutDecision(row)
	batch.PutTxn(rowOf(id, s.Completed()))
	batch.DecideOffsets(d.Producer.ID, d.Commit)
	return t.b.commit(batch)
}

// mark makes a durable decision visible and appends its markers. Its row is deleted
// once they are durable in every partition; where some are offline it stays, for they
// will need it. A partition to which nothing was written gets a marker too, as with
// Kafka, the first time: a start cannot tell that from one that has its marker.
func (t *transactions) mark(row meta.Decision, parts []*partition, offline int, first bool) {
	var left atomic.Int64
	left.Store(int64(len(parts)+offline) + 1)
	one := func(err error) {
		if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			left.Store(int64(len(parts)) + 2) // never forgotten: some marker may be lost
			return
		}
		if left.Add(-1) == 0 {
			t.forget(row)
		}
	}
	if t.b.cfg.planted.Acts(planted.ForgetEarly) {
		t.forget(row)
	}
	for i, p := range parts {
		switch open, another := p.isOpen(row, row.Partitions[i].End); {
		case open:
			p.log.Decide(row.ProducerID, row.Epoch, row.Commit)
			t.appendMarker(row, p, one)
		case first && !another:
			t.appendAlone(row, p, one)
		default:
			one(nil)
			continue
		}
		p.notify()
	}
	one(nil)
}

// markerRetry is the time until a marker that could not be written is tried
// again: the disk is full, and only its producer waits.
const markerRetry = 200 * time.Millisecond

// appendMarker writes a marker and calls done when it is durable.
func (t *transactions) appendMarker(row meta.Decision, p *partition, done func(error)) {
	offset, appended, err := p.log.AppendMarker(t.marker(row))
	switch {
	case errors.Is(err, syscall.ENOSPC) && !p.gone.Load() && t.b.failure() == nil:
		t.b.log.Warn("a marker was not written and is tried again", "topic", p.topic.name, "partition", p.index, "error", err)
		t.b.timers.at(t.b.now().Add(markerRetry), func(time.Time) {
			t.b.spawn(func() {
				t.appendMarker(row, p, done)
				p.notify()
			})
		})
	case err != nil && !p.gone.Load():
		// The decision holds without the marker; the next start writes it.
		t.b.log.Warn("a marker was not written", "topic", p.topic.name, "partition", p.index, "error", err)
		done(err)
	case appended:
		p.whenSynced(offset+1, done)
	default:
		p.whenSynced(p.log.End(), done)
	}
}

func (t *transactions) marker(row meta.Decision) commitlog.Marker {
	return commitlog.Marker{ProducerID: row.ProducerID, Epoch: row.MarkerEpoch, Commit: row.Commit, CoordinatorEpoch: t.b.epoch}
}

// markerBytes is the size of a marker.
const markerBytes = 78

// appendAlone writes the marker of a transaction that wrote nothing here. Nothing
// depends on it: where it cannot be written, or comes late, there is none. What is left
// of a full disk is not for it.
func (t *transactions) appendAlone(row meta.Decision, p *partition, done func(error)) {
	if t.b.space.forRecords(markerBytes) != nil {
		done(nil)
		return
	}
	m := t.marker(row)
	m.Alone = true
	offset, _, err := p.log.AppendMarker(m)
	if err != nil {
		done(nil)
		return
	}
	p.whenSynced(offset+1, done)
}

// forget deletes a decision whose markers are durable. The deletion need not
// be: a decision found again is carried out again, and finds nothing open.
func (t *transactions) forget(row meta.Decision) {
	if t.b.run.closed.Load() {
		return
	}
	batch := t.b.meta.NewBatch()
	batch.DeleteDecision(row)
	if err := t.b.meta.Commit(batch, t.b.cfg.planted.Acts(planted.ForgetEarly)); err != nil {
		t.b.log.Warn("decision was not deleted", "producer_id", row.ProducerID, "error", err)
	}
}

// isOpen tells whether the log shows the decided transaction open, or another of its
// producer: it is of its epoch, and begun before end. End alone would not do: a power loss
// may take the data of an aborted transaction, and a later one, of a newer
// epoch, then begins below it. The epoch alone would not either: producers of
// the older protocol keep theirs.
func (p *partition) isOpen(row meta.Decision, end int64) (it, another bool) {
	for _, open := range p.log.OpenTransactions() {
		if open.ProducerID == row.ProducerID {
			it = open.Epoch == row.Epoch && open.FirstOffset < end
			return it, !it
		}
	}
	return false, false
}

// keep adds to a batch, which deletes something, the rows of the open transactions
// that touch it: what else tells of them after a restart is deleted. They do not end
// before release is called, when the batch is committed.
func (t *transactions) keep(batch *meta.Batch, touches func(txn.State) bool) (release func()) {
	var held []*txnEntry
	for _, e := range t.all() {
		e.gate.RLock()
		if e.gone || e.state.Phase != txn.Ongoing || !touches(e.state) {
			e.gate.RUnlock()
			continue
		}
		batch.PutTxn(rowOf(e.id, e.state))
		held = append(held, e)
	}
	return func() {
		for _, e := range held {
			e.gate.RUnlock()
		}
	}
}

// enter lets a transactional append in: on return without an error the gate
// of the entry is held for reading, and the partition belongs to the open
// transaction. With implicit it is added if need be (KIP-890); without, it
// must have been registered. The producer must be that of id, unless id is nil: who
// may write under one id may not write into the transactions of another.
func (t *transactions) enter(id *string, producer txn.Producer, p meta.Partition, implicit bool) (*txnEntry, error) {
	if id != nil && *id == "" {
		return nil, kerr.InvalidRequest
	}
	e := t.findProducer(producer.ID)
	if e == nil || id != nil && *id != e.id {
		return nil, kerr.InvalidProducerIDMapping
	}
	part := txn.Partition{Topic: p.Topic, Index: p.Index}
	for range maxGateTries {
		e.gate.RLock()
		producer = t.letIn(e.state, producer)
		if e.state.Phase == txn.Ongoing && e.state.Producer == producer {
			if _, ok := e.state.Partitions[part]; ok {
				return e, nil
			}
		}
		e.gate.RUnlock()
		e.gate.Lock()
		if e.gone {
			e.gate.Unlock()
			return nil, kerr.InvalidProducerIDMapping
		}
		next, _, err := txn.Step(e.state, txn.Add{Producer: producer, Partitions: []txn.Partition{part}, Implicit: true}, t.b.now())
		if err == nil && !implicit {
			err = kerr.TransactionAbortable
		}
		if err != nil {
			e.gate.Unlock()
			if errors.Is(err, kerr.ProducerFenced) {
				err = kerr.InvalidProducerEpoch // as Produce calls it
			}
			return nil, err
		}
		t.setState(e, next)
		e.gate.Unlock()
	}
	return nil, kerr.ConcurrentTransactions
}

// letIn is the producer that a request is served as: the one that sent it, unless
// a fault is planted that takes a fenced one for the one that fenced it.
func (t *transactions) letIn(s txn.State, p txn.Producer) txn.Producer {
	if p.ID == s.Producer.ID && p.Epoch < s.Producer.Epoch && p != s.Last && t.b.cfg.planted.Acts(planted.IgnoreEpoch) {
		return s.Producer
	}
	return p
}
