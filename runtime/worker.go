package runtime

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/levada/levada/runtime/assign"
	"github.com/levada/levada/runtime/logclient"
)

// worker is one member of the application's group, with a producer and the
// tasks that the group gave it. It is stepped by one goroutine.
type worker struct {
	app             *App
	index           int
	transactionalID string
	log             *slog.Logger
	admin           logclient.Admin
	wake            chan struct{}

	now      time.Time // of the current Step
	member   logclient.Member
	outputs  *outputs
	tasks    []*task // by id
	restores map[*task]logclient.Reader
	live     map[string]bool // transactional ids of the group's members
	skips    skipList
	deadTo   *partitionOutput

	events    []logclient.Event // not yet handled, in order
	held      bool              // batches of the last Poll are still queued
	polled    bool              // the last Poll brought batches: the next may too
	txn       transaction
	commits   int  // since it became a member
	revoking  bool // the oldest Revoked event waits for the end of the transaction
	nextTask  int  // whose turn it is
	turn      int  // chunks that it has had
	closing   bool // Run is to end: commit, then closed
	closed    bool
	rejoinAt  time.Time
	rejoins   int
	nextPurge time.Time
}

// signal makes Run step the worker again. It never blocks.
func (w *worker) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// step does the next piece of work and returns when to be called again; the
// zero time means when something wakes the worker. An error is final for the
// application.
func (w *worker) step(now time.Time) (next time.Time, err error) {
	w.now = now
	if w.member == nil {
		if w.closing {
			return time.Time{}, nil // stopped: it does not come back
		}
		if now.Before(w.rejoinAt) {
			return w.rejoinAt, nil
		}
		if err := w.join(); err != nil {
			return time.Time{}, err
		}
	}
	next, err = w.advance(now)
	if err == nil {
		return next, nil
	}
	return w.recover(now, err)
}

// advance is one step of a worker that is a member.
func (w *worker) advance(now time.Time) (time.Time, error) {
	if busy, err := w.finishTransaction(); busy || err != nil {
		return w.pollAhead(now), err
	}
	var due time.Time
	if !w.held || w.txn.fresh {
		due = w.pollAhead(now) // after a commit there may be input for who reads its output
		w.txn.fresh = false
	}
	if wait, err := w.handleEvents(); wait || err != nil {
		return now, err
	}
	if w.closing {
		if !w.txn.dirty(w) {
			w.closed = true
			return now, nil
		}
		return now, w.beginCommit()
	}
	for _, t := range w.tasks {
		if !t.running() {
			if err := w.startTask(t, now); err != nil {
				return time.Time{}, err
			}
		}
	}
	n, err := w.process(now)
	if err != nil {
		return time.Time{}, err
	}
	if w.commitDue(now) {
		if err := w.beginCommit(); err != nil {
			return time.Time{}, err
		}
		return now, nil
	}
	if n > 0 {
		return now, nil
	}
	w.release()
	w.purge(now)
	if w.polled {
		w.polled = false
		return now, nil
	}
	return w.nextDue(now, due), nil
}

// join becomes a member of the group.
func (w *worker) join() error {
	cfg := w.app.cfg
	mc := logclient.MemberConfig{
		Group: cfg.App, InstanceID: w.transactionalID, Topics: w.app.plan.allTopics(),
		SessionTimeout: cfg.SessionTimeout, TransactionTimeout: transactionTimeout,
		UserData:        w.app.userData(w.transactionalID),
		ReadUncommitted: cfg.Guarantee != ExactlyOnce,
	}
	if cfg.Guarantee == ExactlyOnce {
		mc.TransactionalID = w.transactionalID
	}
	m, err := cfg.Log.Join(mc)
	if err != nil {
		return fmt.Errorf("join group %s: %w", cfg.App, err)
	}
	w.member, w.outputs, w.txn = m, newOutputs(m), transaction{lastEnd: w.now}
	w.deadTo = nil
	w.held, w.revoking, w.events, w.commits = false, false, nil, 0
	return nil
}

