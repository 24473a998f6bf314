package kafka

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

const (
	// produceTimeout is how long a broker may wait for its followers.
	produceTimeout = 30 * time.Second
	// deliveryTimeout is how long a batch is sent again before it is given up.
	deliveryTimeout = 30 * time.Second
	// unknownTimeout is the same for a topic that does not exist: one that was
	// just created may not be known everywhere.
	unknownTimeout = 3 * time.Second
	// maxRequestBytes bounds a produce request, beside its first batch.
	maxRequestBytes = 16 << 20
)

// send writes the first waiting batch of each partition. Each broker gets one
// request, and the next only when it has answered: so batches stay in order,
// and at most one is in doubt.
func (p *producer) send() {
	waiting := p.waiting()
	requests := map[int32][]*outbox{}
	var unknown []string
	for _, o := range waiting {
		id, ok := p.c.leader(o.tp)
		if !ok {
			unknown = append(unknown, o.tp.Topic)
			continue
		}
		requests[id] = append(requests[id], o)
	}
	if len(unknown) > 0 {
		p.locate(waiting, unknown)
		return
	}
	if !p.v2 && p.id != "" {
		if err := p.addPartitions(waiting); err != nil {
			p.fail(err)
			return
		}
	}
	type answer struct {
		outs []*outbox
		resp *kmsg.ProduceResponse
		err  error
	}
	answers := make(chan answer, len(requests)) // each request sends one
	for id, outs := range requests {
		req := p.produceRequest(outs)
		p.c.wg.Go(func() {
			resp, err := p.c.Broker(int(id)).Request(p.c.ctx, req)
			r, _ := resp.(*kmsg.ProduceResponse)
			answers <- answer{outs, r, err}
		})
	}
	p.open = true
	tries := 0
	for range requests {
		a := <-answers
		tries = max(tries, p.sent(a.outs, a.resp, a.err))
	}
	if tries > 0 {
		p.c.pause(tries)
	}
}

// waiting lists the partitions with batches to be sent, as many as go into a
// request.
func (p *producer) waiting() []*outbox {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*outbox
	size := 0
	for _, o := range p.order {
		if len(o.batches) == 0 {
			continue
		}
		if size += len(o.batches[0]); size > maxRequestBytes && len(out) > 0 {
			break
		}
		out = append(out, o)
	}
	return out
}

// locate asks for leaders; it gives up on what stays unknown.
func (p *producer) locate(waiting []*outbox, topics []string) {
	err := p.c.findLeaders(p.c.ctx, topics)
	tries := 0
	for _, o := range waiting {
		if _, ok := p.c.leader(o.tp); ok {
			continue
		}
		cause := fmt.Errorf("%w: no partition with this number", logclient.ErrUnknownTopic)
		limit := unknownTimeout
		if err != nil {
			cause, limit = p.c.failure("metadata", err), deliveryTimeout
		}
		tries = max(tries, p.again(o, cause, limit))
	}
	if tries > 0 {
		p.c.pause(tries)
	}
}

// again counts a failed try of a partition's first batch, and gives the
// transaction up when the time is over.
func (p *producer) again(o *outbox, cause error, limit time.Duration) (tries int) {
	if o.tries == 0 {
		o.since = time.Now()
	}
	o.tries++
	if time.Since(o.since) >= limit {
		p.fail(p.aborted(o, cause))
	}
	return o.tries
}

func (p *producer) aborted(o *outbox, cause error) error {
	if errors.Is(cause, logclient.ErrFenced) || p.id == "" {
		return fmt.Errorf("append to %s-%d: %w", o.tp.Topic, o.tp.Partition, cause)
	}
	return fmt.Errorf("%w: append to %s-%d: %w", logclient.ErrAborted, o.tp.Topic, o.tp.Partition, cause)
}

func (p *producer) produceRequest(outs []*outbox) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, int32(produceTimeout.Milliseconds())
	if p.id != "" {
		req.TransactionID = &p.id
	}
	topics := map[string]int{}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range outs {
		batch := o.batches[0]
		if !o.stamped {
			batch.SetProducer(p.producerID, p.epoch, o.sequence, p.id != "")
			batch.SetCRC()
			o.stamped = true
		}
		k, ok := topics[o.tp.Topic]
		if !ok {
			k = len(req.Topics)
			topics[o.tp.Topic] = k
			t := kmsg.NewProduceRequestTopic()
			t.Topic = o.tp.Topic
			req.Topics = append(req.Topics, t)
		}
		r := kmsg.NewProduceRequestTopicPartition()
		r.Partition, r.Records = o.tp.Partition, batch
		req.Topics[k].Partitions = append(req.Topics[k].Partitions, r)
	}
	return req
}

