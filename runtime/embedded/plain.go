package embedded

import (
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
)

// plainProducer implements logclient.Transaction at least once: records are
// made durable first, the positions are committed after.
type plainProducer struct {
	broker *logbroker.Broker
	conn   *logbroker.Conn
	group  *membership

	mu      sync.Mutex // guards what follows
	waiting int        // batches that are not durable yet
	failed  error      // the first since the last Commit or Abort
	ends    []logclient.Position
	idle    []func() // run when waiting is 0
}

// Append implements logclient.Transaction.
func (p *plainProducer) Append(tp logclient.TopicPartition, batch recordbatch.Batch) error {
	batch.SetCRC()
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, int32(wire.Timeout.Milliseconds())
	t := kmsg.NewProduceRequestTopic()
	t.Topic = tp.Topic
	r := kmsg.NewProduceRequestTopicPartition()
	r.Partition, r.Records = tp.Partition, batch
	t.Partitions = append(t.Partitions, r)
	req.Topics = append(req.Topics, t)
	p.mu.Lock()
	p.waiting++
	p.mu.Unlock()
	n := int64(batch.LastOffsetDelta()) + 1
	answered := callAs[*kmsg.ProduceResponse](p.broker, p.conn, req)
	answered.OnDone(func() {
		resp, err := answered.Result()
		if err == nil {
			r := resp.Topics[0].Partitions[0]
			err = mapped(fmt.Sprintf("append to %s-%d", tp.Topic, tp.Partition), r.ErrorCode)
			if err == nil {
				p.durable(logclient.Position{TopicPartition: tp, Offset: r.BaseOffset + n, LeaderEpoch: -1})
			}
		}
		p.landed(err)
	})
	return nil
}

// durable notes how far a partition is written.
func (p *plainProducer) durable(end logclient.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.ends {
		if p.ends[i].TopicPartition == end.TopicPartition {
			p.ends[i].Offset = max(p.ends[i].Offset, end.Offset)
			return
		}
	}
	p.ends = append(p.ends, end)
}

// landed counts an answer and runs what waits for the last one.
func (p *plainProducer) landed(err error) {
	p.mu.Lock()
	p.waiting--
	if err != nil && p.failed == nil {
		p.failed = err
	}
	var run []func()
	if p.waiting == 0 {
		run, p.idle = p.idle, nil
	}
	p.mu.Unlock()
	for _, fn := range run {
		fn()
	}
}

// whenIdle calls fn once every batch handed over is durable or has failed.
func (p *plainProducer) whenIdle(fn func()) {
	p.mu.Lock()
	if p.waiting > 0 {
		p.idle = append(p.idle, fn)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	fn()
}

// taken returns what was written since the last call, and forgets it.
func (p *plainProducer) taken() (ends []logclient.Position, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ends, err = p.ends, p.failed
	p.ends, p.failed = nil, nil
	return ends, err
}

// Commit implements logclient.Transaction.
func (p *plainProducer) Commit(positions []logclient.Position) *logclient.Pending[logclient.CommitResult] {
	done := logclient.NewPending[logclient.CommitResult]()
	p.whenIdle(func() {
		ends, err := p.taken()
		if err != nil || len(positions) == 0 {
			done.Resolve(logclient.CommitResult{Ends: ends}, err)
			return
		}
		p.group.commit(func(g generation) *logclient.Pending[struct{}] {
			req := wire.CommitOffsets(p.group.group, positions)
			req.Generation, req.MemberID, req.InstanceID = g.number, g.memberID, p.group.instanceID
			return then(callAs[*kmsg.OffsetCommitResponse](p.broker, p.conn, req), func(resp *kmsg.OffsetCommitResponse) (struct{}, error) {
				return struct{}{}, wire.OffsetsCommitted(resp, mapped)
			})
		}, func(err error) { done.Resolve(logclient.CommitResult{Ends: ends}, err) })
	})
	return done
}

// Abort implements logclient.Transaction: what was written stays, only the
// positions are not committed.
func (p *plainProducer) Abort() *logclient.Pending[struct{}] {
	done := logclient.NewPending[struct{}]()
	p.whenIdle(func() {
		_, _ = p.taken() // the failure is why it is aborted
		done.Resolve(struct{}{}, nil)
	})
	return done
}
