package kafka

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

const (
	defaultTransactionTimeout = 10 * time.Second
	// maxQueuedBytes bounds what is appended and not yet sent. A worker commits
	// far earlier; more is a mistake.
	maxQueuedBytes = 1 << 30
	// closeTimeout bounds what Close waits for.
	closeTimeout = 2 * time.Second
)

// producer implements logclient.Transaction. One goroutine (run) owns the
// conversation with the brokers; Append, Commit and Abort only queue.
//
// It follows the transaction in these states, of which the last two end with
// Abort or never:
//
//	ready   nothing or something appended, all that was sent has succeeded
//	failed  a batch could not be written: the transaction can only be aborted
//	dead    fenced, or the outcome of a commit is unknown: never used again
type producer struct {
	c       *client
	v2      bool // KIP-890
	id      string
	timeout time.Duration
	group   *membership // nil outside a group
	signal  func()      // wakes the owner when a Pending is done
	work    chan struct{}
	stopped chan struct{} // closed when run has ended

	mu      sync.Mutex // guards what follows
	outs    map[logclient.TopicPartition]*outbox
	order   []*outbox // by first use
	queued  int       // bytes not yet acknowledged
	pending int       // batches not yet acknowledged
	failed  error
	dead    error
	ending  *ending
	closing bool

	// Owned by run.
	producerID int64
	epoch      int16
	ready      bool // has a producer id
	open       bool // something was sent in this transaction
	grouped    bool // the group was added to this transaction (before KIP-890)
}

// outbox is what is appended to one partition.
type outbox struct {
	tp      logclient.TopicPartition
	batches []recordbatch.Batch
	end     int64 // offset after the last record of this transaction; -1
	used    bool  // appended to in this transaction

	// Owned by run.
	sequence int32
	stamped  bool // batches[0] has its producer fields
	added    bool // to this transaction (before KIP-890)
	tries    int
	since    time.Time // of the first failed try
}

// ending is a Commit or Abort under way.
type ending struct {
	positions []logclient.Position
	commit    *logclient.Pending[logclient.CommitResult] // nil for an abort
	abort     *logclient.Pending[struct{}]
}

func newProducer(c *client, v2 bool, id string, timeout time.Duration, group *membership, signal func()) *producer {
	if timeout <= 0 {
		timeout = defaultTransactionTimeout
	}
	p := &producer{
		c: c, v2: v2, id: id, timeout: timeout, group: group, signal: signal, producerID: -1, epoch: -1,
		work: make(chan struct{}, 1), stopped: make(chan struct{}), outs: map[logclient.TopicPartition]*outbox{},
	}
	c.wg.Go(p.run)
	return p
}

// Append implements logclient.Transaction.
func (p *producer) Append(tp logclient.TopicPartition, batch recordbatch.Batch) error {
	if len(batch) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closing:
		return ErrClosed
	case p.dead != nil:
		return p.dead
	case p.failed != nil:
		return p.failed
	case p.ending != nil:
		return errors.New("kafka: Append while a Commit or Abort is under way")
	case p.queued+len(batch) > maxQueuedBytes:
		return fmt.Errorf("%w: more than %d bytes wait to be sent: commit earlier", logclient.ErrAborted, maxQueuedBytes)
	}
	o := p.outs[tp]
	if o == nil {
		o = &outbox{tp: tp, end: -1}
		p.outs[tp] = o
		p.order = append(p.order, o)
	}
	o.used = true
	o.batches = append(o.batches, batch)
	p.queued += len(batch)
	p.pending++
	poke(p.work)
	return nil
}

// Commit implements logclient.Transaction.
func (p *producer) Commit(positions []logclient.Position) *logclient.Pending[logclient.CommitResult] {
	done := logclient.NewPending[logclient.CommitResult]()
	done.OnDone(p.signal)
	if err := p.begin(&ending{positions: positions, commit: done}); err != nil {
		done.Resolve(logclient.CommitResult{}, err)
	}
	return done
}

