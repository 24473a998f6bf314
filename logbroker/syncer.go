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

	mu       sync.Mutex // guards what follows
	waiting  []*syncRequest
	expected int  // of those that come at once, so many are still to come
	single   int  // syncs of one log that are under way
	sharing  bool // so is one of the file system
	ended    bool // whoever comes now syncs by itself

	pacing pacing // the loop's own
	failed error  // so is this: what the first sync of root that failed was told

	resting    sync.Mutex // held while rest is synced
	restFailed error      // as failed; guarded by resting
}

type syncRequest struct {
	log    *commitlog.Log
	shared bool // with others, and it is expected to come again with them
	done   chan error
}

func (s *syncer) open(b *Broker) error {
	s.b, s.wake, s.ended = b, make(chan struct{}, 1), b.cfg.Synchronous
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
		did, s.restFailed = syncFileSystem(fd)
	}
	err = s.restFailed
	s.resting.Unlock()
	if err != nil {
		s.b.fatal(err)
	}
	return did, err
}

// sync makes durable all that was appended to the log before the call. If it is awaited,
// either sync or expect(-1) follows at once.
func (s *syncer) sync(log *commitlog.Log) (awaited bool, err error) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return false, log.Sync()
	}
	r := &syncRequest{log: log, done: make(chan error, 1)}
	s.waiting = append(s.waiting, r)
	s.expected = max(0, s.expected-1)
	s.mu.Unlock()
	s.nudge()
	err = <-r.done
	return r.shared, err
}

// expect tells of n calls of sync that come at once: nothing begins until they are there, so
// that one sync may be for all of them.
func (s *syncer) expect(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expected = max(0, s.expected+n); s.expected == 0 {
		s.nudge()
	}
}

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
			for _, r := range rest {
				r.done <- r.log.Sync()
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
	shared := root != vfs.InvalidFd && s.pacing.allows(s.b.now())
	s.mu.Lock()
	n := len(s.waiting)
	switch {
	case n == 0, s.expected > 0:
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
	r := s.waiting[0]
	s.waiting = append(s.waiting[:0], s.waiting[1:]...)
	s.single++
	s.mu.Unlock()
	s.b.run.work.Go(func() {
		r.done <- r.log.Sync()
		s.end()
	})
	return true
}

// together syncs the file system, that of root, for all of the logs.
func (s *syncer) together(all []*syncRequest, root uintptr) {
	begun := make([]*commitlog.Syncing, len(all))
	for i, r := range all {
		begun[i] = r.log.BeginSync()
	}
	start := time.Now()
	did := true
	if s.failed == nil && !s.b.cfg.planted.Acts(planted.SkipSync) {
		did, s.failed = syncFileSystem(root)
	}
	err := s.failed
	s.pacing.took(time.Since(start), slowSync, s.b.now())
	s.expect(len(all))
	for i, r := range all {
		r.shared = true
		switch {
		case begun[i] == nil:
			// Another sync of it is under way, or there is nothing to do.
			s.b.run.work.Go(func() { r.done <- r.log.Sync() })
		case err == nil && !did:
			begun[i].Cancel()
			s.b.run.work.Go(func() { r.done <- r.log.Sync() })
		default:
			r.done <- begun[i].End(err)
		}
	}
}
