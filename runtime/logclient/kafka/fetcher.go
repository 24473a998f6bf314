package kafka

import (
	"context"
	"sync"
	"time"

	"github.com/levada/levada/runtime/logclient"
)

const (
	defaultPollBytes = 4 << 20
	// partitionBytes is how much of one partition a request asks for, and how
	// much of it may lie fetched ahead before the next request.
	partitionBytes = 1 << 20
)

// fetcher implements logclient.Fetcher. One goroutine per broker fetches
// ahead, within bounds, and Poll takes what lies ready.
type fetcher struct {
	c         *client
	committed bool // read_committed
	maxBytes  int
	explicit  bool // Seek adds partitions
	wake      chan struct{}

	mu      sync.Mutex // guards what follows
	events  []logclient.Event
	parts   []*partition
	byName  map[logclient.TopicPartition]*partition
	queued  int // bytes fetched ahead, of all partitions
	next    int // where the next Poll begins, so that all get their turn
	batches []logclient.Batch
	brokers map[int32]*brokerFetch
	locator chan struct{} // capacity 1: a partition may have no known leader
}

// partition is one partition being read. version grows with every Seek: an
// answer to a request of an older version is dropped.
type partition struct {
	logclient.TopicPartition
	position int64 // of the next request
	version  int
	flowing  bool // has a position
	paused   bool
	inFlight bool
	told     bool // a batch has told End since Seek
	ready    []logclient.Batch
	sizes    []int
	bytes    int
	failures int // requests that failed since the last good one
	missing  time.Time
}

func newFetcher(c *client, committed bool, maxBytes int) *fetcher {
	if maxBytes <= 0 {
		maxBytes = defaultPollBytes
	}
	f := &fetcher{
		c: c, committed: committed, maxBytes: maxBytes, wake: make(chan struct{}, 1),
		byName: map[logclient.TopicPartition]*partition{}, brokers: map[int32]*brokerFetch{},
		locator: make(chan struct{}, 1),
	}
	c.wg.Go(f.locate)
	return f
}

// Wake implements logclient.Fetcher.
func (f *fetcher) Wake() <-chan struct{} { return f.wake }

func (f *fetcher) signal() { poke(f.wake) }

// poke puts a value into a channel of capacity 1.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Poll implements logclient.Fetcher.
func (f *fetcher) Poll(time.Time) logclient.Poll {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := logclient.Poll{Events: f.events}
	f.events = nil
	for _, e := range p.Events {
		f.apply(e)
	}
	clear(f.batches)
	f.batches = f.batches[:0]
	budget := f.maxBytes
	n := len(f.parts)
	drained := false
	for i := range n {
		part := f.parts[(f.next+i)%n]
		if budget <= 0 {
			f.signal()
			break
		}
		if part.paused || len(part.ready) == 0 {
			continue
		}
		budget -= f.take(part, budget)
		drained = true
	}
	if n > 0 {
		f.next = (f.next + 1) % n
	}
	if drained {
		f.fetchMore(false)
	}
	p.Batches = f.batches
	return p
}

// take hands batches of a partition over, at least one.
func (f *fetcher) take(p *partition, budget int) int {
	bytes, n := 0, 0
	for n < len(p.ready) && (n == 0 || bytes+p.sizes[n] <= budget) {
		bytes += p.sizes[n]
		n++
	}
	f.batches = append(f.batches, p.ready[:n]...)
	p.ready, p.sizes = p.ready[n:], p.sizes[n:]
	p.bytes -= bytes
	f.queued -= bytes
	if len(p.ready) > 0 {
		f.signal()
	}
	return bytes
}

// apply lets a change of membership take effect at the Poll that reports it.
func (f *fetcher) apply(e logclient.Event) {
	switch e.Kind {
	case logclient.Assigned:
		for _, tp := range e.Partitions {
			f.add(tp)
		}
	case logclient.Revoked, logclient.Lost:
		for _, tp := range e.Partitions {
			f.remove(tp)
		}
	}
}

func (f *fetcher) add(tp logclient.TopicPartition) *partition {
	if p := f.byName[tp]; p != nil {
		return p
	}
	p := &partition{TopicPartition: tp}
	f.byName[tp] = p
	f.parts = append(f.parts, p)
	return p
}

