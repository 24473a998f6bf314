package logbroker

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/planted"
	"github.com/levada/levada/logbroker/commitlog"
)

const (
	// maxSyncs is how many logs are synced at once, each by itself. More do not
	// make a disk faster, and each holds a thread.
	maxSyncs = 32
	// sharedSyncs is how many logs have to wait for one sync of the file system to
	// be cheaper than one of each (docs/decisions/0006-durability.md).
	sharedSyncs = 4
	// slowSync is what such a sync may take. One that takes longer has written what
	// others had left in the file system, once. If the next is as slow, somebody goes
	// on writing there: then each log is synced by itself for a pause, which doubles
	// from shortPause to longPause while they stay slow.
	slowSync   = 50 * time.Millisecond
	shortPause = 200 * time.Millisecond
	longPause  = 5 * time.Second
)

// pacing decides when many logs are synced by one sync of the file system. The zero
// pacing is ready.
type pacing struct {
	slow  bool // the last one was
	pause time.Duration
	until time.Time
}

func (p *pacing) allows(now time.Time) bool { return !now.Before(p.until) }

// took notes how long a sync of the file system that ended now has taken, and what it may.
func (p *pacing) took(d, may time.Duration, now time.Time) {
	switch {
	case d <= may:
		p.slow, p.pause = false, p.pause/2
	case !p.slow:
		p.slow = true
	default:
		p.pause = min(max(2*p.pause, shortPause), longPause)
		p.until = now.Add(p.pause)
	}
}

// syncer makes logs durable: few of them each by itself, many at once by a sync of
// the whole file system, which costs the disk one flush.
type syncer struct {
	b *Broker
	// Both are held open from the start: only so they are told of every failed write.
	// Each is told once. So whoever else syncs the file system must not hear what those who
	// wait have to be told, root is theirs; and what one of either was told counts for all
	// that come after.
	root, rest vfs.File
	wake       chan struct{}

	mu      sync.Mutex   // guards what follows
	waiting []*partition // of each of them a sync has begun, by its syncing
	single  int          // syncs of one log that are under way
	sharing bool         // so is one of the file system
	ended   bool         // whoever comes now syncs by itself

	// fileSystem syncs the file system of a descriptor; false where there is no such sync.
	fileSystem func(fd uintptr) (bool, error)

	pacing pacing // the loop's own, as what follows
	unable bool   // fileSystem cannot
	failed error  // what the first sync of root that failed was told

	resting    sync.Mutex // held while rest is synced
	restFailed error      // as failed; guarded by resting
}

func (s *syncer) open(b *Broker) error {
	s.b, s.wake, s.ended, s.fileSystem = b, make(chan struct{}, 1), b.cfg.Synchronous, syncFileSystem
	root, err := b.gate.OpenDir(b.dir.Join(logsDir))
	if err != nil {
		return fmt.Errorf("logbroker: %w", err)
	}
	s.root = root
	if s.rest, err = b.gate.OpenDir(b.dir.Join(logsDir)); err != nil {
		return fmt.Errorf("logbroker: %w", err)
	}
	if !b.cfg.Synchronous {
		b.run.work.Go(s.loop)
	}
	return nil
}

func (s *syncer) close() error {
	var errs []error
	for _, f := range []vfs.File{s.root, s.rest} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// all makes durable all that was written to the file system; did is false where it
// cannot do that. A failure ends the broker, as that of any sync: what was lost may be
// of any log.
func (s *syncer) all() (did bool, err error) {
	fd := s.rest.Fd()
	if fd == vfs.InvalidFd {
		return false, nil
	}
	s.resting.Lock()
	if s.restFailed == nil {
		did, s.restFailed = s.fileSystem(fd)
	}
	err = s.restFailed
	s.resting.Unlock()
	if err != nil {
		s.b.fatal(err)
	}
	return did, err
}

// add makes durable all that was appended to the logs of partitions before the call, if they are
// many by one sync. A sync of each of them must have begun, by mayBegin.
func (s *syncer) add(parts ...*partition) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		s.alone(parts)
		return
	}
	s.waiting = append(s.waiting, parts...)
	s.mu.Unlock()
	s.nudge()
}

