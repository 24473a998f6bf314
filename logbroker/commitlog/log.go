package commitlog

import (
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Log is the log of one partition. Its methods are safe for concurrent use.
// Readers never wait for a sync or for a segment to be rolled.
type Log struct {
	cfg Config
	dir *directory
	log *slog.Logger

	// appends is held by whoever extends the log or changes its segments. It
	// is taken before syncing, and syncing before mu.
	appends sync.Mutex
	dirtyTo int64 // a failed write may have left bytes up to here; under appends

	// syncing is held during a sync. While it is, the active segment stays.
	syncing sync.Mutex
	mark    vfs.File // of the synced end; nil until a sync, and while the log rests
	markBuf [markSize]byte
	rests   bool // nothing was synced since the last Rest

	// mu guards state, and is never held during file work.
	mu    sync.RWMutex
	state *state

	limits         atomic.Pointer[segmentLimits]
	segments       atomic.Pointer[[]*segment] // ascending, the last is active; replaced, never changed
	start          atomic.Int64
	end            atomic.Int64
	syncedEnd      atomic.Int64
	firstUndecided atomic.Int64 // or math.MaxInt64
	failed         atomic.Pointer[error]
	closed         atomic.Bool

	hints  hints
	awake  awakeList
	damage damageList
	// saved is the end of the log as the checkpoint has it, and savedBytes the size
	// of the active segment there. A power loss may leave an older one, of firm or
	// later; that is -1 if it is not known. All under appends.
	saved, savedBytes, firm int64
	checkpoints             checkpoints
	begun                   *Checkpoint // the last that was; nil once it is finished, or too late
	// swapping: the checkpoint is older than the last swap, whose decision is
	// still there; under appends.
	swapping bool
}

// Start is the first offset that may be read.
func (l *Log) Start() int64 { return l.start.Load() }

// End is the offset of the next append.
func (l *Log) End() int64 { return l.end.Load() }

// SyncedEnd is the end of what is durable: the high watermark.
func (l *Log) SyncedEnd() int64 { return l.syncedEnd.Load() }

// LastStable is the end of what is durable and decided: the smaller of
// SyncedEnd and the first offset of the oldest undecided transaction. Load it
// before asking for Aborted.
func (l *Log) LastStable() int64 {
	// The synced end first: a transaction that begins after that moment lies
	// above it. The other way round: 1. no transaction is open. 2. One begins
	// and is synced. 3. The synced end lies past its first batch.
	synced := l.syncedEnd.Load()
	return min(synced, l.firstUndecided.Load())
}

// SizeBytes is the size of all batches.
func (l *Log) SizeBytes() int64 {
	var n int64
	for _, s := range *l.segments.Load() {
		n += s.size.Load()
	}
	return n
}

// Damage lists what could not be read since Open, at most 16 places.
func (l *Log) Damage() []error { return l.damage.list() }

// OpenTransactions lists the transactions without a marker, by first offset.
func (l *Log) OpenTransactions() []OpenTxn {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.state.txns.list) == 0 {
		return nil
	}
	out := make([]OpenTxn, 0, len(l.state.txns.list))
	for _, t := range l.state.txns.list {
		out = append(out, OpenTxn{t.producerID, t.epoch, t.firstOffset, t.decided, t.commit})
	}
	return out
}

// Aborted lists the aborted transactions that have batches or a marker in
// [from, to), by first offset.
func (l *Log) Aborted(from, to int64) []AbortedTxn {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.aborted.overlapping(from, to)
}

// Producers lists the producers that are remembered, by id.
func (l *Log) Producers() []ProducerState {
	l.mu.RLock()
	defer l.mu.RUnlock()
	out := make([]ProducerState, 0, len(l.state.producers))
	for _, p := range l.state.producers {
		out = append(out, p.state())
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ProducerID < out[j].ProducerID })
	return out
}

// EpochEnd answers OffsetForLeaderEpoch: the largest epoch up to the one asked
// for that has batches, and the offset where it ends; for an older one itself, and where
// the log begins; -1, -1 for an epoch that has not come yet, and for none, -1.
func (l *Log) EpochEnd(epoch int32) (epoch2 int32, end int64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return epochEnd(l.state.epochs, l.cfg.LeaderEpoch, epoch, l.start.Load(), l.end.Load())
}

// EpochAt is the leader epoch of the batch that holds an offset; at the end of the
// log it is the present one.
func (l *Log) EpochAt(offset int64) int32 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if offset >= l.end.Load() {
		return l.cfg.LeaderEpoch
	}
	return epochAt(l.state.epochs, l.cfg.LeaderEpoch, offset)
}

// Decide tells that the decision over a transaction is durable: LastStable no
// longer waits for it, and an abort is in the index of aborted transactions on
// return. epoch is the transaction's, or a later one. Where no such
// transaction is open it does nothing.
func (l *Log) Decide(producerID int64, epoch int16, commit bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.decide(producerID, epoch, commit) {
		l.firstUndecided.Store(l.state.txns.firstUndecided())
	}
}

