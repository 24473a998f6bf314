package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/levada/levada/internal/checker"
)

// pipeline is one member of a group that makes one output of each input, and
// commits its offsets in the transactions of its outputs.
type pipeline struct {
	worker
	session *kgo.GroupTransactSession // of the client
	id      string
	group   string
	in, out string
	static  bool // it takes its own place again when it comes back
}

func (p *pipeline) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := p.openSession(ctx); err != nil {
			p.r.find(Stalled, "a client: %v", err)
			return
		}
		p.once(ctx)
	}
	p.end()
}

func (p *pipeline) openSession(ctx context.Context) error {
	if p.session != nil {
		return nil
	}
	var static []kgo.Opt
	if p.static {
		static = append(static, kgo.InstanceID(p.id))
	}
	session, err := kgo.NewGroupTransactSession(p.options(append(append(transactional(p.id, transactionTimeout), static...),
		kgo.ConsumerGroup(p.group), kgo.ConsumeTopics(p.in), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond),
		kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(300*time.Millisecond), kgo.RebalanceTimeout(6*time.Second),
	)...)...)
	if err != nil {
		return err
	}
	p.session, p.client = session, session.Client()
	p.r.mark(p.process, checker.Subscribe)
	// Its former life may have left a transaction open, whose offsets nobody is told
	// until it is ended.
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	for {
		if _, _, err := p.client.ProducerID(ctx); err == nil || !tick(ctx, 20*time.Millisecond) {
			return nil
		}
	}
}

// end leaves the group.
func (p *pipeline) end() {
	if p.session != nil {
		p.session.Close()
		p.session, p.client = nil, nil
		p.r.mark(p.process, checker.Crash)
	}
}

func (p *pipeline) once(ctx context.Context) {
	fetches := p.session.PollRecords(ctx, 1+p.rng.IntN(40))
	if fetches.Empty() || ctx.Err() != nil {
		return
	}
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), opTimeout)
	defer cancel()
	if err := p.session.Begin(); err != nil {
		p.end()
		return
	}
	op := p.r.begin(p.process, checker.Txn)
	readable := p.r.polled(op, fetches)
	inputs := fetches.Records()
	out := newOutcome(op, len(inputs))
	for i, in := range inputs {
		value := p.r.newValue()
		p.produce(work, out, i, p.out, value, fmt.Sprintf("%d %s %d", value, key(in.Topic, in.Partition), in.Offset))
	}
	answered := out.wait(work, p.client)
	want := kgo.TransactionEndTry(answered && readable && out.failed() == nil && p.rng.IntN(10) > 0)
	committed, err := p.session.End(work, want)
	switch {
	case committed:
		p.r.end(op, checker.OK, nil)
	case err == nil || errors.Is(err, kerr.OperationNotAttempted):
		p.r.end(op, checker.Fail, errors.Join(out.failed(), errors.New("aborted")))
		p.r.mark(p.process, checker.Subscribe) // it goes back
	default:
		// The session may have asked for the commit or not.
		p.end()
		p.r.end(op, checker.Info, err)
	}
}
