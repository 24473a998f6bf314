package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
)

const (
	defaultTransactionTimeout = 10 * time.Second
	// fenceTimeout is the transaction time-out with which an id is fenced; it
	// never counts, since the fencer opens no transaction.
	fenceTimeout = time.Minute
	// maxRetries bounds the requests that are sent again because the
	// coordinator is still ending the transaction before.
	maxRetries = 1000
	// closeTimeout bounds what close waits for.
	closeTimeout = 2 * time.Second
)

// producer implements logclient.Transaction with Kafka's transactions (KIP-98,
// KIP-890: the epoch grows with every transaction, partitions join by being
// written to). Answers of the broker may arrive on any goroutine.
type producer struct {
	broker *logbroker.Broker
	conn   *logbroker.Conn
	id     string
	group  *membership // nil outside a group
	ready  *logclient.Pending[struct{}]

	mu         sync.Mutex // guards what follows
	producerID int64
	epoch      int16
	open       bool // something was written in this transaction
	sequences  map[logclient.TopicPartition]int32
	ends       []logclient.Position
	answered   bool // there is a producer id, or unready says why not
	unready    error
	early      []appended // handed over before that
	failed     error      // of an early append
	closed     bool       // no longer asks for the id
}

type appended struct {
	tp    logclient.TopicPartition
	batch recordbatch.Batch
}

// newProducer takes the transactional id from whoever held it.
func newProducer(b *logbroker.Broker, id string, timeout time.Duration, group *membership) *producer {
	if timeout <= 0 {
		timeout = defaultTransactionTimeout
	}
	p := &producer{
		broker: b, conn: logbroker.NewConn(clientID, host), id: id, group: group,
		ready: logclient.NewPending[struct{}](), sequences: map[logclient.TopicPartition]int32{},
	}
	p.init(wire.TakeID(id, timeout), 0)
	return p
}

// init asks for the producer id, again where the transaction of the former holder had to be
// ended: at once, as the answer comes when that is done, and then now and again while
// somebody else ends it.
func (p *producer) init(req *kmsg.InitProducerIDRequest, tries int) {
	answered := callAs[*kmsg.InitProducerIDResponse](p.broker, p.conn, req)
	answered.OnDone(func() {
		resp, err := answered.Result()
		p.mu.Lock()
		again := tries < maxRetries && !p.closed
		p.mu.Unlock()
		if err == nil && resp.ErrorCode == kerr.ConcurrentTransactions.Code && again {
			if tries == 0 {
				p.init(req, 1)
			} else {
				time.AfterFunc(retryDelay, func() { p.init(req, tries+1) })
			}
			return
		}
		if err == nil {
			err = mapped(fmt.Sprintf("transactional id %q", p.id), resp.ErrorCode)
		}
		p.mu.Lock()
		if err == nil {
			p.producerID, p.epoch = resp.ProducerID, resp.ProducerEpoch
			for _, a := range p.early {
				if p.failed == nil {
					p.failed = p.write(a.tp, a.batch)
				}
			}
		}
		p.early, p.answered, p.unready = nil, true, err
		p.mu.Unlock()
		p.ready.Resolve(struct{}{}, err)
	})
}

// retryDelay is the time before a request is sent again to a coordinator that
// is still ending the transaction before.
const retryDelay = 2 * time.Millisecond

// Append implements logclient.Transaction.
func (p *producer) Append(tp logclient.TopicPartition, batch recordbatch.Batch) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.answered { // not ready.Done(), which comes a little later: who takes early batches would be gone
		p.early = append(p.early, appended{tp, slices.Clone(batch)})
		return nil
	}
	if p.unready != nil {
		return p.unready
	}
	return p.write(tp, batch)
}

// Copies implements logclient.Copier: the broker has written a batch to the
// page cache when Append returns.
func (p *producer) Copies() bool { return true }

// write hands a batch to the broker. The caller holds mu.
func (p *producer) write(tp logclient.TopicPartition, batch recordbatch.Batch) error {
	n := batch.LastOffsetDelta() + 1
	seq := p.sequences[tp]
	batch.SetProducer(p.producerID, p.epoch, seq, true)
	batch.SetCRC()
	p.open = true
	base, err := p.broker.Append(tp.Topic, tp.Partition, batch)
	if err != nil {
		return fmt.Errorf("append to %s-%d: %w", tp.Topic, tp.Partition, sentinel(err))
	}
	p.sequences[tp] = recordbatch.AddSequence(seq, n)
	end := logclient.Position{TopicPartition: tp, Offset: base + int64(n), LeaderEpoch: batch.LeaderEpoch()}
	for i := range p.ends {
		if p.ends[i].TopicPartition == tp {
			p.ends[i] = end
			return nil
		}
	}
	p.ends = append(p.ends, end)
	return nil
}

