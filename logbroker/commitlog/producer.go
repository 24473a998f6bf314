package commitlog

import (
	"fmt"
	"math"

	"github.com/levada/levada/internal/recordbatch"
)

// rememberedBatches is how many batches of a producer are known again: as many
// as a client has in flight.
const rememberedBatches = 5

// ProducerState is what the log knows of one producer.
type ProducerState struct {
	ProducerID       int64
	Epoch            int16
	LastSequence     int32 // -1: none under this epoch
	LastTimestamp    int64 // ms, of the last batch or marker
	CoordinatorEpoch int32 // of the last marker; -1: none
	TxnFirstOffset   int64 // of the transaction without a marker; -1: none
}

// batchMeta is what is remembered of an appended batch.
type batchMeta struct {
	baseSequence int32
	lastDelta    int32
	baseOffset   int64
	timestamp    int64
}

func (m batchMeta) lastSequence() int32 { return recordbatch.AddSequence(m.baseSequence, m.lastDelta) }

// producer is one producer. The list of all, by the offset of what they
// appended last, is threaded through it.
type producer struct {
	id               int64
	epoch            int16
	known            int8 // of batches, the newest last
	batches          [rememberedBatches]batchMeta
	timestamp        int64
	coordinatorEpoch int32
	txn              *openTxn
	seen             int64 // the sweep before it appended last
	older, newer     *producer
}

func (p *producer) state() ProducerState {
	s := ProducerState{
		ProducerID: p.id, Epoch: p.epoch, LastSequence: -1, LastTimestamp: p.timestamp,
		CoordinatorEpoch: p.coordinatorEpoch, TxnFirstOffset: -1,
	}
	if p.known > 0 {
		s.LastSequence = p.batches[p.known-1].lastSequence()
	}
	if p.txn != nil {
		s.TxnFirstOffset = p.txn.firstOffset
	}
	return s
}

func (p *producer) remember(m batchMeta) {
	if p.known == rememberedBatches {
		copy(p.batches[:], p.batches[1:])
		p.known--
	}
	p.batches[p.known] = m
	p.known++
}

// duplicate finds the batch among those remembered.
func (p *producer) duplicate(b recordbatch.Batch) (batchMeta, bool) {
	if p.epoch != b.ProducerEpoch() {
		return batchMeta{}, false
	}
	for _, m := range p.batches[:p.known] {
		if m.baseSequence == b.BaseSequence() && m.lastDelta == b.LastOffsetDelta() {
			return m, true
		}
	}
	return batchMeta{}, false
}

// state is what the batches of a log say beside their records: a function of
// them in order, but for decisions.
type state struct {
	producers      map[int64]*producer
	oldest, newest *producer
	limit          int
	sweeps         int64
	txns           openTxns
	aborted        abortedIndex
	epochs         []epochStart
}

func newState(limit int) *state {
	return &state{producers: map[int64]*producer{}, limit: limit}
}

// leaderEpoch is that of the last batch, or 0.
func (s *state) leaderEpoch() int32 {
	if n := len(s.epochs); n > 0 {
		return s.epochs[n-1].epoch
	}
	return 0
}

// check tells whether a batch of a client may be appended. A duplicate is
// returned as it was appended first.
func (s *state) check(b recordbatch.Batch) (first batchMeta, duplicate bool, err error) {
	id := b.ProducerID()
	if id < 0 {
		return batchMeta{}, false, nil
	}
	p := s.producers[id]
	if p == nil {
		// Its batches may have been deleted, or it was forgotten: any sequence
		// may follow.
		return batchMeta{}, false, nil
	}
	if b.ProducerEpoch() < p.epoch {
		return batchMeta{}, false, fmt.Errorf("%w: producer %d has epoch %d, not %d", ErrInvalidProducerEpoch, id, p.epoch, b.ProducerEpoch())
	}
	if m, ok := p.duplicate(b); ok {
		return m, true, nil
	}
	expected := int32(0)
	if b.ProducerEpoch() == p.epoch && p.known > 0 {
		expected = recordbatch.AddSequence(p.batches[p.known-1].lastSequence(), 1)
	}
	if b.BaseSequence() != expected {
		return batchMeta{}, false, fmt.Errorf("%w: producer %d epoch %d: sequence %d, expected %d",
			ErrOutOfOrderSequence, id, b.ProducerEpoch(), b.BaseSequence(), expected)
	}
	if t := p.txn; t != nil {
		switch {
		case t.decided:
			return batchMeta{}, false, fmt.Errorf("%w: producer %d", ErrConcurrentTransactions, id)
		case !b.IsTransactional() || b.ProducerEpoch() != t.epoch:
			return batchMeta{}, false, fmt.Errorf("%w: producer %d has a transaction open since offset %d under epoch %d",
				ErrInvalidTxnState, id, t.firstOffset, t.epoch)
		}
	}
	return batchMeta{}, false, nil
}

