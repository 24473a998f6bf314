package logbroker

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker/commitlog"
	"github.com/levada/levada/logbroker/meta"
)

const (
	// waitedSyncDelay is how long unsynced data is kept from a fetch that
	// waits for it; idleSyncDelay from one that may come.
	waitedSyncDelay = 50 * time.Millisecond
	idleSyncDelay   = time.Second
	// spread is 2^32 by the golden ratio: multiples of it lie far from each other, modulo
	// 2^32, however many there are.
	spread = 0x9E3779B9
)

// partition is one partition: its log, and who waits for it.
type partition struct {
	broker *Broker
	topic  *topic
	index  int32
	log    *commitlog.Log // nil if it could not be opened: see damage
	damage error
	unmade bool // it could not be opened, and is not known to have had a first segment

	// starting is held by whoever raises the log start, from looking at it until it
	// is written and in force: the row that is written last must be the largest.
	starting sync.Mutex

	mu      sync.Mutex // guards what follows
	waiters []syncWaiter
	syncing bool // a sync is in flight; it looks at waiters when it is done
	late    *timer

	// cleaning is held while the log is cleaned, which a deletion waits for.
	cleaning sync.Mutex

	unsynced atomic.Int64 // bytes since the last piece for the disk, or sync, from turn on
	watchers atomic.Pointer[[]*watcher]
	gone     atomic.Bool // the topic was deleted
	refusing atomic.Bool // the last record could not be written, which was said
}

// syncWaiter is called when the log is synced up to end. A lazy one is content
// with the next sync there is.
type syncWaiter struct {
	end  int64
	lazy bool
	long bool // fn may take a while
	fn   func(error)
}

// watcher is called when the high watermark or the last stable offset of the
// partition may have advanced.
type watcher struct {
	fn func()
	// committed: it reads committed records only, so a sync helps it only up
	// to the first open transaction.
	committed bool
}

func (p *partition) id() meta.Partition { return meta.Partition{Topic: p.topic.id, Index: p.index} }

// append writes a batch to the log. That the disk refuses it is said once, until it
// takes one again: clients only try again.
func (p *partition) append(batch recordbatch.Batch) (commitlog.AppendResult, error) {
	result, err := p.log.Append(batch, nil)
	if err == nil && p.unsynced.Add(int64(len(batch))) >= earlySyncBytes {
		p.early()
	}
	switch {
	case err == nil && p.refusing.Load() && p.refusing.CompareAndSwap(true, false):
		p.broker.log.Warn("records can be written again", "topic", p.topic.name, "partition", p.index)
	case err != nil && errorCode(err) == kerr.KafkaStorageError.Code && p.broker.failure() == nil && p.refusing.CompareAndSwap(false, true):
		p.broker.log.Error("records cannot be written", "topic", p.topic.name, "partition", p.index, "error", err)
	}
	return result, err
}

// turn is where unsynced begins. Partitions that are written in turn, and synced at once,
// would give the disk their pieces at once, too.
func (p *partition) turn() int64 {
	if p.broker.cfg.Fsync != FsyncOS {
		return 0
	}
	return int64((binary.BigEndian.Uint32(p.topic.id[:])+uint32(p.index))*spread) * earlySyncBytes >> 32
}

// early begins to write to the disk what nobody waits for yet. A sync does that too, and
// ties a processor up until the disk is done.
func (p *partition) early() {
	if p.broker.cfg.Fsync == FsyncOS && p.waitingDelay() == idleSyncDelay {
		p.unsynced.Add(-earlySyncBytes) // a larger batch leaves more, and the next is early
		if p.broker.outflow.give(p) {
			return
		}
	}
	p.sync()
}

// syncTo calls fn once everything below end is durable. One sync is in flight
// for a log at any time; the next one takes along all that wait by then.
func (p *partition) syncTo(end int64, fn func(error)) {
	if p.awaitSync(syncWaiter{end: end, long: true, fn: fn}) {
		p.broker.pulse.rests()
		p.sync()
	}
}

// awaitSync calls w.fn once everything below w.end is durable. It tells whether it is not
// yet; then a sync has to begin.
func (p *partition) awaitSync(w syncWaiter) bool {
	if p.log.SyncedEnd() >= w.end {
		w.fn(nil)
		return false
	}
	p.mu.Lock()
	p.waiters = append(p.waiters, w)
	p.mu.Unlock()
	return true
}

// whenSynced calls fn once everything below end is durable, without asking for
// a sync before the idle one.
func (p *partition) whenSynced(end int64, fn func(error)) {
	if p.log.SyncedEnd() >= end {
		fn(nil)
		return
	}
	p.mu.Lock()
	p.waiters = append(p.waiters, syncWaiter{end: end, lazy: true, long: true, fn: fn})
	p.mu.Unlock()
	p.syncLater()
}

// syncAlone syncs the log for who waits, once a sync has begun, by mayBegin. It calls done when
// the disk is, and begins the next sync for those that have come since before it tells anybody.
func (p *partition) syncAlone(done func(), long func(func())) {
	p.unsynced.Store(p.turn())
	err := p.log.Sync()
	done()
	ended, more := p.endSync(err)
	if more {
		p.broker.syncer.add(p)
	}
	ended.tell(long)
}