// Commit implements logclient.Transaction.
func (p *producer) Commit(positions []logclient.Position) *logclient.Pending[logclient.CommitResult] {
	done := logclient.NewPending[logclient.CommitResult]()
	p.ready.OnDone(func() {
		if _, err := p.ready.Result(); err != nil {
			done.Resolve(logclient.CommitResult{}, err)
			return
		}
		p.mu.Lock()
		failed, open := p.failed, p.open
		p.open = open || len(positions) > 0
		p.mu.Unlock()
		switch {
		case failed != nil:
			done.Resolve(logclient.CommitResult{}, failed)
		case !open && len(positions) == 0:
			done.Resolve(logclient.CommitResult{}, nil)
		case len(positions) == 0:
			p.end(true, done, 0)
		default:
			p.group.commit(func(g generation) *logclient.Pending[struct{}] {
				added := logclient.NewPending[struct{}]()
				p.addOffsets(positions, g, added, 0)
				return added
			}, func(err error) {
				if err != nil {
					done.Resolve(logclient.CommitResult{}, err)
					return
				}
				p.end(true, done, 0)
			})
		}
	})
	return done
}

// addOffsets adds positions to the transaction, again while the one before is
// being ended.
func (p *producer) addOffsets(positions []logclient.Position, g generation, added *logclient.Pending[struct{}], tries int) {
	req := wire.AddOffsets(p.id, p.group.group, positions)
	req.Generation, req.MemberID, req.InstanceID = g.number, g.memberID, p.group.instanceID
	p.mu.Lock()
	req.ProducerID, req.ProducerEpoch = p.producerID, p.epoch
	p.mu.Unlock()
	answered := callAs[*kmsg.TxnOffsetCommitResponse](p.broker, p.conn, req)
	answered.OnDone(func() {
		resp, err := answered.Result()
		if err == nil {
			err = wire.OffsetsAdded(resp, mapped)
		}
		if errors.Is(err, kerr.ConcurrentTransactions) && tries < maxRetries {
			time.AfterFunc(retryDelay, func() { p.addOffsets(positions, g, added, tries+1) })
			return
		}
		added.Resolve(struct{}{}, err)
	})
}

// end ends the transaction; the broker answers with the next epoch.
func (p *producer) end(commit bool, done *logclient.Pending[logclient.CommitResult], tries int) {
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.Commit = p.id, commit
	p.mu.Lock()
	req.ProducerID, req.ProducerEpoch = p.producerID, p.epoch
	p.mu.Unlock()
	answered := callAs[*kmsg.EndTxnResponse](p.broker, p.conn, req)
	answered.OnDone(func() {
		resp, err := answered.Result()
		if err == nil && resp.ErrorCode == kerr.ConcurrentTransactions.Code && tries < maxRetries {
			time.AfterFunc(retryDelay, func() { p.end(commit, done, tries+1) })
			return
		}
		if err == nil {
			err = mapped(fmt.Sprintf("end transaction of %q", p.id), resp.ErrorCode)
		}
		var result logclient.CommitResult
		if err == nil {
			p.mu.Lock()
			result.Ends = p.ends
			p.producerID, p.epoch = resp.ProducerID, resp.ProducerEpoch
			p.reset()
			p.mu.Unlock()
		}
		done.Resolve(result, err)
	})
}

// close waits until the request for the producer id is answered: one that is
// still under way would take the id from whoever asks for it after close.
func (p *producer) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_, _ = p.ready.Wait(ctx)
}

// reset forgets the transaction. Sequences begin anew with each epoch. The
// caller holds mu.
func (p *producer) reset() {
	p.open, p.ends, p.failed = false, nil, nil
	clear(p.sequences)
}

// Abort implements logclient.Transaction.
func (p *producer) Abort() *logclient.Pending[struct{}] {
	out := logclient.NewPending[struct{}]()
	p.ready.OnDone(func() {
		_, err := p.ready.Result()
		p.mu.Lock()
		open := p.open
		if !open {
			p.reset()
		}
		p.mu.Unlock()
		if err != nil || !open {
			out.Resolve(struct{}{}, err)
			return
		}
		ended := logclient.NewPending[logclient.CommitResult]()
		p.end(false, ended, 0)
		ended.OnDone(func() {
			_, err := ended.Result()
			if errors.Is(err, kerr.InvalidTxnState) {
				// Nothing reached the broker: there is no transaction to abort.
				p.mu.Lock()
				p.reset()
				p.mu.Unlock()
				err = nil
			}
			out.Resolve(struct{}{}, err)
		})
	})
	return out
}

// writer implements logclient.Writer.
type writer struct{ *producer }

// NewWriter implements logclient.Log.
func (l *Log) NewWriter(cfg logclient.WriterConfig) (logclient.Writer, error) {
	if cfg.TransactionalID == "" {
		return nil, errors.New("embedded: a writer needs a transactional id")
	}
	return writer{newProducer(l.broker, cfg.TransactionalID, cfg.TransactionTimeout, nil)}, nil
}

// Close implements logclient.Writer. An open transaction is aborted by the next
// holder of the id, or by its time-out.
func (w writer) Close() error {
	w.close()
	return nil
}