// poll takes what the log has and queues it.
func (w *worker) poll(now time.Time) (due time.Time) {
	p := w.member.Poll(now)
	w.events = append(w.events, p.Events...)
	for _, b := range p.Batches {
		in := w.input(b.TopicPartition)
		if in == nil {
			continue // of a task that is not running: it will Seek
		}
		in.add(b)
		w.held, w.polled = true, true
	}
	return p.NextDue
}

// pollAhead polls while there is still something to process, or a transaction
// ends: the membership goes on, and inputs that hold nothing get their share.
// The others keep what they have and are paused, which bounds what is kept.
func (w *worker) pollAhead(now time.Time) time.Time {
	if w.held {
		w.keepInputs()
		w.eachInput(func(in *input) {
			if len(in.queue) > 0 && !in.paused {
				w.member.Pause(in.tp)
				in.paused = true
			}
		})
	}
	return w.poll(now)
}

// release gives the member its memory back: what cannot be processed yet is
// copied, and inputs that hold too much are paused.
func (w *worker) release() {
	if w.held {
		w.keepInputs()
	}
	w.held = false
	var kept int64
	w.eachInput(func(in *input) { kept += in.keptBytes })
	w.eachInput(func(in *input) {
		switch over := kept > w.app.cfg.MaxBufferedBytes && len(in.queue) > 0; {
		case over && !in.paused:
			w.member.Pause(in.tp)
			in.paused = true
		case in.paused && len(in.queue) == 0:
			w.member.Resume(in.tp)
			in.paused = false
		}
	})
}

func (w *worker) keepInputs() {
	w.eachInput(func(in *input) { in.keep() })
}

func (w *worker) eachInput(fn func(*input)) {
	for _, t := range w.tasks {
		if !t.running() {
			continue
		}
		for _, in := range t.inputs {
			fn(in)
		}
	}
}

func (w *worker) input(tp logclient.TopicPartition) *input {
	for _, t := range w.tasks {
		if !t.running() || t.id.Partition != tp.Partition {
			continue
		}
		for _, in := range t.inputs {
			if in.tp == tp {
				return in
			}
		}
	}
	return nil
}

// turnChunks is how many chunks a task processes before the next has its turn:
// enough to profit from its state being in the processor's cache.
const turnChunks = 8

// process lets the next task that has something run one chunk.
func (w *worker) process(now time.Time) (int, error) {
	if w.turn >= turnChunks && len(w.tasks) > 0 {
		w.nextTask, w.turn = (w.nextTask+1)%len(w.tasks), 0
	}
	for range w.tasks {
		t := w.tasks[w.nextTask%len(w.tasks)]
		if t.running() {
			n, err := t.process(now)
			if n > 0 || err != nil {
				w.turn++
				w.app.stats.addRecords(n)
				return n, err
			}
		}
		w.nextTask, w.turn = (w.nextTask+1)%len(w.tasks), 0
	}
	return 0, nil
}

// nextDue is when the worker must be stepped again if nothing wakes it.
func (w *worker) nextDue(now, due time.Time) time.Time {
	next := due
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if w.txn.dirty(w) {
		sooner(w.txn.lastEnd.Add(w.commitInterval()))
	}
	for _, t := range w.tasks {
		if !t.running() {
			sooner(t.retryAt)
		}
	}
	if !next.IsZero() && next.Before(now) {
		return now
	}
	return next
}

// startTask moves a task towards running. If no broker answers it is tried
// again from the start.
func (w *worker) startTask(t *task, now time.Time) error {
	if now.Before(t.retryAt) {
		return nil
	}
	err := t.start(now)
	if errors.Is(err, logclient.ErrUnreachable) || errors.Is(err, logclient.ErrUnstable) {
		w.log.Warn("starting a task again", "task", t.id.String(), "err", err)
		if err := t.close(); err != nil {
			return err
		}
		t.phase, t.retryAt = t.findOwners, now.Add(time.Second)
		return nil
	}
	return err
}