// alone has each of the logs sync itself.
func (s *syncer) alone(parts []*partition) {
	for _, p := range parts {
		s.b.spawn(func() { p.syncAlone(func() {}, atOnce) })
	}
}

// atOnce does in the goroutine of the caller what may take a while.
func atOnce(fn func()) { fn() }

// begin tells whether the caller may sync a log itself, for there are not many others to be
// synced. Then end follows.
func (s *syncer) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.sharing || len(s.waiting) > 0 || s.single >= sharedSyncs {
		return false
	}
	s.single++
	return true
}

func (s *syncer) end() {
	s.mu.Lock()
	s.single--
	others := len(s.waiting) > 0
	s.mu.Unlock()
	if others {
		s.nudge()
	}
}

func (s *syncer) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// loop serves those who wait until the broker ends.
func (s *syncer) loop() {
	for {
		select {
		case <-s.wake:
		case <-s.b.run.stop:
			s.mu.Lock()
			s.ended = true
			rest := s.waiting
			s.waiting = nil
			s.mu.Unlock()
			for _, p := range rest {
				p.syncAlone(func() {}, s.b.spawn)
			}
			return
		}
		for s.serve() {
		}
	}
}

// serve begins one sync, if there is one to begin.
func (s *syncer) serve() bool {
	root := s.root.Fd()
	shared := root != vfs.InvalidFd && !s.unable && s.pacing.allows(s.b.now())
	s.mu.Lock()
	n := len(s.waiting)
	switch {
	case n == 0:
		s.mu.Unlock()
		return false // who comes wakes the loop
	case shared && n >= sharedSyncs:
		all := s.waiting
		s.waiting, s.sharing = nil, true
		s.mu.Unlock()
		s.together(all, root)
		s.mu.Lock()
		s.sharing = false
		s.mu.Unlock()
		return true
	case shared && s.single >= sharedSyncs, s.single >= maxSyncs:
		s.mu.Unlock()
		return false // one that ends wakes the loop
	}
	p := s.waiting[0]
	s.waiting = append(s.waiting[:0], s.waiting[1:]...)
	s.single++
	s.mu.Unlock()
	s.b.run.work.Go(func() { p.syncAlone(s.end, atOnce) })
	return true
}

// together syncs the file system, that of root, for the logs of all. Those that have to be
// synced again come back to who waits before anybody is told.
func (s *syncer) together(all []*partition, root uintptr) {
	begun := make([]*commitlog.Syncing, len(all))
	for i, p := range all {
		p.unsynced.Store(p.turn())
		begun[i] = p.log.BeginSync()
	}
	start := time.Now()
	did := true
	if s.failed == nil && !s.b.cfg.planted.Acts(planted.SkipSync) {
		did, s.failed = s.fileSystem(root)
	}
	err := s.failed
	s.pacing.took(time.Since(start), slowSync, s.b.now())
	s.unable = err == nil && !did
	ended := make([]error, len(all))
	for i, c := range begun {
		switch {
		case c == nil:
		case s.unable:
			c.Cancel()
		default:
			ended[i] = c.End(err)
		}
	}
	told := make([]endedSync, 0, len(all))
	var again, alone []*partition
	for i, p := range all {
		switch {
		case begun[i] == nil:
			alone = append(alone, p) // another sync of it is under way, or there is nothing to do
			continue
		case s.unable:
			again = append(again, p)
			continue
		}
		done, more := p.endSync(ended[i])
		told = append(told, done)
		if more {
			again = append(again, p)
		}
	}
	s.alone(alone)
	s.mu.Lock()
	s.waiting = append(again, s.waiting...)
	s.mu.Unlock()
	for _, done := range told {
		done.tell(s.b.spawn)
	}
}
