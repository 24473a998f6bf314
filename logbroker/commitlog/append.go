package commitlog

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/levada/levada/internal/planted"
	"github.com/levada/levada/internal/recordbatch"
)

// AppendResult says where a batch lies.
type AppendResult struct {
	BaseOffset int64
	LastOffset int64
	// LogAppendTimeMs is the batch's timestamp if it is that of the append, or if the
	// batch is a duplicate, as Kafka has it; otherwise -1.
	LogAppendTimeMs int64
	// Duplicate: the batch had been appended before, and lies there. It may not
	// be synced yet.
	Duplicate bool
}

// Append writes a batch to the page cache; Sync makes it durable. It sets base
// offset and leader epoch in b and keeps no reference to it. The caller has
// verified the CRC. Errors: ErrInvalidBatch, ErrOutOfOrderSequence,
// ErrInvalidProducerEpoch, ErrInvalidTxnState, ErrConcurrentTransactions, what
// check returns, ErrFailed, ErrClosed, or that of the file system, after which
// nothing of the batch is visible and the next append is tried anew.
func (l *Log) Append(b recordbatch.Batch, check TxnCheck) (AppendResult, error) {
	if err := checkClientBatch(b); err != nil {
		return AppendResult{}, err
	}
	l.appends.Lock()
	defer l.appends.Unlock()
	if err := l.usable(); err != nil {
		return AppendResult{}, err
	}
	l.mu.RLock()
	first, duplicate, err := l.state.check(b)
	opens := l.state.opens(b)
	l.mu.RUnlock()
	if errors.Is(err, ErrInvalidProducerEpoch) && l.cfg.Planted.Acts(planted.IgnoreEpoch) {
		err = nil
	}
	if err != nil {
		return AppendResult{}, err
	}
	appendTime := int64(-1)
	if duplicate && !l.cfg.Planted.Acts(planted.AdmitDuplicate) {
		return AppendResult{first.baseOffset, first.baseOffset + int64(first.lastDelta), first.timestamp, true}, nil
	}
	if check != nil && b.IsTransactional() {
		if err := check(opens); err != nil {
			return AppendResult{}, err
		}
	}
	if l.cfg.Planted.Acts(planted.ReuseOffset) {
		l.goBack(b)
	}
	if err := l.write(b); err != nil {
		return AppendResult{}, err
	}
	if b.IsLogAppendTime() {
		appendTime = b.MaxTimestamp()
	}
	return AppendResult{b.BaseOffset(), b.LastOffset(), appendTime, false}, nil
}

func checkClientBatch(b recordbatch.Batch) error {
	switch {
	case len(b) < recordbatch.HeaderSize || b.SizeBytes() != len(b) || b[16] != recordbatch.Magic:
		return fmt.Errorf("%w: %d bytes are not one batch", ErrInvalidBatch, len(b))
	case len(b) > maxSegmentBytes:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrInvalidBatch, len(b), maxSegmentBytes)
	case b.IsControl():
		return fmt.Errorf("%w: control batches are the broker's", ErrInvalidBatch)
	case b.Count() < 1 || b.Count()-1 != b.LastOffsetDelta():
		return fmt.Errorf("%w: %d records, last offset delta %d", ErrInvalidBatch, b.Count(), b.LastOffsetDelta())
	case b.ProducerID() < 0 && b.IsTransactional():
		return fmt.Errorf("%w: transactional without a producer id", ErrInvalidBatch)
	case b.ProducerID() >= 0 && (b.ProducerEpoch() < 0 || b.BaseSequence() < 0):
		return fmt.Errorf("%w: producer %d with epoch %d, sequence %d", ErrInvalidBatch, b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
	}
	return nil
}

// ExpireProducers forgets producers that have written nothing while it was called
// more than the given number of times (Kafka's producer.id.expiration.ms); one
// with an open transaction stays. What a forgotten producer writes next may have
// any sequence number. It returns how many were forgotten.
func (l *Log) ExpireProducers(sweeps int64) int {
	l.appends.Lock()
	defer l.appends.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.expire(sweeps)
}

// Marker is how a transaction ended.
type Marker struct {
	ProducerID int64
	// Epoch is the transaction's or, where the producer's epoch is bumped with the
	// marker (KIP-890), the new one.
	Epoch            int16
	Commit           bool
	CoordinatorEpoch int32
	// Alone appends it also where no transaction of the producer is open.
	Alone bool
	// Sent says that a client sends it: it may come late, from a coordinator that
	// another has followed.
	Sent bool
	// Bumped says that the epoch is a new one: that of the open transaction is refused.
	Bumped bool
}