func (f *fetcher) remove(tp logclient.TopicPartition) {
	p := f.byName[tp]
	if p == nil {
		return
	}
	f.drop(p)
	delete(f.byName, tp)
	for i := range f.parts {
		if f.parts[i] == p {
			f.parts = append(f.parts[:i], f.parts[i+1:]...)
			return
		}
	}
}

// drop forgets what was fetched of a partition and is being fetched.
func (f *fetcher) drop(p *partition) {
	p.version++
	p.flowing = false
	f.queued -= p.bytes
	p.ready, p.sizes, p.bytes = nil, nil, 0
}

// Seek implements logclient.Fetcher. For a member, a partition that is not
// assigned is ignored: it was taken away meanwhile.
func (f *fetcher) Seek(pos logclient.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.byName[pos.TopicPartition]
	if p == nil && f.explicit {
		p = f.add(pos.TopicPartition)
	}
	if p == nil {
		return
	}
	f.drop(p)
	p.position, p.flowing, p.paused, p.told = pos.Offset, true, false, false
	p.failures, p.missing = 0, time.Time{}
	f.fetchMore(true)
}

// Pause implements logclient.Fetcher.
func (f *fetcher) Pause(tp logclient.TopicPartition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.byName[tp]; p != nil {
		p.paused = true
	}
}

// Resume implements logclient.Fetcher.
func (f *fetcher) Resume(tp logclient.TopicPartition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.byName[tp]
	if p == nil || !p.paused {
		return
	}
	p.paused = false
	if len(p.ready) > 0 {
		f.signal()
	}
	f.fetchMore(true)
}

// fetchMore lets the brokers' goroutines look for work; with interrupt also
// those that wait for a long fetch. The caller holds mu.
func (f *fetcher) fetchMore(interrupt bool) {
	for _, b := range f.brokers {
		poke(b.work)
		if interrupt && b.interrupt != nil {
			b.interrupt()
			b.interrupt = nil
		}
	}
	poke(f.locator)
}

// report queues an event for Poll.
func (f *fetcher) report(e logclient.Event) {
	f.mu.Lock()
	f.events = append(f.events, e)
	f.mu.Unlock()
	f.signal()
}

// locate finds the leaders of partitions that flow, and starts a goroutine for
// each broker that leads one.
func (f *fetcher) locate() {
	try := 0
	for {
		select {
		case <-f.c.ctx.Done():
			return
		case <-f.locator:
		}
		unknown := f.unknownTopics()
		if len(unknown) == 0 {
			try = 0
			continue
		}
		if err := f.c.findLeaders(f.c.ctx, unknown); err != nil && f.c.ctx.Err() == nil {
			f.c.log.Warn("cannot find the leaders of partitions", "topics", unknown, "err", f.c.failure("metadata", err))
		}
		if len(f.unknownTopics()) == 0 {
			try = 0
			continue
		}
		try++
		if !f.c.pause(try) {
			return
		}
		poke(f.locator)
	}
}

// unknownTopics lists topics with partitions that flow without a known leader,
// after it has given the others to their brokers' goroutines.
func (f *fetcher) unknownTopics() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var topics []string
	seen := map[string]bool{}
	for _, p := range f.parts {
		if !p.flowing {
			continue
		}
		id, ok := f.c.leader(p.TopicPartition)
		if !ok {
			if !seen[p.Topic] {
				seen[p.Topic] = true
				topics = append(topics, p.Topic)
			}
			f.giveUpMissing(p)
			continue
		}
		p.missing = time.Time{}
		if f.brokers[id] == nil {
			b := &brokerFetch{f: f, id: id, work: make(chan struct{}, 1)}
			f.brokers[id] = b
			f.c.wg.Go(b.run)
		}
		poke(f.brokers[id].work)
	}
	return topics
}

// missingAfter is how long a partition may have no leader before its reader is
// told.
const missingAfter = 10 * time.Second

func (f *fetcher) giveUpMissing(p *partition) {
	if p.missing.IsZero() {
		p.missing = time.Now()
	}
	if time.Since(p.missing) < missingAfter {
		return
	}
	f.drop(p)
	f.events = append(f.events, logclient.Event{
		Kind: logclient.OffsetGone, Partitions: []logclient.TopicPartition{p.TopicPartition},
		Err: readError(p, logclient.ErrUnknownTopic),
	})
	f.signal()
}

// brokerFetch fetches from one broker.
type brokerFetch struct {
	f         *fetcher
	id        int32
	work      chan struct{} // capacity 1: something may be fetched
	interrupt context.CancelFunc
}
