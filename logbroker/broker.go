package logbroker

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/meta"
)

// Broker is an open broker. Its methods are safe for concurrent use, unless it
// is Synchronous.
type Broker struct {
	cfg      Config
	log      *slog.Logger
	gate     *gateFS
	dir      *dataDir
	meta     *meta.Store
	handlers map[int16]served // not changed after Open
	epoch    int32            // leader and coordinator epoch of this run

	topics        topicSet
	txns          transactions
	pids          producerIDs
	space         space
	groups        groupCoordinator
	groupSettings groupConfigs
	settings      atomic.Pointer[brokerSettings] // replaced under topics.edit
	security      security
	guards        map[int16]guard // not changed after Open
	timers        timers
	cleaner       cleaner
	syncer        syncer
	outflow       outflow
	pulse         pulse
	checkpoints   checkpoints
	frames        frames
	readers       *readers
	sessions      fetchSessions
	writers       sync.Pool // of *bufio.Writer, of connections that are being answered
	run           running
}

// running is the life of the broker's goroutines.
type running struct {
	work   sync.WaitGroup
	wakeUp chan struct{} // one is enough: the loop looks at all timers
	stop   chan struct{}
	closed atomic.Bool
	failed atomic.Pointer[error]
	// nextRefusal is when a refused request may be logged again, ns since 1970.
	nextRefusal atomic.Int64
	mu          sync.Mutex // guards what follows
	nodes       advertised // of the first listener
	listener    map[net.Listener]struct{}
	conns       map[net.Conn]struct{}
	hosts       map[string]int // connections of each
}

type advertised struct {
	host string
	port int32
}

// Close stops serving, makes everything durable and leaves the mark of a clean
// end.
func (b *Broker) Close() error {
	if !b.run.closed.CompareAndSwap(false, true) {
		return nil
	}
	b.stopServing()
	var errs []error
	b.topics.each(func(p *partition) {
		if p.log != nil {
			errs = append(errs, p.log.Close())
		}
	})
	err := errors.Join(errs...)
	if err == nil && b.failure() == nil {
		batch := b.meta.NewBatch()
		batch.PutSystem(sysClean, []byte{1})
		err = b.meta.Commit(batch, true)
	}
	return errors.Join(err, b.syncer.close(), b.meta.Close(), b.dir.Close())
}

// Kill ends the broker as a SIGKILL would: what the operating system has stays,
// what this process still holds in memory is lost, requests are not answered,
// and there is no mark of a clean end. For tests.
func (b *Broker) Kill() {
	if !b.run.closed.CompareAndSwap(false, true) {
		return
	}
	b.gate.shut.Store(true)
	b.stopServing()
	var errs []error
	b.topics.each(func(p *partition) {
		if p.log != nil {
			errs = append(errs, p.log.Close())
		}
	})
	errs = append(errs, b.syncer.close(), b.meta.Close(), b.dir.Close())
	if err := errors.Join(errs...); err != nil {
		b.log.Debug("killed", "error", err)
	}
}

func (b *Broker) stopServing() {
	b.run.mu.Lock()
	for l := range b.run.listener {
		_ = l.Close() // its Accept returns; Serve reports
	}
	for c := range b.run.conns {
		_ = c.Close() // its reader returns
	}
	b.run.mu.Unlock()
	close(b.run.stop)
	b.run.work.Wait()
	b.groups.close()
}

// Tick runs what is due at now and returns when to be called next; the zero
// time if nothing waits.
func (b *Broker) Tick(now time.Time) (next time.Time) {
	groups := b.groups.tick(now)
	next = b.timers.run(now)
	if next.IsZero() || (!groups.IsZero() && groups.Before(next)) {
		next = groups
	}
	return next
}

// tickLoop calls Tick when it is due, in a broker that is not Synchronous.
func (b *Broker) tickLoop() {
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		wait := time.Hour
		if next := b.Tick(b.now()); !next.IsZero() {
			wait = min(wait, max(0, next.Sub(b.now())))
		}
		alarm.Reset(wait)
		select {
		case <-alarm.C:
		case <-b.run.wakeUp:
		case <-b.run.stop:
			return
		}
	}
}

// wake makes the tick loop look at the timers again.
func (b *Broker) wake() {
	select {
	case b.run.wakeUp <- struct{}{}:
	default:
	}
}

func (b *Broker) now() time.Time { return b.cfg.Now() }

// spawn runs fn on a goroutine that Close waits for; at once if the broker is
// Synchronous.
func (b *Broker) spawn(fn func()) {
	if b.cfg.Synchronous {
		fn()
		return
	}
	b.run.work.Go(fn)
}

// synced is what the sync of a log comes to. A failure ends the broker: what a
// failed sync left in the page cache is unknown, and trying again would hide
// that.
func (b *Broker) synced(p *partition, err error) error {
	if p.gone.Load() {
		return kerr.UnknownTopicOrPartition
	}
	if err != nil {
		b.fatal(fmt.Errorf("%s-%d: %w", p.topic.name, p.index, err))
	}
	return err
}

// commit applies a batch to the database, synced.
func (b *Broker) commit(batch *meta.Batch) error {
	err := b.meta.Commit(batch, true)
	if err != nil {
		b.fatal(err)
	}
	return err
}

// commitNew is commit for what can be refused: it is if the disk is nearly full.
func (b *Broker) commitNew(batch *meta.Batch) error {
	if err := b.space.forMetadata(); err != nil {
		return err
	}
	return b.commit(batch)
}

// fatal ends the promise of durability: no write is accepted from now on, and
// the next start treats what it finds as after a power loss.
func (b *Broker) fatal(err error) {
	if b.run.closed.Load() || !b.run.failed.CompareAndSwap(nil, &err) {
		return
	}
	told := errors.Join(err, b.dir.markSuspect(err)) // err itself is read by others from here on
	b.log.Error("the disk failed; the broker stops accepting writes", "error", told)
	if b.cfg.OnFatal != nil {
		b.cfg.OnFatal(fmt.Errorf("logbroker: %w", told))
	}
}

func (b *Broker) failure() error {
	if p := b.run.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// Handle serves one decoded request as that of a TCP client, and calls respond
// exactly once, with nil only for a produce without acks. The version must be
// set in req. The answer may come later and from any goroutine; if the broker
// is Synchronous, from the caller of Handle or Tick. A broker that is closed
// meanwhile does not answer. Requests of one conn are not to be handed over
// concurrently.
func (b *Broker) Handle(conn *Conn, req kmsg.Request, respond func(kmsg.Response)) {
	r := &request{conn: conn, msg: req, client: conn.ClientID, usage: conn.usage, respond: respond}
	h, ok := b.handlers[req.Key()]
	if !ok || req.GetVersion() < h.min || req.GetVersion() > h.max {
		b.refuseVersion(r)
		return
	}
	if b.run.closed.Load() {
		return
	}
	if err := conn.admits(req.Key(), b.now()); err != nil {
		conn.fail(err)
		respond(nil)
		return
	}
	b.guarded(h, r)
}