// endedSync is a sync of a log that has ended, and who waited for it.
type endedSync struct {
	p     *partition
	ready []syncWaiter
	err   error
}

// endSync takes note of a sync that ended with err, and tells whether others wait that have
// come since: then the next has begun.
func (p *partition) endSync(err error) (ended endedSync, more bool) {
	err = p.broker.synced(p, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	ready, more := p.takeReady(err)
	p.syncing = more
	return endedSync{p, ready, err}, more
}

// tell tells those who waited, and who watches; long does what may take a while.
func (s endedSync) tell(long func(func())) {
	var slow []syncWaiter
	for _, w := range s.ready {
		if w.long {
			slow = append(slow, w)
		} else {
			w.fn(s.err)
		}
	}
	if ws := s.p.watchers.Load(); len(slow) == 0 && (ws == nil || len(*ws) == 0) {
		return
	}
	long(func() {
		for _, w := range slow {
			w.fn(s.err)
		}
		s.p.notify()
	})
}

// takeReady removes the waiters that are served, all if the sync failed, and
// tells whether one that is not lazy is left. p.mu is held.
func (p *partition) takeReady(err error) (ready []syncWaiter, more bool) {
	synced := p.log.SyncedEnd()
	kept := p.waiters[:0]
	for _, w := range p.waiters {
		if err != nil || w.end <= synced {
			ready = append(ready, w)
			continue
		}
		kept = append(kept, w)
		more = more || !w.lazy
	}
	clear(p.waiters[len(kept):])
	p.waiters = kept
	return ready, more
}

// syncLater makes sure that the unsynced end is synced in the background: soon
// if somebody waits for it, else within a second.
func (p *partition) syncLater() {
	delay := p.syncDelay()
	p.mu.Lock()
	due := p.late
	p.mu.Unlock()
	if due != nil && delay == idleSyncDelay {
		return
	}
	at := p.broker.now().Add(delay)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.late != nil && !p.late.at.After(at) {
		return
	}
	p.late.stop()
	p.late = p.broker.timers.at(at, func(time.Time) {
		p.mu.Lock()
		p.late = nil
		p.mu.Unlock()
		if !p.gone.Load() {
			p.sync()
		}
	})
}

// sync starts a sync unless one is in flight. Even where nothing is left to
// sync, because the log did so when it rolled a segment, those who wait for
// what is durable by now are served.
func (p *partition) sync() {
	if p.mayBegin() {
		p.broker.syncer.add(p)
	}
}

// syncHere is sync by the caller, who waits for it, unless others have to be synced, too.
// Who watches, and who commits, is told by others: it may take a while.
func (p *partition) syncHere() {
	s := &p.broker.syncer
	if !s.begin() {
		p.broker.pulse.rests()
		p.sync()
		return
	}
	if !p.mayBegin() {
		s.end()
		return
	}
	p.syncAlone(s.end, p.broker.spawn)
}

// mayBegin tells whether no sync is in flight; then one is.
func (p *partition) mayBegin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	begin := !p.syncing
	p.syncing = true
	return begin
}

// syncDelay is how long the unsynced end may stay so.
func (p *partition) syncDelay() time.Duration {
	return min(p.waitingDelay(), p.topic.policy.Load().flushAge)
}

// waitingDelay is syncDelay as it goes by who waits.
func (p *partition) waitingDelay() time.Duration {
	ws := p.watchers.Load()
	if p.broker.cfg.Fsync == FsyncInterval {
		return waitedSyncDelay
	}
	if ws == nil || len(*ws) == 0 {
		return idleSyncDelay
	}
	for _, w := range *ws {
		if !w.committed {
			return waitedSyncDelay
		}
	}
	// All read committed records: a sync helps them only if the end of what is
	// decided is not durable.
	synced := p.log.SyncedEnd()
	for _, open := range p.log.OpenTransactions() {
		if !open.Decided && open.FirstOffset <= synced {
			return idleSyncDelay
		}
	}
	return waitedSyncDelay
}

// watch registers a watcher until cancel is called. What was unsynced before
// is synced soon.
func (p *partition) watch(committed bool, fn func()) (cancel func()) {
	w := &watcher{fn: fn, committed: committed}
	p.mu.Lock()
	p.setWatchers(func(ws []*watcher) []*watcher { return append(ws, w) })
	p.mu.Unlock()
	if p.log.End() > p.log.SyncedEnd() {
		p.syncLater()
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.setWatchers(func(ws []*watcher) []*watcher {
			for i := range ws {
				if ws[i] == w {
					return append(ws[:i], ws[i+1:]...)
				}
			}
			return ws
		})
	}
}

// setWatchers replaces the list, which readers take without a lock.
func (p *partition) setWatchers(change func([]*watcher) []*watcher) {
	var old []*watcher
	if ws := p.watchers.Load(); ws != nil {
		old = append(old, *ws...)
	}
	old = change(old)
	p.watchers.Store(&old)
}

// notify tells the watchers that an offset may have advanced. No lock is held.
func (p *partition) notify() {
	if ws := p.watchers.Load(); ws != nil {
		for _, w := range *ws {
			w.fn()
		}
	}
}

// highWatermark is the end of what may be read: of what is durable.
func (p *partition) highWatermark() int64 { return p.log.SyncedEnd() }
