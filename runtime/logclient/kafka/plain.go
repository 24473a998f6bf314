package kafka

import (
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
)

// commitPlain commits positions at least once: everything appended is written.
func (p *producer) commitPlain(positions []logclient.Position) error {
	if len(positions) == 0 {
		return nil
	}
	req := wire.CommitOffsets(p.group.name, positions)
	return p.asMember("commit positions", func(g generation) error {
		req.Generation, req.MemberID, req.InstanceID = g.number, g.memberID, p.group.instance()
		resp, err := req.RequestWith(p.c.ctx, p.c.Client)
		if err != nil {
			return err
		}
		return wire.OffsetsCommitted(resp, codeError)
	})
}

// abortPlain forgets what is not sent; what was written stays. After a failure
// a new producer id is taken: nobody knows which sequence numbers were used.
func (p *producer) abortPlain(e *ending, failed error) {
	if failed == nil && p.snapshot().pending == 0 {
		p.clear(true)
		p.resolve(e, nil)
		return
	}
	p.clear(false)
	if err := p.initProducerID(wire.TakeID("", 0)); err != nil {
		p.kill(err)
		p.resolve(e, err)
		return
	}
	p.resolve(e, nil)
}

var _ logclient.Transaction = (*producer)(nil)