// opens tells whether the batch would begin a transaction here.
func (s *state) opens(b recordbatch.Batch) bool {
	p := s.producers[b.ProducerID()]
	return b.IsTransactional() && (p == nil || p.txn == nil)
}

// apply takes the next batch of the log into account. It fails only if a
// control batch cannot be read.
func (s *state) apply(b recordbatch.Batch) error {
	if n := len(s.epochs); n == 0 || s.epochs[n-1].epoch < b.LeaderEpoch() {
		s.epochs = append(s.epochs, epochStart{b.LeaderEpoch(), b.BaseOffset()})
	}
	if b.ProducerID() < 0 {
		return nil
	}
	if b.IsControl() {
		m, err := recordbatch.ParseMarker(b)
		if err != nil {
			return err
		}
		s.applyMarker(b, m)
		return nil
	}
	p := s.touch(b.ProducerID(), b.ProducerEpoch())
	if b.ProducerEpoch() != p.epoch {
		p.epoch, p.known = b.ProducerEpoch(), 0
	}
	p.timestamp = b.MaxTimestamp()
	p.remember(batchMeta{b.BaseSequence(), b.LastOffsetDelta(), b.BaseOffset(), b.MaxTimestamp()})
	if b.IsTransactional() && p.txn == nil {
		p.txn = &openTxn{producerID: p.id, epoch: p.epoch, firstOffset: b.BaseOffset()}
		s.txns.begin(p.txn)
	}
	s.evict()
	return nil
}

func (s *state) applyMarker(b recordbatch.Batch, m recordbatch.Marker) {
	p := s.touch(b.ProducerID(), b.ProducerEpoch())
	if b.ProducerEpoch() != p.epoch {
		p.epoch, p.known = b.ProducerEpoch(), 0
	}
	p.timestamp, p.coordinatorEpoch = b.MaxTimestamp(), m.CoordinatorEpoch
	if t := p.txn; t != nil {
		p.txn = nil
		s.txns.end(t)
		if !m.Commit {
			s.aborted.put(AbortedTxn{ProducerID: p.id, FirstOffset: t.firstOffset, LastOffset: b.LastOffset()})
		}
	}
	s.evict()
}

// decide marks the open transaction of a producer as decided.
func (s *state) decide(producerID int64, epoch int16, commit bool) bool {
	p := s.producers[producerID]
	if p == nil || p.txn == nil || p.txn.decided || p.txn.epoch > epoch {
		return false
	}
	p.txn.decided, p.txn.commit = true, commit
	if !commit {
		s.aborted.put(AbortedTxn{ProducerID: producerID, FirstOffset: p.txn.firstOffset, LastOffset: math.MaxInt64})
	}
	return true
}

// touch finds or adds a producer and makes it the newest.
func (s *state) touch(id int64, epoch int16) *producer {
	p := s.producers[id]
	if p == nil {
		p = &producer{id: id, epoch: epoch, coordinatorEpoch: -1}
		s.producers[id] = p
	} else {
		s.unlink(p)
	}
	p.seen = s.sweeps
	p.older, p.newer = s.newest, nil
	if s.newest != nil {
		s.newest.newer = p
	} else {
		s.oldest = p
	}
	s.newest = p
	return p
}

func (s *state) unlink(p *producer) {
	if p.older != nil {
		p.older.newer = p.newer
	} else {
		s.oldest = p.newer
	}
	if p.newer != nil {
		p.newer.older = p.older
	} else {
		s.newest = p.older
	}
}

// expire begins another sweep and forgets the producers without a transaction that
// have not written since the given number of sweeps before.
func (s *state) expire(sweeps int64) (forgotten int) {
	s.sweeps++
	for p := s.oldest; p != nil && s.sweeps-p.seen > sweeps; {
		next := p.newer
		if p.txn == nil {
			s.unlink(p)
			delete(s.producers, p.id)
			forgotten++
		}
		p = next
	}
	return forgotten
}

// evict forgets the producers that have not written for longest. The choice
// depends on the log alone, so that every replay makes the same.
func (s *state) evict() {
	for p := s.oldest; p != nil && len(s.producers)-len(s.txns.list) > s.limit; {
		next := p.newer
		if p.txn == nil {
			s.unlink(p)
			delete(s.producers, p.id)
		}
		p = next
	}
}
