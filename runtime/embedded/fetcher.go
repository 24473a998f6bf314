package embedded

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
)

const (
	defaultPollBytes = 4 << 20
	// partitionBytes bounds what one partition adds to a Poll.
	partitionBytes = 1 << 20
)

// fetcher implements logclient.Fetcher: it reads on Poll, and the broker wakes
// it when a partition advances. It belongs to one goroutine.
type fetcher struct {
	broker    *logbroker.Broker
	committed bool // read_committed
	maxBytes  int
	wake      chan struct{}
	parts     []*partition
	next      int // where the next Poll begins, so that all get their turn
	batches   []logclient.Batch
}

// partition is one partition being read.
type partition struct {
	logclient.TopicPartition
	position int64
	flowing  bool
	told     bool   // End has been told since Seek
	buf      []byte // reused by each Poll
	cancel   func()
}

func newFetcher(b *logbroker.Broker, readUncommitted bool, maxBytes int) *fetcher {
	if maxBytes <= 0 {
		maxBytes = defaultPollBytes
	}
	return &fetcher{broker: b, committed: !readUncommitted, maxBytes: maxBytes, wake: make(chan struct{}, 1)}
}

// Wake implements logclient.Fetcher.
func (f *fetcher) Wake() <-chan struct{} { return f.wake }

// signal may be called from any goroutine.
func (f *fetcher) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *fetcher) find(tp logclient.TopicPartition) *partition {
	for _, p := range f.parts {
		if p.TopicPartition == tp {
			return p
		}
	}
	return nil
}

// add starts to watch a partition; it does not flow yet.
func (f *fetcher) add(tp logclient.TopicPartition) *partition {
	p := &partition{TopicPartition: tp}
	p.cancel = f.broker.Watch(tp.Topic, tp.Partition, f.committed, f.signal)
	f.parts = append(f.parts, p)
	return p
}

// remove forgets a partition.
func (f *fetcher) remove(tp logclient.TopicPartition) {
	for i, p := range f.parts {
		if p.TopicPartition == tp {
			p.cancel()
			f.parts = append(f.parts[:i], f.parts[i+1:]...)
			return
		}
	}
}

func (f *fetcher) removeAll() {
	for _, p := range f.parts {
		p.cancel()
	}
	f.parts = nil
}

// Seek implements logclient.Fetcher. A partition that is not ours is ignored:
// it was taken away meanwhile.
func (f *fetcher) Seek(pos logclient.Position) {
	if p := f.find(pos.TopicPartition); p != nil {
		p.position, p.flowing, p.told = pos.Offset, true, false
		f.signal()
	}
}

// Pause implements logclient.Fetcher.
func (f *fetcher) Pause(tp logclient.TopicPartition) {
	if p := f.find(tp); p != nil {
		p.flowing = false
	}
}

// Resume implements logclient.Fetcher.
func (f *fetcher) Resume(tp logclient.TopicPartition) {
	if p := f.find(tp); p != nil {
		p.flowing = true
		f.signal()
	}
}

// fetch reads what the flowing partitions hold.
func (f *fetcher) fetch(poll *logclient.Poll) {
	f.batches = f.batches[:0]
	budget := f.maxBytes
	n := len(f.parts)
	more := false
	for i := range n {
		p := f.parts[(f.next+i)%n]
		if !p.flowing {
			continue
		}
		if budget <= 0 {
			more = true
			break
		}
		got, unread, err := f.read(p, min(budget, partitionBytes))
		if err != nil {
			p.flowing = false
			poll.Events = append(poll.Events, logclient.Event{
				Kind: eventKind(err), Partitions: []logclient.TopicPartition{p.TopicPartition},
				Err: fmt.Errorf("read %s-%d at offset %d: %w", p.Topic, p.Partition, p.position, err),
			})
			continue
		}
		budget -= got
		more = more || unread
	}
	if more {
		f.signal() // or nobody would come back for what is left
	}
	if n > 0 {
		f.next = (f.next + 1) % n
	}
	poll.Batches = f.batches
}

func eventKind(err error) logclient.EventKind {
	if errors.Is(err, logclient.ErrOffsetGone) {
		return logclient.OffsetGone
	}
	return logclient.Fatal
}

// read reads batches of one partition and queues those with records to be
// seen. unread tells that the partition holds more.
func (f *fetcher) read(p *partition, maxBytes int) (got int, unread bool, err error) {
	res, err := f.broker.Fetch(p.Topic, p.Partition, p.position, f.committed, maxBytes, p.buf[:0])
	if err != nil {
		return 0, false, sentinel(err)
	}
	end := res.HighWatermark
	if f.committed {
		end = res.LastStableOffset
	}
	if len(res.Batches) == 0 {
		if !p.told {
			// Whoever waits for this partition must hear that it is empty.
			f.batches = append(f.batches, logclient.Batch{TopicPartition: p.TopicPartition, Next: p.position, LeaderEpoch: -1, End: end})
		}
		p.told = true
		return 0, false, nil
	}
	p.buf, p.told = res.Batches, true
	before := len(f.batches)
	var list []wire.AbortedTxn
	for _, a := range res.Aborted {
		list = append(list, wire.AbortedTxn(a))
	}
	aborted := wire.NewAborted(list)
	for rest := res.Batches; len(rest) > 0; {
		var batch recordbatch.Batch
		if batch, rest, err = recordbatch.Split(rest); err != nil {
			return 0, false, err
		}
		if err := batch.Validate(); err != nil {
			return 0, false, fmt.Errorf("%w: %w", kerr.CorruptMessage, err)
		}
		next := batch.NextOffset()
		hidden := aborted.Hides(batch) && f.committed || batch.IsControl() || batch.Count() == 0
		if next <= p.position {
			continue
		}
		p.position = next
		out := logclient.Batch{TopicPartition: p.TopicPartition, Next: next, LeaderEpoch: batch.LeaderEpoch(), End: end}
		if !hidden {
			out.Raw = batch
		} else if len(f.batches) > before {
			// Nothing to be seen: the batch before it moves the position.
			last := &f.batches[len(f.batches)-1]
			last.Next = next
			continue
		}
		f.batches = append(f.batches, out)
	}
	return len(res.Batches), p.position < end, nil
}

// reader implements logclient.Reader.
type reader struct {
	*fetcher
}

// NewReader implements logclient.Log.
func (l *Log) NewReader(cfg logclient.ReaderConfig) (logclient.Reader, error) {
	r := &reader{newFetcher(l.broker, cfg.ReadUncommitted, cfg.MaxPollBytes)}
	for _, pos := range cfg.Positions {
		r.Seek(pos)
	}
	return r, nil
}

// Seek implements logclient.Fetcher: a reader takes any partition.
func (r *reader) Seek(pos logclient.Position) {
	if r.find(pos.TopicPartition) == nil {
		r.add(pos.TopicPartition)
	}
	r.fetcher.Seek(pos)
}

// Poll implements logclient.Fetcher.
func (r *reader) Poll(time.Time) logclient.Poll {
	var p logclient.Poll
	r.fetch(&p)
	return p
}

// Close implements logclient.Reader.
func (r *reader) Close() error {
	r.removeAll()
	return nil
}
