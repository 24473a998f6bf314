package host

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

// memLogBytes bounds what a memLog takes in the life of a test.
const memLogBytes = 64 << 20

// memLog is a log in memory with transactions and fencing: what the host needs
// of the seam. A transaction's records become visible at its commit.
type memLog struct {
	mu     sync.Mutex // guards all
	topics map[string][]*memPartition
	owners map[string]*memWriter // by transactional id
	woken  []chan struct{}
	bytes  int64 // appended
	// onCommit is called after a transaction with records beside the host's own
	// was committed; it returns whether the answer gets lost.
	onCommit func() (lost bool)
}

type memPartition struct{ records []recordbatch.Record }

func newMemLog() *memLog {
	return &memLog{topics: map[string][]*memPartition{}, owners: map[string]*memWriter{}}
}

// Log.
func (l *memLog) Join(logclient.MemberConfig) (logclient.Member, error) { panic("not used") }
func (l *memLog) Admin() logclient.Admin                                { return memAdmin{l: l} }
func (l *memLog) Close() error                                          { return nil }

func (l *memLog) NewWriter(c logclient.WriterConfig) (logclient.Writer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &memWriter{log: l, id: c.TransactionalID}
	l.owners[w.id] = w
	return w, nil
}

func (l *memLog) NewReader(c logclient.ReaderConfig) (logclient.Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &memReader{log: l, next: map[logclient.TopicPartition]int64{}, wake: make(chan struct{}, 1)}
	for _, p := range c.Positions {
		r.next[p.TopicPartition] = p.Offset
	}
	l.woken = append(l.woken, r.wake)
	r.wake <- struct{}{}
	return r, nil
}

func (l *memLog) partition(tp logclient.TopicPartition) *memPartition {
	ps := l.topics[tp.Topic]
	if int(tp.Partition) >= len(ps) {
		return nil
	}
	return ps[tp.Partition]
}

// produce appends records outside any transaction.
func (l *memLog) produce(tp logclient.TopicPartition, records ...recordbatch.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.partition(tp)
	for _, r := range records {
		r.Offset = int64(len(p.records))
		p.records = append(p.records, r)
	}
	l.wakeAll()
}

func (l *memLog) wakeAll() {
	for _, w := range l.woken {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// taken is how many bytes were appended.
func (l *memLog) taken() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes
}

// all returns the records of a topic, partition after partition.
func (l *memLog) all(topic string) []recordbatch.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []recordbatch.Record
	for _, p := range l.topics[topic] {
		out = append(out, p.records...)
	}
	return out
}

func (l *memLog) create(topic string, partitions int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range partitions {
		l.topics[topic] = append(l.topics[topic], &memPartition{})
	}
}

type memAdmin struct {
	logclient.Admin // the methods not used here panic
	l               *memLog
}

func (a memAdmin) CreateTopics(specs []logclient.TopicSpec) *logclient.Pending[struct{}] {
	for _, s := range specs {
		a.l.create(s.Name, int(s.Partitions))
	}
	return logclient.Resolved(struct{}{}, nil)
}

func (a memAdmin) DescribeTopics(names []string, _ bool) *logclient.Pending[map[string]logclient.TopicInfo] {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	m := map[string]logclient.TopicInfo{}
	for _, n := range names {
		if ps, ok := a.l.topics[n]; ok {
			m[n] = logclient.TopicInfo{Name: n, Partitions: int32(len(ps))}
		}
	}
	return logclient.Resolved(m, nil)
}

func (a memAdmin) ListOffsets(tps []logclient.TopicPartition, spec logclient.OffsetSpec) *logclient.Pending[map[logclient.TopicPartition]logclient.Position] {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	m := map[logclient.TopicPartition]logclient.Position{}
	for _, tp := range tps {
		p := logclient.Position{TopicPartition: tp}
		if spec.Kind == logclient.LatestStable {
			p.Offset = int64(len(a.l.partition(tp).records))
		}
		m[tp] = p
	}
	return logclient.Resolved(m, nil)
}

