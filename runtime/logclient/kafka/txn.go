package kafka

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
)

// coordinatorTimeout is how long a request to a coordinator is sent again.
const coordinatorTimeout = 60 * time.Second

// retry sends a request until it is answered with something final: again
// while the coordinator moves, ends the transaction before, or is away.
func (p *producer) retry(what string, send func() error) error {
	start := time.Now()
	for try := 1; ; try++ {
		err := send()
		if err == nil {
			return nil
		}
		again := errors.Is(err, kerr.ConcurrentTransactions) || isTransport(err) ||
			wire.Sentinel(err) == logclient.ErrUnreachable || kerr.IsRetriable(err) && wire.Sentinel(err) == nil
		if !again || time.Since(start) > coordinatorTimeout || p.closed() {
			return p.c.failure(what, err)
		}
		if !p.c.pause(try) {
			return p.c.failure(what, err)
		}
	}
}

// closed tells whether to give up because Close was called.
func (p *producer) closed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closing
}

// acquire takes the transactional id, and with it fences the earlier holder.
// If it cannot the producer is dead.
func (p *producer) acquire() {
	err := p.initProducerID(wire.TakeID(p.id, p.timeout))
	if err != nil {
		p.kill(fmt.Errorf("take the transactional id %q: %w", p.id, err))
	}
}

func (p *producer) initProducerID(req *kmsg.InitProducerIDRequest) error {
	return p.retry("get a producer id", func() error {
		resp, err := req.RequestWith(p.c.ctx, p.c.Client)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return err
		}
		p.producerID, p.epoch, p.ready = resp.ProducerID, resp.ProducerEpoch, true
		return nil
	})
}

// commit ends a transaction of which everything is written.
func (p *producer) commit(e *ending) {
	if p.id == "" {
		p.resolve(e, p.commitPlain(e.positions))
		return
	}
	if !p.open && len(e.positions) == 0 {
		p.resolve(e, nil)
		return
	}
	if len(e.positions) > 0 {
		if err := p.commitPositions(e.positions); err != nil {
			if !errors.Is(err, logclient.ErrFenced) && !errors.Is(err, logclient.ErrAborted) {
				err = fmt.Errorf("%w: %w", logclient.ErrAborted, err)
			}
			p.fail(err)
			p.resolve(e, err)
			return
		}
	}
	uncertain, err := p.endTxn(true)
	switch {
	case err == nil:
		p.begun()
	case uncertain:
		p.kill(fmt.Errorf("the outcome of the last commit of %q is not known: %w", p.id, err))
		err = fmt.Errorf("the outcome of the commit of %q is not known: %w", p.id, err)
	default:
		p.fail(err)
	}
	p.resolve(e, err)
}

// begun makes ready for the next transaction after one has ended.
func (p *producer) begun() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open, p.grouped = false, false
	for _, o := range p.order {
		o.added = false
		if p.v2 {
			o.sequence = 0 // each transaction has its own epoch
		}
	}
}

// endTxn asks the coordinator to commit or abort, until it answers. uncertain
// tells, with an error, that it did not.
func (p *producer) endTxn(commit bool) (uncertain bool, err error) {
	what := "abort the transaction"
	if commit {
		what = "commit the transaction"
	}
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = p.id, p.producerID, p.epoch, commit
	err = p.retry(what, func() error {
		resp, err := req.RequestWith(p.c.ctx, p.c.Client)
		uncertain = isTransport(err)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			uncertain = kerr.IsRetriable(err) || errors.Is(err, kerr.UnknownServerError)
			return err
		}
		if p.v2 && resp.ProducerID >= 0 {
			p.producerID, p.epoch = resp.ProducerID, resp.ProducerEpoch
		}
		return nil
	})
	if err == nil {
		return false, nil
	}
	return uncertain, fmt.Errorf("transactional id %q: %w", p.id, err)
}

// abort drops the open transaction. After it everything begins anew with an
// epoch in which nothing that is still under way can be written.
func (p *producer) abort(e *ending) {
	failed := p.snapshot().failed
	if p.id == "" {
		p.abortPlain(e, failed)
		return
	}
	if !p.open {
		p.clear(true)
		p.resolve(e, nil)
		return
	}
	_, err := p.endTxn(false)
	empty := errors.Is(err, kerr.InvalidTxnState) // nothing had reached the coordinator
	if err != nil && !empty {
		if !errors.Is(err, logclient.ErrFenced) {
			err = fmt.Errorf("%w: %w", logclient.ErrFenced, err)
		}
		p.kill(err)
		p.resolve(e, err)
		return
	}
	if empty || !p.v2 && failed != nil {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis = &p.id, int32(p.timeout.Milliseconds())
		req.ProducerID, req.ProducerEpoch = p.producerID, p.epoch
		if err := p.initProducerID(req); err != nil {
			p.kill(fmt.Errorf("%w: new epoch of %q: %w", logclient.ErrFenced, p.id, err))
			p.resolve(e, p.snapshot().dead)
			return
		}
		p.clear(false)
	} else {
		p.clear(!p.v2)
	}
	p.resolve(e, nil)
}

// commitPositions adds positions to the transaction. Between two generations
// of the group it waits for the new one: the partitions are still ours until
// they are released.
func (p *producer) commitPositions(positions []logclient.Position) error {
	if !p.v2 && !p.grouped {
		req := kmsg.NewPtrAddOffsetsToTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = p.id, p.producerID, p.epoch, p.group.name
		p.open = true
		err := p.retry("add the group to the transaction", func() error {
			resp, err := req.RequestWith(p.c.ctx, p.c.Client)
			if err != nil {
				return err
			}
			return kerr.ErrorForCode(resp.ErrorCode)
		})
		if err != nil {
			return err
		}
		p.grouped = true
	}
	p.open = true
	req := wire.AddOffsets(p.id, p.group.name, positions)
	req.ProducerID, req.ProducerEpoch = p.producerID, p.epoch
	return p.asMember("commit positions", func(g generation) error {
		req.Generation, req.MemberID, req.InstanceID = g.number, g.memberID, p.group.instance()
		resp, err := req.RequestWith(p.c.ctx, p.c.Client)
		if err != nil {
			return err
		}
		return wire.OffsetsAdded(resp, codeError)
	})
}

// codeError is the bare error of a code: whoever retries says what was asked.
func codeError(_ string, code int16) error { return kerr.ErrorForCode(code) }

// asMember sends a request of a member of the group, again in the next
// generation if this one has ended meanwhile.
func (p *producer) asMember(what string, send func(generation) error) error {
	for {
		g := p.group.now()
		err := p.retry(what, func() error { return send(g) })
		if !wire.Moved(err) {
			return err
		}
		if !p.group.waitNext(g, p.timeout) {
			return err
		}
	}
}
