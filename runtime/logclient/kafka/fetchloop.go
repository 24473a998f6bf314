package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
)

// How long a broker may wait for the first byte of an answer.
const (
	longWait = 500 * time.Millisecond // everything is being asked for
	idleWait = 50 * time.Millisecond  // a partition may begin to flow at any time
	fullWait = 5 * time.Millisecond   // a partition has enough lying ready
)

// asked is one partition of a request.
type asked struct {
	part     *partition
	version  int
	position int64
}

// run fetches until the client is closed.
func (b *brokerFetch) run() {
	failures := 0
	cut := false // the last request was interrupted
	for {
		req, parts, ctx, cancel := b.request()
		if len(parts) == 0 {
			cancel()
			select {
			case <-b.work:
				continue
			case <-b.f.c.ctx.Done():
				return
			}
		}
		resp, err := b.f.c.Broker(int(b.id)).Request(ctx, req)
		interrupted := ctx.Err() != nil
		cancel()
		if b.f.c.ctx.Err() != nil {
			return
		}
		if err != nil {
			// An interruption ends the connection, and the request behind it, if it
			// came before that was known: neither is a fault of the broker.
			expected := interrupted || cut
			cut = interrupted
			b.failed(parts, expected)
			if expected {
				continue
			}
			failures++
			b.f.c.log.Warn("fetch failed", "broker", b.id, "err", err)
			if !b.f.c.pause(failures) {
				return
			}
			continue
		}
		failures, cut = 0, false
		if wait := b.answered(resp.(*kmsg.FetchResponse), parts); wait > 0 && !b.f.c.pause(wait) {
			return
		}
	}
}

// request asks for every partition that this broker leads and that has room.
func (b *brokerFetch) request() (*kmsg.FetchRequest, map[logclient.TopicPartition]asked, context.Context, context.CancelFunc) {
	f := b.f
	ctx, cancel := context.WithCancel(f.c.ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	b.interrupt = nil
	parts := map[logclient.TopicPartition]asked{}
	wait := longWait
	topics := map[string]int{}
	req := kmsg.NewPtrFetchRequest()
	for i := range f.parts {
		p := f.parts[(f.next+i)%len(f.parts)]
		if id, ok := f.c.leader(p.TopicPartition); p.inFlight || ok && id != b.id {
			continue
		} else if !ok || !p.flowing || p.paused {
			wait = min(wait, idleWait)
			continue
		}
		if p.bytes >= partitionBytes || f.queued >= 2*f.maxBytes {
			wait = fullWait
			continue
		}
		p.inFlight = true
		parts[p.TopicPartition] = asked{p, p.version, p.position}
		k, ok := topics[p.Topic]
		if !ok {
			k = len(req.Topics)
			topics[p.Topic] = k
			t := kmsg.NewFetchRequestTopic()
			t.Topic = p.Topic
			req.Topics = append(req.Topics, t)
		}
		r := kmsg.NewFetchRequestTopicPartition()
		r.Partition, r.FetchOffset, r.PartitionMaxBytes, r.CurrentLeaderEpoch = p.Partition, p.position, partitionBytes, -1
		r.LogStartOffset = -1
		req.Topics[k].Partitions = append(req.Topics[k].Partitions, r)
		if !p.told {
			wait = 0 // learn where the partition ends
		}
	}
	req.ReplicaID, req.MinBytes, req.MaxBytes = -1, 1, int32(f.maxBytes)
	req.MaxWaitMillis = int32(wait.Milliseconds())
	req.SessionID, req.SessionEpoch = 0, -1
	if f.committed {
		req.IsolationLevel = 1
	}
	if wait > idleWait {
		b.interrupt = cancel
	}
	return req, parts, ctx, cancel
}

// failed returns partitions whose request had no answer. Unless that was expected
// the broker may have gone: its partitions may have a new leader.
func (b *brokerFetch) failed(parts map[logclient.TopicPartition]asked, expected bool) {
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	for tp, a := range parts {
		a.part.inFlight = false
		if !expected {
			f.c.forget(tp)
		}
	}
	if !expected {
		poke(f.locator)
	}
}

// answered takes the batches of a response. It returns which try of a backoff
// to wait for before the next request, 0 for none.
func (b *brokerFetch) answered(resp *kmsg.FetchResponse, parts map[logclient.TopicPartition]asked) (wait int) {
	f := b.f
	failure := kerr.ErrorForCode(resp.ErrorCode)
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			r := &t.Partitions[j]
			tp := logclient.TopicPartition{Topic: t.Topic, Partition: r.Partition}
			a, ok := parts[tp]
			if !ok {
				continue
			}
			delete(parts, tp)
			err := kerr.ErrorForCode(r.ErrorCode)
			var got fetched
			if err == nil {
				got, err = decode(r, tp, a.position, f.committed)
			}
			if err == nil && len(got.batches) == 0 && len(r.RecordBatches) > 0 {
				err = fmt.Errorf("a batch of more than %d bytes", len(r.RecordBatches))
			}
			wait = max(wait, f.accept(a, r, got, err))
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range parts {
		a.part.inFlight = false // not answered: asked for again
		wait = max(wait, 1)
	}
	if failure != nil {
		f.c.log.Warn("fetch failed", "broker", b.id, "err", failure)
		wait = max(wait, 5)
	}
	return wait
}

// accept queues what was fetched of a partition.
func (f *fetcher) accept(a asked, r *kmsg.FetchResponseTopicPartition, got fetched, err error) (wait int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := a.part
	p.inFlight = false
	if p.version != a.version {
		return 0
	}
	if err != nil {
		return f.refused(p, err)
	}
	p.failures = 0
	if len(got.batches) == 0 {
		if p.told {
			return 0
		}
		end := r.HighWatermark
		if f.committed && r.LastStableOffset >= 0 {
			end = r.LastStableOffset
		}
		got.batches = []logclient.Batch{{TopicPartition: p.TopicPartition, Next: p.position, LeaderEpoch: -1, End: max(end, p.position)}}
	}
	p.told = true
	p.position = got.next
	for _, b := range got.batches {
		p.ready = append(p.ready, b)
		p.sizes = append(p.sizes, len(b.Raw))
	}
	p.bytes += got.bytes
	f.queued += got.bytes
	if !p.paused {
		f.signal()
	}
	return 0
}

// refused handles an error of one partition. The caller holds mu.
func (f *fetcher) refused(p *partition, err error) (wait int) {
	kind := logclient.Fatal
	switch {
	case errors.Is(err, kerr.OffsetOutOfRange):
		kind = logclient.OffsetGone
	case errors.Is(err, recordbatch.ErrCorrupt):
	case kerr.IsRetriable(err) || errors.Is(err, kerr.FencedLeaderEpoch) || errors.Is(err, kerr.UnknownTopicOrPartition):
		p.failures++
		f.c.forget(p.TopicPartition)
		poke(f.locator)
		return p.failures
	}
	f.drop(p)
	f.events = append(f.events, logclient.Event{
		Kind: kind, Partitions: []logclient.TopicPartition{p.TopicPartition}, Err: readError(p, err),
	})
	f.signal()
	return 0
}

func readError(p *partition, err error) error {
	if ours := wire.Sentinel(err); ours != nil {
		err = fmt.Errorf("%w: %w", ours, err)
	}
	return fmt.Errorf("read %s-%d at offset %d: %w", p.Topic, p.Partition, p.position, err)
}