// AppendMarker ends the producer's transaction in this log. If none is open here
// nothing is appended, unless the marker may stand alone. It is not synced. Errors
// are ErrInvalidProducerEpoch, ErrInvalidTxnState, ErrCoordinatorFenced and what
// Append returns of the disk.
func (l *Log) AppendMarker(m Marker) (offset int64, appended bool, err error) {
	l.appends.Lock()
	defer l.appends.Unlock()
	if err := l.usable(); err != nil {
		return -1, false, err
	}
	l.mu.RLock()
	open, err := l.state.checkMarker(m)
	l.mu.RUnlock()
	if err != nil || !open && !m.Alone {
		return -1, false, err
	}
	b := recordbatch.ControlBatch(m.ProducerID, m.Epoch, m.Commit, m.CoordinatorEpoch, l.cfg.Now().UnixMilli())
	if l.cfg.Planted.Acts(planted.DropMarker) {
		return l.pretend(b)
	}
	if err := l.write(b); err != nil {
		return -1, false, err
	}
	return b.BaseOffset(), true, nil
}

// checkMarker tells whether a marker ends a transaction, and refuses one that comes late.
func (s *state) checkMarker(m Marker) (open bool, err error) {
	p := s.producers[m.ProducerID]
	switch open = p != nil && p.txn != nil; {
	case p == nil || !open && !m.Alone:
		return false, nil
	case m.Epoch < p.epoch || open && m.Bumped && m.Epoch == p.epoch:
		return open, fmt.Errorf("%w: producer %d has epoch %d, the marker %d", ErrInvalidProducerEpoch, m.ProducerID, p.epoch, m.Epoch)
	case m.Sent && m.CoordinatorEpoch < p.coordinatorEpoch:
		return open, fmt.Errorf("%w: a coordinator of epoch %d has written a marker of producer %d, this one is of %d", ErrCoordinatorFenced, p.coordinatorEpoch, m.ProducerID, m.CoordinatorEpoch)
	case open && p.txn.decided && p.txn.commit != m.Commit:
		return open, fmt.Errorf("%w: producer %d: the decision was commit=%t, the marker says commit=%t", ErrInvalidTxnState, m.ProducerID, p.txn.commit, m.Commit)
	}
	return open, nil
}

// write places a batch at the end and makes it visible. appends is held.
func (l *Log) write(b recordbatch.Batch) error {
	base := l.end.Load()
	b.SetBaseOffset(base)
	b.SetLeaderEpoch(l.cfg.LeaderEpoch)
	seg, err := l.roomFor(b)
	if err != nil {
		return err
	}
	if err := l.wipe(); err != nil {
		return err
	}
	position := seg.size.Load()
	if !b.IsControl() { // a marker takes what is left, and no more
		seg.reserve(position, position+int64(len(b)), l.cfg.MayReserve)
	}
	if _, err := seg.file.WriteAt(b, position); err != nil {
		l.dirtyTo = position + int64(len(b))
		return fmt.Errorf("commitlog: append to %s at byte %d: %w", seg.path(), position, err)
	}
	// The transaction before the end: LastStable must not pass it. The size
	// before the end: readers go as far as the end says.
	l.mu.Lock()
	err = l.state.apply(b)
	l.firstUndecided.Store(l.state.txns.firstUndecided())
	l.mu.Unlock()
	if err != nil {
		l.dirtyTo = position + int64(len(b))
		return fmt.Errorf("%w: %w", ErrInvalidBatch, err)
	}
	seg.appended.add(b, position)
	seg.extend(b, position)
	l.end.Store(b.NextOffset())
	return nil
}

// wipe overwrites with zeros what a failed write may have left. Otherwise the
// next batch, if it is shorter, would be followed by the end of the failed one,
// whose bytes a client chose, and a recovery might take them for a batch.
func (l *Log) wipe() error {
	if l.dirtyTo == 0 {
		return nil
	}
	seg := l.active()
	info, err := seg.file.Stat()
	if err != nil {
		return fmt.Errorf("commitlog: %s: %w", seg.path(), err)
	}
	zeros := make([]byte, min(l.dirtyTo-seg.size.Load(), 64<<10))
	end := min(l.dirtyTo, info.Size())
	for at := seg.size.Load(); at < end; at += int64(len(zeros)) {
		n := min(int64(len(zeros)), end-at)
		if _, err := seg.file.WriteAt(zeros[:n], at); err != nil {
			return fmt.Errorf("commitlog: clear what a failed append left in %s at byte %d: %w", seg.path(), at, err)
		}
	}
	l.dirtyTo = 0
	return nil
}