// sent handles the answer to a request; it returns the try of a backoff, 0
// for none.
func (p *producer) sent(outs []*outbox, resp *kmsg.ProduceResponse, err error) (tries int) {
	if err != nil {
		cause := p.c.failure("produce", err)
		for _, o := range outs {
			p.c.forget(o.tp)
			tries = max(tries, p.again(o, cause, deliveryTimeout))
		}
		return tries
	}
	byName := map[logclient.TopicPartition]*outbox{}
	for _, o := range outs {
		byName[o.tp] = o
	}
	for _, t := range resp.Topics {
		for _, r := range t.Partitions {
			tp := logclient.TopicPartition{Topic: t.Topic, Partition: r.Partition}
			if o := byName[tp]; o != nil {
				delete(byName, tp)
				tries = max(tries, p.written(o, r.BaseOffset, kerr.ErrorForCode(r.ErrorCode), r.ErrorMessage))
			}
		}
	}
	for _, o := range byName {
		tries = max(tries, p.again(o, errors.New("kafka: produce: the broker did not answer for the partition"), deliveryTimeout))
	}
	return tries
}

// written handles the outcome of a partition's first batch.
func (p *producer) written(o *outbox, base int64, err error, message *string) (tries int) {
	switch {
	case err == nil || errors.Is(err, kerr.DuplicateSequenceNumber):
		p.acknowledge(o, base)
		return 0
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		p.c.forget(o.tp)
		return p.again(o, p.c.failure("produce", err), unknownTimeout)
	case errors.Is(err, kerr.ConcurrentTransactions):
		return p.again(o, p.c.failure("produce", err), deliveryTimeout)
	case kerr.IsRetriable(err) && !errors.Is(err, kerr.TransactionAbortable):
		p.c.forget(o.tp)
		return p.again(o, p.c.failure("produce", err), deliveryTimeout)
	}
	cause := p.c.failure("produce", err)
	if message != nil {
		cause = fmt.Errorf("%w (%s)", cause, *message)
	}
	p.fail(p.aborted(o, cause))
	return 0
}

// acknowledge takes the first batch of a partition off its queue.
func (p *producer) acknowledge(o *outbox, base int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	batch := o.batches[0]
	n := batch.LastOffsetDelta() + 1
	if base >= 0 {
		o.end = base + int64(n)
	}
	o.sequence = recordbatch.AddSequence(o.sequence, n)
	o.batches[0] = nil
	o.batches = o.batches[1:]
	o.stamped, o.tries, o.since = false, 0, time.Time{}
	p.queued -= len(batch)
	p.pending--
}

// addPartitions adds partitions to the transaction, before KIP-890.
func (p *producer) addPartitions(outs []*outbox) error {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = p.id, p.producerID, p.epoch
	topics := map[string]int{}
	for _, o := range outs {
		if o.added {
			continue
		}
		k, ok := topics[o.tp.Topic]
		if !ok {
			k = len(req.Topics)
			topics[o.tp.Topic] = k
			t := kmsg.NewAddPartitionsToTxnRequestTopic()
			t.Topic = o.tp.Topic
			req.Topics = append(req.Topics, t)
		}
		req.Topics[k].Partitions = append(req.Topics[k].Partitions, o.tp.Partition)
	}
	if len(req.Topics) == 0 {
		return nil
	}
	p.open = true
	err := p.retry("add partitions to the transaction", func() error {
		resp, err := req.RequestWith(p.c.ctx, p.c.Client)
		if err != nil {
			return err
		}
		for _, t := range resp.Topics {
			for _, r := range t.Partitions {
				if err := kerr.ErrorForCode(r.ErrorCode); err != nil && !errors.Is(err, kerr.OperationNotAttempted) {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		if errors.Is(err, logclient.ErrFenced) {
			return err
		}
		return fmt.Errorf("%w: %w", logclient.ErrAborted, err)
	}
	for _, o := range outs {
		o.added = true
	}
	return nil
}