// Abort implements logclient.Transaction.
func (p *producer) Abort() *logclient.Pending[struct{}] {
	done := logclient.NewPending[struct{}]()
	done.OnDone(p.signal)
	if err := p.begin(&ending{abort: done}); err != nil {
		done.Resolve(struct{}{}, err)
	}
	return done
}

func (p *producer) begin(e *ending) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.dead != nil:
		return p.dead
	case p.closing:
		return ErrClosed
	case p.ending != nil:
		return errors.New("kafka: a Commit or Abort is under way already")
	case e.commit != nil && len(e.positions) > 0 && p.group == nil:
		return errors.New("kafka: positions committed by a writer that is in no group")
	}
	p.ending = e
	poke(p.work)
	return nil
}

// resolve tells the outcome of the ending and lets the next transaction begin.
func (p *producer) resolve(e *ending, err error) {
	p.mu.Lock()
	p.ending = nil
	var result logclient.CommitResult
	if err == nil {
		for _, o := range p.order {
			if e.commit != nil && o.used {
				result.Ends = append(result.Ends, logclient.Position{TopicPartition: o.tp, Offset: o.end, LeaderEpoch: -1})
			}
			o.used, o.end = false, -1
		}
	}
	p.mu.Unlock()
	if e.commit != nil {
		e.commit.Resolve(result, err)
		return
	}
	e.abort.Resolve(struct{}{}, err)
}

// fail makes the transaction one that can only be aborted.
func (p *producer) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.Is(err, logclient.ErrFenced) {
		p.dead = err
	}
	if p.failed == nil {
		p.failed = err
	}
}

// kill ends the producer: it may not be used again.
func (p *producer) kill(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead == nil {
		p.dead = err
	}
}

// stop ends the producer. With abort an open transaction is aborted first, so
// that nobody waits for it, if that takes no longer than closeTimeout.
func (p *producer) stop(abort bool) {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	if !abort {
		return
	}
	poke(p.work)
	t := time.NewTimer(closeTimeout)
	defer t.Stop()
	select {
	case <-p.stopped:
	case <-t.C:
	}
}

// snapshot is what run decides by.
type snapshot struct {
	ending  *ending
	failed  error
	dead    error
	pending int
	closing bool
}

func (p *producer) snapshot() snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return snapshot{p.ending, p.failed, p.dead, p.pending, p.closing}
}

// run is the goroutine of the producer.
func (p *producer) run() {
	defer close(p.stopped)
	p.acquire()
	for {
		switch s := p.snapshot(); {
		case p.c.ctx.Err() != nil:
			if s.ending != nil {
				p.resolve(s.ending, fmt.Errorf("%w before the transaction ended", ErrClosed))
			}
			return
		case s.closing:
			if p.open && s.dead == nil && p.id != "" {
				if _, err := p.endTxn(false); err != nil {
					p.c.log.Debug("aborting at close", "transactional_id", p.id, "err", err)
				}
			}
			if s.ending != nil {
				p.resolve(s.ending, fmt.Errorf("%w before the transaction ended", ErrClosed))
			}
			return
		case s.dead != nil && s.ending != nil:
			p.resolve(s.ending, s.dead)
		case s.ending != nil && s.ending.commit == nil:
			p.abort(s.ending)
		case s.ending != nil && s.failed != nil:
			p.resolve(s.ending, s.failed)
		case s.pending > 0 && s.failed == nil && s.dead == nil:
			p.send()
		case s.ending != nil:
			p.commit(s.ending)
		default:
			select {
			case <-p.work:
			case <-p.c.ctx.Done():
			}
		}
	}
}

// clear drops everything that is not sent, and begins a transaction anew.
func (p *producer) clear(keepSequences bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed, p.queued, p.pending = nil, 0, 0
	p.open, p.grouped = false, false
	for _, o := range p.order {
		o.batches, o.used, o.end = nil, false, -1
		o.stamped, o.added, o.tries, o.since = false, false, 0, time.Time{}
		if !keepSequences {
			o.sequence = 0
		}
	}
}
