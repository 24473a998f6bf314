package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/levada/levada/runtime/assign"
	"github.com/levada/levada/runtime/logclient"
)

// closeTimeout bounds how long Run waits for the last commit of its workers.
const closeTimeout = 10 * time.Second

// App is one process of an application. Stats and Lag may be called at
// any time; the other methods belong to one goroutine.
type App struct {
	cfg     Config
	plan    *plan
	workers []*worker
	stats   stats
	tasks   sync.Mutex // guards taskCounts
	// taskCounts holds the tasks of each worker: assigned, running.
	taskCounts [][2]int
}

// New checks a Config; all of its faults are reported at once.
func New(cfg Config) (*App, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("runtime: %w", err)
	}
	return &App{cfg: cfg, stats: stats{now: cfg.Now}, taskCounts: make([][2]int, cfg.Workers)}, nil
}

// Start checks the topics of the user and creates the internal ones. Run calls
// it; who steps an App by hand calls it before the first Step.
func (a *App) Start(ctx context.Context) error {
	p, err := prepare(ctx, a.cfg)
	if err != nil {
		return err
	}
	a.plan = p
	for i := range a.cfg.Workers {
		id := fmt.Sprintf("%s-%s-%d", a.cfg.App, a.cfg.ProcessID, i)
		a.workers = append(a.workers, &worker{
			app: a, index: i, transactionalID: id, admin: a.cfg.Log.Admin(),
			log:  a.cfg.Logger.With("app", a.cfg.App, "worker", i),
			wake: make(chan struct{}, 1), restores: map[*task]logclient.Reader{},
		})
	}
	return nil
}

// userData tells the assignor about a worker of this process.
func (a *App) userData(transactionalID string) []byte {
	d := assign.UserData{ProcessID: a.cfg.ProcessID, TransactionalID: transactionalID}
	for _, sub := range a.plan.subs {
		d.Subtopologies = append(d.Subtopologies, sub.topics)
	}
	return d.Encode()
}

func (a *App) topicPartitions(topic string) int32 { return a.plan.partitions[topic] }

// Step does the next piece of work of one worker, without waiting, and returns
// when to call it again; the zero time means when Wake says so. An error is
// final for the App.
func (a *App) Step(worker int, now time.Time) (next time.Time, err error) {
	w := a.workers[worker]
	next, err = w.step(now)
	running := 0
	for _, t := range w.tasks {
		if t.running() {
			running++
		}
	}
	a.tasks.Lock()
	a.taskCounts[worker] = [2]int{len(w.tasks), running}
	a.tasks.Unlock()
	return next, err
}

// StopWorker lets a worker commit what it has; Stopped tells when that is done
// and CloseWorker may be called. It is for who steps an App by hand.
func (a *App) StopWorker(worker int) { a.workers[worker].closing = true }

// Stopped tells whether a worker that was told to stop has committed.
func (a *App) Stopped(worker int) bool {
	w := a.workers[worker]
	return w.closed || (w.closing && w.member == nil)
}

// CloseWorker gives up the tasks and the membership of a worker.
func (a *App) CloseWorker(worker int) error {
	return a.workers[worker].shutdown(a.cfg.LeaveOnClose)
}

// Run starts the App and works until ctx ends, then commits and closes. It
// returns nil after a clean stop. If one worker fails all stop.
func (a *App) Run(ctx context.Context) error { return a.RunStarted(ctx, nil) }

// RunStarted is Run; started, if not nil, is called once the topics are checked
// and the workers begin: from then on Lag may be called.
func (a *App) RunStarted(ctx context.Context, started func()) error {
	if err := a.Start(ctx); err != nil {
		return err
	}
	if started != nil {
		started()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(a.workers))
	var wg sync.WaitGroup
	for i := range a.workers {
		wg.Go(func() {
			defer cancel()
			errs[i] = a.drive(ctx, i)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// drive steps one worker until ctx ends, and then until it has committed.
func (a *App) drive(ctx context.Context, i int) error {
	w := a.workers[i]
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var deadline time.Time
	done := ctx.Done()
	for !a.Stopped(i) {
		now := a.cfg.Now()
		if !deadline.IsZero() && now.After(deadline) {
			w.log.Warn("the last commit did not end in time; its work will be done again")
			break
		}
		next, err := a.Step(i, now)
		if err != nil {
			return errors.Join(err, w.shutdown(a.cfg.LeaveOnClose))
		}
		if !next.IsZero() && !next.After(now) {
			select {
			case <-done:
				deadline, done, w.closing = now.Add(closeTimeout), nil, true
			default:
			}
			continue
		}
		if next.IsZero() || next.Sub(now) > time.Second {
			next = now.Add(time.Second)
		}
		timer.Reset(next.Sub(now))
		var member <-chan struct{}
		if w.member != nil {
			member = w.member.Wake()
		}
		select {
		case <-member:
		case <-w.wake:
		case <-timer.C:
		case <-done:
			deadline, done, w.closing = now.Add(closeTimeout), nil, true
		}
	}
	return w.shutdown(a.cfg.LeaveOnClose)
}

// Stats tells what the App has done so far.
func (a *App) Stats() Stats {
	s := a.stats.snapshot()
	a.tasks.Lock()
	defer a.tasks.Unlock()
	for _, c := range a.taskCounts {
		s.AssignedTasks += c[0]
		s.RunningTasks += c[1]
	}
	return s
}

// Lag is how many offsets the committed positions of the whole application, in
// all its processes, are behind the ends of its inputs, repartition topics
// included. 0 means that all that was in the log when Lag was called has been
// processed and its results are committed.
//
// A transaction's positions may be seen before its records are stable: its end is
// decided in one place and marked in many. So topics that the application writes
// itself end at their high watermark, below which its records are before their
// transaction ends; and ends are asked for after the positions, so that whoever
// processed a record before has put there what follows from it.
func (a *App) Lag(ctx context.Context) (int64, error) {
	var inputs, own []logclient.TopicPartition
	for _, name := range a.plan.allTopics() {
		for p := range a.plan.partitions[name] {
			tp := logclient.TopicPartition{Topic: name, Partition: p}
			if a.plan.writes(name) {
				own = append(own, tp)
			} else {
				inputs = append(inputs, tp)
			}
		}
	}
	all := slices.Concat(inputs, own)
	admin := a.cfg.Log.Admin()
	starts, err := admin.ListOffsets(all, logclient.OffsetSpec{Kind: logclient.Earliest}).Wait(ctx)
	if err != nil {
		return 0, fmt.Errorf("start offsets: %w", err)
	}
	committed, err := admin.CommittedOffsets(a.cfg.App, all, false).Wait(ctx)
	if err != nil {
		return 0, fmt.Errorf("committed offsets: %w", err)
	}
	var lag int64
	behind := func(tps []logclient.TopicPartition, end logclient.OffsetKind) error {
		if len(tps) == 0 {
			return nil
		}
		ends, err := admin.ListOffsets(tps, logclient.OffsetSpec{Kind: end}).Wait(ctx)
		for _, tp := range tps {
			lag += max(0, ends[tp].Offset-max(starts[tp].Offset, committed[tp].Offset))
		}
		return err
	}
	if err := errors.Join(behind(inputs, logclient.LatestStable), behind(own, logclient.LatestHigh)); err != nil {
		return 0, fmt.Errorf("end offsets: %w", err)
	}
	return lag, nil
}
