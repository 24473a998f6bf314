package runtime

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// TaskID names a task: one partition of a subtopology.
type TaskID struct {
	Subtopology int
	Partition   int32
}

// String is "subtopology_partition", as Kafka Streams writes it.
func (id TaskID) String() string { return fmt.Sprintf("%d_%d", id.Subtopology, id.Partition) }

func compareTasks(a, b TaskID) int {
	if a.Subtopology != b.Subtopology {
		return a.Subtopology - b.Subtopology
	}
	return int(a.Partition - b.Partition)
}

// phase is one step of a task's way from its assignment to running. It returns
// the phase that follows, nil when the task runs; or errWaiting while what it
// waits for is not there.
type phase func(now time.Time) (phase, error)

var errWaiting = errors.New("waiting")

// task is one partition of a subtopology that a worker owns.
type task struct {
	id     TaskID
	sub    *subPlan
	worker *worker
	ctx    topology.Context
	built  *topology.Task
	out    *taskOutput
	inputs []*input
	stores []*taskStore

	phase   phase
	retryAt time.Time // when a waiting phase is to be called at the latest

	committedStreamTime int64
	restored            int64 // records replayed from changelogs
}

// taskStore is a store of a task and the partition that holds its changes.
type taskStore struct {
	spec      *topology.Store
	changelog changelog
	tp        logclient.TopicPartition
	partition *statestore.Partition
	store     statestore.Store
	log       *partitionOutput // nil if the source topic is the changelog
	source    *input           // set if the source topic is the changelog

	cut  statestore.Cut // the changelog position that the committed state reaches
	next int64          // offset to be replayed next, while restoring
}

func newTask(w *worker, sub *subPlan, partition int32) *task {
	t := &task{id: TaskID{sub.ID, partition}, sub: sub, worker: w}
	t.ctx = topology.Context{Partition: partition, StreamTime: -1, Offset: -1}
	for i, src := range sub.Sources {
		if partition >= w.app.topicPartitions(sub.topics[i]) {
			continue
		}
		t.inputs = append(t.inputs, &input{
			tp:    logclient.TopicPartition{Topic: sub.topics[i], Partition: partition},
			topic: src.Topic, end: -1,
		})
	}
	t.phase = t.findOwners
	return t
}

// running tells whether the task processes records.
func (t *task) running() bool { return t.phase == nil }

// start moves the task on towards running, as far as it can without waiting.
func (t *task) start(now time.Time) error {
	for t.phase != nil {
		next, err := t.phase(now)
		if errors.Is(err, errWaiting) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("task %s: %w", t.id, err)
		}
		t.phase = next
	}
	return nil
}

func (t *task) partitions() []logclient.TopicPartition {
	tps := make([]logclient.TopicPartition, len(t.inputs))
	for i, in := range t.inputs {
		tps[i] = in.tp
	}
	return tps
}

// choose returns the input whose next record is the oldest, and the
// timestamp up to which it may be processed before another input's is older.
// ready is false while an input that is known to hold more has nothing here:
// then its records, which may be older, are waited for.
func (t *task) choose() (in *input, limitMs int64, ready bool, err error) {
	limitMs = math.MaxInt64
	var oldest int64
	for _, candidate := range t.inputs {
		ok, err := candidate.head()
		if err != nil {
			return nil, 0, false, fmt.Errorf("task %s: %s-%d at offset %d: %w", t.id, candidate.tp.Topic, candidate.tp.Partition, candidate.position, err)
		}
		if !ok {
			if !candidate.caughtUp() {
				return nil, 0, false, nil
			}
			continue
		}
		ts := candidate.chunk[candidate.done].Timestamp
		if in == nil || ts < oldest {
			if in != nil {
				limitMs = min(limitMs, oldest)
			}
			in, oldest = candidate, ts
		} else {
			limitMs = min(limitMs, ts)
		}
	}
	return in, limitMs, in != nil, nil
}

