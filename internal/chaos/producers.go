package chaos

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/levada/levada/internal/checker"
)

// txnProducer writes transactions over partitions of several topics, and commits
// or aborts them.
type txnProducer struct {
	worker
	id     string
	topics []string
}

// transactionTimeout is after how long the server aborts what a producer has left
// open; nobody may have to wait longer than that.
const transactionTimeout = 10 * time.Second

// transactional are the options of a producer with a transactional id.
func transactional(id string, timeout time.Duration) []kgo.Opt {
	return []kgo.Opt{
		kgo.TransactionalID(id), kgo.TransactionTimeout(timeout),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
	}
}

func (p *txnProducer) run(ctx context.Context) {
	for ctx.Err() == nil {
		p.once(ctx)
		p.pause(ctx, 20*time.Millisecond)
	}
	p.drop()
}

func (p *txnProducer) once(ctx context.Context) {
	timeout := transactionTimeout
	if p.rng.IntN(20) == 0 {
		timeout = time.Second // some of its transactions are aborted by the server
	}
	if err := p.open(transactional(p.id, timeout)...); err != nil {
		p.r.find(Stalled, "a client: %v", err)
		return
	}
	// What was begun is brought to its end, whether the round ends or not.
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), opTimeout)
	defer cancel()
	if err := p.client.BeginTransaction(); err != nil {
		p.drop()
		return
	}
	op := p.r.begin(p.process, checker.Txn)
	out := p.send(work, op, 1+p.rng.IntN(10), p.topics...)
	if p.client == nil {
		p.r.end(op, checker.Fail, errNoAnswer)
		return
	}
	if p.rng.IntN(4) == 0 {
		p.pause(ctx, 200*time.Millisecond) // so that kills meet open transactions
	}
	if p.rng.IntN(30) == 0 {
		p.drop() // it dies in the middle
		p.r.end(op, checker.Fail, errors.New("its producer was ended"))
		return
	}
	p.finish(work, op, out.failed(), p.rng.IntN(4) > 0)
}

// finish ends a transaction and writes down how. One whose commit was never asked
// for has failed, also if nobody answered that it was aborted: the next producer
// of the id ends it. One whose commit was asked for, and not answered with yes,
// may have been committed.
func (w *worker) finish(ctx context.Context, op *checker.Op, failed error, commit bool) {
	if failed != nil || !commit {
		err := w.client.EndTransaction(ctx, kgo.TryAbort)
		if failed != nil || err != nil {
			w.drop()
		}
		w.r.end(op, checker.Fail, errors.Join(failed, err))
		return
	}
	err := w.client.EndTransaction(ctx, kgo.TryCommit)
	switch {
	case err == nil:
		w.r.end(op, checker.OK, nil)
	case errors.Is(err, kerr.OperationNotAttempted):
		w.drop()
		w.r.end(op, checker.Fail, err)
	default:
		w.drop()
		w.r.end(op, checker.Info, err)
	}
}

// plainProducer writes idempotently, without transactions.
type plainProducer struct {
	worker
	topics []string
}

func (p *plainProducer) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := p.open(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0)); err != nil {
			p.r.find(Stalled, "a client: %v", err)
			return
		}
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), opTimeout)
		op := p.r.begin(p.process, checker.Send)
		out := p.send(work, op, 1+p.rng.IntN(20), p.topics...)
		cancel()
		p.write(op, out)
		p.pause(ctx, 20*time.Millisecond)
	}
	p.drop()
}

// write writes the records down that were acknowledged, and beside them those of
// which nobody knows.
func (p *plainProducer) write(op *checker.Op, out *outcome) {
	unknown := *op
	unknown.Value = nil
	var acked []checker.Micro
	for i, m := range op.Value {
		if out.acks[i] == nil {
			acked = append(acked, m)
		} else {
			unknown.Value = append(unknown.Value, m)
		}
	}
	op.Value = acked
	if len(acked) > 0 {
		p.r.end(op, checker.OK, nil)
	}
	if len(unknown.Value) > 0 {
		p.drop()
		p.r.end(&unknown, checker.Info, out.failed())
	}
}

// zombies are two producers with one transactional id: while the first stands
// still in the middle of a transaction, the second takes its place; then the first
// goes on.
type zombies struct {
	worker // the one that takes over
	first  worker
	id     string
	topics []string
}

func (z *zombies) run(ctx context.Context) {
	for ctx.Err() == nil {
		z.once(ctx)
		z.pause(ctx, 50*time.Millisecond)
	}
	z.drop()
	z.first.drop()
}

func (z *zombies) once(ctx context.Context) {
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), opTimeout)
	defer cancel()
	first := z.openFirst(work)
	if first == nil {
		return
	}
	defer z.first.drop()
	if err := z.open(transactional(z.id, transactionTimeout)...); err != nil || z.client.BeginTransaction() != nil {
		z.drop()
		z.r.end(first, checker.Fail, errors.New("its producer was ended"))
		return
	}
	op := z.r.begin(z.process, checker.Txn)
	taken := z.send(work, op, 1+z.rng.IntN(4), z.topics...).failed()
	if taken != nil || z.client == nil {
		z.drop()
		z.r.end(op, checker.Fail, taken)
		z.r.end(first, checker.Fail, errors.New("its producer was ended"))
		return
	}
	// The second has been answered: whatever the first does from here on must
	// have no effect.
	z.goOn(work, first, z.rng.IntN(2) == 0)
	z.finish(work, op, nil, z.rng.IntN(4) > 0)
	z.r.end(first, checker.Fail, errors.New("another has taken its place"))
	z.drop() // the next zombie takes over from it
}

// openFirst starts the transaction of the first; nil: it could not.
func (z *zombies) openFirst(ctx context.Context) *checker.Op {
	if err := z.first.open(transactional(z.id, transactionTimeout)...); err != nil || z.first.client.BeginTransaction() != nil {
		z.first.drop()
		return nil
	}
	op := z.first.r.begin(z.first.process, checker.Txn)
	if out := z.first.send(ctx, op, 1+z.rng.IntN(4), z.topics...); out.failed() != nil {
		z.first.drop()
		z.r.end(op, checker.Fail, out.failed())
		return nil
	}
	return op
}

// goOn lets the first send to all partitions, and ask for the commit of what it
// has, while the second has a transaction open.
func (z *zombies) goOn(ctx context.Context, op *checker.Op, commit bool) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	z.first.send(ctx, op, 4, z.topics...)
	if commit && z.first.client != nil {
		_ = z.first.client.EndTransaction(ctx, kgo.TryCommit) // it is refused
	}
}