func (w *worker) taskStarted(t *task) {
	w.app.stats.addRestored(t.restored)
	w.log.Info("task runs", "task", t.id.String(), "restored_records", t.restored)
}

func (w *worker) closeRestore(t *task) {
	if r := w.restores[t]; r != nil {
		delete(w.restores, t)
		if err := r.Close(); err != nil {
			w.log.Warn("closing a changelog reader", "task", t.id.String(), "err", err)
		}
	}
}

// alive tells whether a transactional id belongs to a member of the group.
func (w *worker) alive(transactionalID string) bool {
	return transactionalID == w.transactionalID || w.live[transactionalID]
}

// handleEvents acts on changes of membership. wait is true if an event must
// wait for the end of the open transaction, which is then begun.
func (w *worker) handleEvents() (wait bool, err error) {
	for len(w.events) > 0 {
		e := w.events[0]
		switch e.Kind {
		case logclient.Assigned:
			if err := w.assigned(e); err != nil {
				return false, err
			}
		case logclient.Revoked:
			if !w.revoking {
				w.revoking = true
				return true, w.beginCommit()
			}
			w.revoking = false
			if err := w.closeTasks(e.Partitions); err != nil {
				return false, err
			}
			w.member.Released()
		case logclient.Lost:
			return false, fmt.Errorf("%w: partitions lost: %w", logclient.ErrFenced, errOr(e.Err, "session ended"))
		case logclient.OffsetGone:
			if err := w.offsetGone(e); err != nil {
				return false, err
			}
		case logclient.Fatal:
			return false, errOr(e.Err, "member failed")
		}
		w.events = w.events[1:]
	}
	return false, nil
}

func errOr(err error, text string) error {
	if err != nil {
		return err
	}
	return errors.New(text)
}

// assigned opens the tasks of newly assigned partitions.
func (w *worker) assigned(e logclient.Event) error {
	ids, err := assign.DecodeLive(e.UserData)
	if err != nil {
		return fmt.Errorf("assignment: %w", err)
	}
	w.live = map[string]bool{}
	for _, id := range ids {
		w.live[id] = true
	}
	var names []string
	for _, tp := range e.Partitions {
		src, ok := w.app.plan.inputs[tp.Topic]
		if !ok {
			return fmt.Errorf("assigned %s-%d, which the topology does not read: members of group %s run different topologies", tp.Topic, tp.Partition, w.app.cfg.App)
		}
		id := TaskID{src.sub.ID, tp.Partition}
		if slices.ContainsFunc(w.tasks, func(t *task) bool { return t.id == id }) {
			continue
		}
		w.tasks = append(w.tasks, newTask(w, src.sub, tp.Partition))
		names = append(names, id.String())
	}
	slices.SortFunc(w.tasks, func(a, b *task) int { return compareTasks(a.id, b.id) })
	w.rejoins = 0
	w.log.Info("assigned", "new_tasks", names, "members", len(ids))
	return nil
}

// closeTasks closes the tasks of partitions that are revoked; their work is
// committed.
func (w *worker) closeTasks(tps []logclient.TopicPartition) error {
	var errs []error
	w.tasks = slices.DeleteFunc(w.tasks, func(t *task) bool {
		mine := slices.ContainsFunc(t.inputs, func(in *input) bool { return slices.Contains(tps, in.tp) })
		if mine {
			w.log.Info("task handed over", "task", t.id.String())
			errs = append(errs, t.close())
		}
		return mine
	})
	return errors.Join(errs...)
}

// offsetGone reports that records are gone from an input before they were
// processed: deleted by retention, by hand, or by a truncation.
func (w *worker) offsetGone(e logclient.Event) error {
	for _, tp := range e.Partitions {
		if in := w.input(tp); in != nil {
			return fmt.Errorf("topic %s-%d has lost the records from offset %d on before they were processed: %w; to go on without them move the offset of group %s",
				tp.Topic, tp.Partition, in.fetched, errOr(e.Err, "offset out of range"), w.app.cfg.App)
		}
	}
	return nil
}