// DeleteTo raises Start, which the caller has recorded durably, and removes
// the segments that lie below it. The active one stays. Only what is durable
// can be deleted: past SyncedEnd it returns ErrOffsetOutOfRange.
func (l *Log) DeleteTo(offset int64) error {
	l.appends.Lock()
	defer l.appends.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if synced := l.syncedEnd.Load(); offset > synced || offset < 0 {
		// A power loss would leave a log that ends before its start.
		return fmt.Errorf("%w: delete to %d, the log is durable up to %d", ErrOffsetOutOfRange, offset, synced)
	}
	if offset > l.start.Load() {
		l.start.Store(offset)
		l.mu.Lock()
		l.state.aborted.dropBelow(offset)
		l.mu.Unlock()
	}
	return l.removeDeleted()
}

// removeDeleted removes the segments below Start. Those whose producers no durable
// checkpoint knows stay until there is one: nobody else would know of them. appends
// is held.
func (l *Log) removeDeleted() error {
	segs, start := *l.segments.Load(), l.start.Load()
	deleted, known := 0, 0
	for deleted < len(segs)-1 && segs[deleted+1].base <= start {
		deleted++
	}
	if deleted == 0 {
		return nil
	}
	if err := l.knowUpTo(segs[deleted].base); err != nil {
		l.log.Warn("checkpoint was not written; deleted segments stay until there is one, which knows their producers", "dir", l.dir.path, "error", err)
	}
	for known < deleted && segs[known+1].base <= l.firm {
		known++
	}
	if known == 0 {
		return nil
	}
	kept := segs[known:]
	l.segments.Store(&kept)
	var errs []error
	for _, s := range segs[:known] {
		errs = append(errs, s.close(), l.dir.removeSegment(s.base))
	}
	return errors.Join(errs...)
}

// knowUpTo makes sure of a durable checkpoint that ends at an offset or later.
func (l *Log) knowUpTo(offset int64) error {
	if offset <= l.firm {
		return nil
	}
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if offset <= l.saved {
		return l.makeFirm()
	}
	if err := l.syncActive(); err != nil {
		return err
	}
	return l.saveCheckpoint()
}

// removeSegment removes a segment, and what belongs to it once it is gone: without its
// seal one that was compacted would count as damaged.
func (d *directory) removeSegment(base int64) error {
	if err := d.remove(logName(base)); err != nil {
		return err
	}
	return errors.Join(d.remove(indexName(base)), d.remove(timeIndexName(base)), d.remove(sealName(base)))
}

// Close syncs, writes the checkpoint that lets the next start read nothing,
// and closes the files. After a failed sync it writes nothing and returns that
// failure. The log is closed in any case.
func (l *Log) Close() error { return l.shut(l.saveAll) }

// Discard closes the files of a log that is deleted, and writes nothing.
func (l *Log) Discard() error { return l.shut(func() error { return nil }) }

// shut closes the log, once, after its last writes, for which all locks are held.
func (l *Log) shut(last func() error) error {
	l.appends.Lock()
	defer l.appends.Unlock()
	if !l.closed.CompareAndSwap(false, true) {
		return nil
	}
	l.syncing.Lock()
	defer l.syncing.Unlock()
	return errors.Join(last(), l.closeFiles())
}

// saveAll syncs, and writes a checkpoint of all that there is.
func (l *Log) saveAll() error {
	err := l.failure()
	if err == nil {
		err = l.syncActive()
	}
	if err == nil && l.saved != l.end.Load() {
		err = l.saveCheckpoint()
	}
	if err == nil {
		l.active().giveBack()
	}
	return err
}

func (l *Log) closeFiles() error {
	var errs []error
	for _, s := range *l.segments.Load() {
		errs = append(errs, s.close())
	}
	l.closeMark()
	return errors.Join(errs...)
}

func (l *Log) failure() error {
	if p := l.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// usable tells why nothing can be written any more.
func (l *Log) usable() error {
	if l.closed.Load() {
		return ErrClosed
	}
	return l.failure()
}

// fail records that a sync failed, for good.
func (l *Log) fail(err error) error {
	err = fmt.Errorf("%w: %w", ErrFailed, err)
	l.failed.CompareAndSwap(nil, &err)
	return l.failure()
}

func (l *Log) active() *segment {
	segs := *l.segments.Load()
	return segs[len(segs)-1]
}

// segmentOf finds the segment that holds an offset at or after the first base.
func (l *Log) segmentOf(offset int64) *segment {
	segs := *l.segments.Load()
	i := sort.Search(len(segs), func(i int) bool { return segs[i].base > offset })
	if i == 0 {
		return nil
	}
	return segs[i-1]
}