// memWriter is a transactional producer.
type memWriter struct {
	log  *memLog
	id   string
	open []memAppend
}

type memAppend struct {
	tp      logclient.TopicPartition
	records []recordbatch.Record
}

func (w *memWriter) Append(tp logclient.TopicPartition, b recordbatch.Batch) error {
	w.log.mu.Lock()
	w.log.bytes += int64(len(b))
	full := w.log.bytes > memLogBytes
	w.log.mu.Unlock()
	if full {
		return fmt.Errorf("the log of the test is full: more than %d bytes", memLogBytes)
	}
	a := memAppend{tp: tp}
	err := eachRaw(b, func(r *recordbatch.Record) error {
		a.records = append(a.records, recordbatch.Record{
			Timestamp: r.Timestamp, Key: slices.Clone(r.Key), Value: slices.Clone(r.Value), Headers: slices.Clone(r.Headers),
		})
		return nil
	})
	w.open = append(w.open, a)
	return err
}

func (w *memWriter) Commit([]logclient.Position) *logclient.Pending[logclient.CommitResult] {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	appends := w.open
	w.open = nil
	if w.log.owners[w.id] != w {
		return logclient.Resolved(logclient.CommitResult{}, logclient.ErrFenced)
	}
	for _, a := range appends {
		p := w.log.partition(a.tp)
		if p == nil {
			return logclient.Resolved(logclient.CommitResult{}, fmt.Errorf("%v: %w", a.tp, logclient.ErrUnknownTopic))
		}
		for _, r := range a.records {
			r.Offset = int64(len(p.records))
			p.records = append(p.records, r)
		}
	}
	w.log.wakeAll()
	if len(appends) > 1 && w.log.onCommit != nil && w.log.onCommit() {
		return logclient.Resolved(logclient.CommitResult{}, logclient.ErrUnreachable)
	}
	return logclient.Resolved(logclient.CommitResult{}, nil)
}

func (w *memWriter) Abort() *logclient.Pending[struct{}] {
	w.open = nil
	return logclient.Resolved(struct{}{}, nil)
}

func (w *memWriter) Close() error { return nil }

// memReader reads explicit partitions; every other poll hands records over
// decoded, the others as a raw batch.
type memReader struct {
	log   *memLog
	next  map[logclient.TopicPartition]int64
	wake  chan struct{}
	polls int
}

const memPollRecords = 50

func (r *memReader) Poll(time.Time) logclient.Poll {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	r.polls++
	var out logclient.Poll
	for _, tp := range slices.SortedFunc(maps.Keys(r.next), func(a, b logclient.TopicPartition) int { return int(a.Partition - b.Partition) }) {
		p := r.log.partition(tp)
		from, end := r.next[tp], int64(len(p.records))
		if from >= end {
			continue
		}
		to := min(end, from+memPollRecords)
		b := logclient.Batch{TopicPartition: tp, Next: to, End: end}
		if r.polls%2 == 0 {
			b.Records = p.records[from:to]
		} else {
			b.Raw = rawBatch(p.records[from:to])
		}
		r.next[tp] = to
		out.Batches = append(out.Batches, b)
	}
	return out
}

func rawBatch(records []recordbatch.Record) recordbatch.Batch {
	var b recordbatch.Builder
	for _, rec := range records {
		b.Append(rec.Timestamp, rec.Key, rec.Value, rec.Headers)
	}
	raw := b.Batch()
	raw.SetBaseOffset(records[0].Offset)
	raw.SetCRC()
	return raw
}

func (r *memReader) Wake() <-chan struct{}           { return r.wake }
func (r *memReader) Seek(logclient.Position)         {}
func (r *memReader) Pause(logclient.TopicPartition)  {}
func (r *memReader) Resume(logclient.TopicPartition) {}
func (r *memReader) Close() error {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	r.log.woken = slices.DeleteFunc(r.log.woken, func(c chan struct{}) bool { return c == r.wake })
	return nil
}
