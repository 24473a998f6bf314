package runtime

import (
	"errors"
	"fmt"
	"time"

	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/topology"
)

// transactionTimeout is after how long the log aborts a worker's transaction.
const transactionTimeout = 10 * time.Second

// transaction is where a worker stands between two commits.
type transaction struct {
	commit  *logclient.Pending[logclient.CommitResult] // nil unless a commit is under way
	abort   *logclient.Pending[struct{}]               // nil unless an abort is under way
	began   time.Time                                  // of the commit under way
	lastEnd time.Time
	fresh   bool // nothing was polled since lastEnd
}

// dirty tells whether there is anything to commit.
func (t *transaction) dirty(w *worker) bool {
	if w.outputs.bytes() > 0 {
		return true
	}
	dirty := false
	w.eachInput(func(in *input) { dirty = dirty || in.moved })
	return dirty
}

// firstInterval is the time to the first commit of a worker; it doubles with
// each up to the configured interval, so that first results are seen early.
const firstInterval = 10 * time.Millisecond

// commitInterval is the time between the end of one commit and the next.
func (w *worker) commitInterval() time.Duration {
	return min(firstInterval<<min(w.commits, 20), w.app.cfg.CommitInterval)
}

// commitDue tells whether the open transaction should be committed now.
func (w *worker) commitDue(now time.Time) bool {
	if w.member == nil || !w.txn.dirty(w) {
		return false
	}
	if now.Sub(w.txn.lastEnd) >= w.commitInterval() {
		return true
	}
	size := w.outputs.bytes()
	for _, t := range w.tasks {
		if t.running() {
			size += t.uncommittedBytes()
		}
	}
	return size >= w.app.cfg.UncommittedBytes
}

// beginCommit emits what waits for the commit, writes the changelogs and
// commits all with the input positions.
func (w *worker) beginCommit() error {
	if !w.txn.dirty(w) {
		return nil
	}
	var positions []logclient.Position
	for _, t := range w.tasks {
		if !t.running() {
			continue
		}
		if err := t.prepareCommit(); err != nil {
			return err
		}
		positions = append(positions, t.positions()...)
	}
	if err := w.outputs.flush(); err != nil {
		return err
	}
	w.txn.began = w.app.cfg.Now()
	w.txn.commit = w.member.Commit(positions)
	w.txn.commit.OnDone(w.signal)
	return nil
}

// finishTransaction finishes a commit or an abort that is done. busy is true
// while one is under way.
func (w *worker) finishTransaction() (busy bool, err error) {
	if p := w.txn.abort; p != nil {
		if !p.Done() {
			return true, nil
		}
		w.txn.abort = nil
		if _, err := p.Result(); err != nil {
			return false, fmt.Errorf("%w: abort: %w", logclient.ErrFenced, err)
		}
		w.ended()
		w.held = false
		for _, t := range w.tasks {
			t.rollback()
		}
		return false, nil
	}
	p := w.txn.commit
	if p == nil {
		return false, nil
	}
	if !p.Done() {
		return true, nil
	}
	w.txn.commit = nil
	result, err := p.Result()
	if err != nil {
		return false, commitError(err)
	}
	for _, t := range w.tasks {
		if t.running() {
			t.committed(result.Ends)
		}
	}
	w.app.stats.addCommit(w.app.cfg.Now().Sub(w.txn.began), w.outputs.records)
	w.log.Debug("committed", "records", w.outputs.records)
	w.skips.committed(w)
	w.commits++
	w.ended()
	return false, nil
}

// commitError sorts the failures of a commit: an abort is replayed by this
// member, after anything else its outcome is not known and the member joins anew.
func commitError(err error) error {
	if errors.Is(err, logclient.ErrAborted) || errors.Is(err, logclient.ErrFenced) {
		return err
	}
	return fmt.Errorf("%w: outcome of a commit is not known: %w", logclient.ErrFenced, err)
}

func (w *worker) ended() {
	w.outputs.ended()
	w.txn = transaction{lastEnd: w.now, fresh: true}
}

// beginAbort drops the open transaction; its work is done again.
func (w *worker) beginAbort() {
	w.outputs.drop()
	w.txn.commit = nil
	w.txn.abort = w.member.Abort()
	w.txn.abort.OnDone(w.signal)
}

// recover decides what follows an error of a step.
func (w *worker) recover(now time.Time, err error) (time.Time, error) {
	var poison *poisonError
	switch {
	case errors.As(err, &poison):
		if w.app.cfg.OnError == Fail {
			return time.Time{}, err
		}
		if err := w.skips.add(poison); err != nil {
			return time.Time{}, err
		}
		w.log.Warn("replaying the transaction without a record", "err", err)
		w.beginAbort()
		return now, nil
	case errors.Is(err, logclient.ErrTooLarge), errors.Is(err, logclient.ErrRefused):
		return time.Time{}, err // the batch would be the same again
	case errors.Is(err, logclient.ErrFenced), errors.Is(err, logclient.ErrUnreachable):
		return w.leave(now, err)
	case errors.Is(err, logclient.ErrAborted):
		w.log.Warn("replaying an aborted transaction", "err", err)
		w.beginAbort()
		return now, nil
	}
	return time.Time{}, err
}

// Bounds of the delay before a lost member joins again.
const (
	rejoinMin = 100 * time.Millisecond
	rejoinMax = 10 * time.Second
)

// leave gives up a membership that is lost; the worker joins again after a
// delay that doubles.
func (w *worker) leave(now time.Time, cause error) (time.Time, error) {
	delay := min(rejoinMin<<min(w.rejoins, 10), rejoinMax)
	w.rejoins++
	w.log.Warn("membership lost, joining again", "err", cause, "in", delay)
	if err := w.shutdown(false); err != nil {
		return time.Time{}, err
	}
	w.rejoinAt = now.Add(delay)
	return w.rejoinAt, nil
}

// shutdown closes the tasks and the member; what is not committed is dropped.
func (w *worker) shutdown(leave bool) error {
	var errs []error
	for _, t := range w.tasks {
		errs = append(errs, t.close())
	}
	w.tasks = nil
	if w.member != nil {
		if err := w.member.Close(leave); err != nil {
			w.log.Warn("closing a member", "err", err)
		}
		w.member = nil
	}
	w.events, w.held, w.revoking, w.txn = nil, false, false, transaction{}
	return errors.Join(errs...)
}

// purge deletes the committed records of repartition topics.
func (w *worker) purge(now time.Time) {
	if now.Before(w.nextPurge) {
		return
	}
	first := w.nextPurge.IsZero()
	w.nextPurge = now.Add(w.app.cfg.PurgeInterval)
	if first {
		return
	}
	var positions []logclient.Position
	w.eachInput(func(in *input) {
		if in.topic.Kind == topology.Repartition && in.committed.Offset > 0 {
			positions = append(positions, in.committed)
		}
	})
	if len(positions) == 0 {
		return
	}
	p := w.admin.DeleteRecords(positions)
	p.OnDone(func() {
		if _, err := p.Result(); err != nil {
			w.log.Warn("deleting committed records of repartition topics", "err", err)
		}
	})
}