// roomFor gives the segment that b goes to: the active one, or a new one.
func (l *Log) roomFor(b recordbatch.Batch) (*segment, error) {
	seg := l.active()
	size := seg.size.Load()
	relative := b.LastOffset() - seg.base
	limits := l.limits.Load()
	if size == 0 || (size+int64(len(b)) <= limits.sizeBytes && relative <= math.MaxInt32 && !seg.aged(b, limits.ageMs)) {
		return seg, nil
	}
	if err := l.roll(); err != nil {
		return nil, err
	}
	return l.active(), nil
}

// roll seals the active segment, synced, and begins the next. A crash between
// any two steps leaves a log that ends with the sealed segment or with an
// empty one after it.
func (l *Log) roll() error {
	sealed, wiped := l.active(), l.dirtyTo > 0
	if err := l.wipe(); err != nil {
		return err
	}
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if wiped {
		// What a power loss leaves behind the last batch of a sealed segment is damage.
		if err := sealed.file.SyncData(); err != nil {
			return l.fail(fmt.Errorf("%s: %w", sealed.path(), err))
		}
	}
	if err := l.syncActive(); err != nil {
		return err
	}
	sealed.giveBack()
	next := newSegment(l.dir, l.end.Load(), l.cfg.IndexIntervalBytes)
	next.index = newIndex(next.base, l.cfg.IndexIntervalBytes)
	if err := next.open(true); err != nil {
		return err
	}
	if err := l.dir.sync(); err != nil {
		return l.fail(errors.Join(err, next.close()))
	}
	segs := append(slices.Clone(*l.segments.Load()), next)
	l.segments.Store(&segs)
	l.savedBytes -= sealed.size.Load() // what of it is not saved counts, where that fails
	if err := l.saveCheckpoint(); err != nil {
		l.log.Warn("checkpoint was not written; the next start reads more", "error", err)
	}
	sealed.unloadIndex()
	l.cfg.Cache.written(sealed, sealed.size.Load(), true)
	l.wake(sealed)
	return nil
}

// Sync makes durable all that was appended before the call, and advances
// SyncedEnd. Concurrent calls share one sync where they can. A failure is
// final: every later call returns it, and the log accepts no append.
func (l *Log) Sync() error {
	target := l.end.Load()
	if l.syncedEnd.Load() >= target {
		return l.usable()
	}
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if l.syncedEnd.Load() >= target {
		return nil // a sync that began after the call took it along
	}
	return l.syncActive()
}

// Syncing is a sync of the log that is done by other means than its own.
type Syncing struct {
	l    *Log
	seg  *segment
	end  int64
	size int64
}

// BeginSync begins a sync that the caller does: of the whole file system, for many
// logs at once. It returns nil if another sync is under way, or nothing is to be
// synced. Until End or Cancel no other sync of the log begins.
func (l *Log) BeginSync() *Syncing {
	if !l.syncing.TryLock() {
		return nil
	}
	end := l.end.Load()
	if l.usable() != nil || end == l.syncedEnd.Load() {
		l.syncing.Unlock()
		return nil
	}
	seg := l.active()
	return &Syncing{l, seg, end, seg.size.Load()}
}

// End takes note that all that was appended before BeginSync is durable, or, as
// with Sync, that the log has failed for good.
func (s *Syncing) End(err error) error {
	defer s.l.syncing.Unlock()
	if err != nil {
		return s.l.fail(fmt.Errorf("%s: %w", s.seg.path(), err))
	}
	s.l.synced(s.seg, s.end, s.size)
	return nil
}

// Cancel ends a sync that was not done.
func (s *Syncing) Cancel() { s.l.syncing.Unlock() }

// synced takes note of what is durable. syncing is held.
func (l *Log) synced(seg *segment, end, size int64) {
	l.syncedEnd.Store(end)
	l.writeMark(end)
	l.handed(seg, size)
}

// syncActive syncs the active segment; the sealed ones are. syncing is held.
func (l *Log) syncActive() error {
	if err := l.failure(); err != nil {
		return err
	}
	end := l.end.Load()
	if end == l.syncedEnd.Load() {
		return nil
	}
	seg := l.active()
	size := seg.size.Load()
	if !l.cfg.Planted.Acts(planted.SkipSync) {
		if err := seg.file.SyncData(); err != nil {
			return l.fail(fmt.Errorf("%s: %w", seg.path(), err))
		}
	}
	l.synced(seg, end, size)
	return nil
}