// process runs the next records through the task and returns how many.
func (t *task) process(now time.Time) (int, error) {
	in, limitMs, ready, err := t.choose()
	if err != nil || !ready {
		return 0, err
	}
	n := in.upTo(limitMs)
	records := in.chunk[in.done : in.done+n]
	if k := t.worker.skips.first(in.tp, records); k == 0 {
		if err := t.worker.reject(in, &records[0], t.worker.skips.reason(in.tp, records[0].Offset)); err != nil {
			return 0, err
		}
		in.advance(1)
		return 1, nil
	} else if k > 0 {
		records = records[:k]
	}
	done, err := in.process(records)
	if err == nil {
		in.advance(done)
		return done, nil
	}
	var re *topology.RecordError
	if !errors.As(err, &re) || done >= len(records) {
		return 0, fmt.Errorf("task %s: %w", t.id, err)
	}
	bad := records[done]
	in.advance(done)
	if !re.Clean {
		return done, &poisonError{tp: in.tp, offset: bad.Offset, err: re}
	}
	if err := t.worker.reject(in, &bad, re); err != nil {
		return done, err
	}
	in.advance(1)
	return done + 1, nil
}

// poisonError says that a record failed after it had effects: the transaction
// is aborted and replayed without it.
type poisonError struct {
	tp     logclient.TopicPartition
	offset int64
	err    *topology.RecordError
}

func (e *poisonError) Error() string {
	return fmt.Sprintf("record %s-%d offset %d: %v", e.tp.Topic, e.tp.Partition, e.offset, e.err)
}

func (e *poisonError) Unwrap() error { return e.err }

// uncommittedBytes is the size of the changes of state since the last commit.
func (t *task) uncommittedBytes() int64 {
	var n int64
	for _, s := range t.stores {
		n += s.store.UncommittedBytes()
	}
	return n
}

// prepareCommit emits what is emitted on commit and writes the changelogs.
func (t *task) prepareCommit() error {
	if err := t.built.Commit(); err != nil {
		return fmt.Errorf("task %s: commit: %w", t.id, err)
	}
	for _, s := range t.stores {
		err := s.store.Prepare(func(c statestore.Change) error {
			if s.log == nil {
				return nil
			}
			return t.worker.outputs.append(s.log, c.Timestamp, c.Key, c.Value, nil)
		})
		if err != nil {
			return fmt.Errorf("task %s: store %s: %w", t.id, s.spec.Name, err)
		}
	}
	t.out.rotate()
	return nil
}

// positions are what the task has processed and not committed.
func (t *task) positions() []logclient.Position {
	var out []logclient.Position
	meta := offsetMetadata{streamTime: t.ctx.StreamTime, transactionalID: t.worker.transactionalID}.encode()
	for _, in := range t.inputs {
		if in.moved {
			out = append(out, logclient.Position{TopicPartition: in.tp, Offset: in.position, LeaderEpoch: in.leaderEpoch, Metadata: meta})
		}
	}
	return out
}

// committed tells the task that everything up to its positions is durable.
func (t *task) committed(ends []logclient.Position) {
	t.committedStreamTime = t.ctx.StreamTime
	for _, in := range t.inputs {
		in.committed.Offset, in.committed.LeaderEpoch, in.moved = in.position, in.leaderEpoch, false
	}
	for _, s := range t.stores {
		if s.source != nil {
			s.cut.Offset, s.cut.LeaderEpoch = s.source.position, s.source.leaderEpoch
		} else if i := slices.IndexFunc(ends, func(p logclient.Position) bool { return p.TopicPartition == s.tp }); i >= 0 {
			s.cut.Offset, s.cut.LeaderEpoch = ends[i].Offset, ends[i].LeaderEpoch
		}
		s.store.Committed(s.cut)
	}
}

// rollback forgets everything since the last commit.
func (t *task) rollback() {
	if !t.running() {
		return
	}
	for _, s := range t.stores {
		s.store.Abort()
	}
	t.ctx.StreamTime = t.committedStreamTime
	for _, in := range t.inputs {
		in.reset(in.committed)
		t.worker.member.Seek(in.committed)
		in.paused = false
	}
}

// close gives the stores back. What is not committed is forgotten.
func (t *task) close() error {
	var errs []error
	for _, s := range t.stores {
		if s.store != nil {
			s.store.Abort()
		}
		if s.partition != nil {
			errs = append(errs, s.partition.Close())
		}
	}
	t.stores = nil
	t.worker.closeRestore(t)
	return errors.Join(errs...)
}
