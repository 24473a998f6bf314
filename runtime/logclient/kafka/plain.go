package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/runtime/logclient"
)

// commitPlain commits positions at least once: everything appended is written.
func (p *producer) commitPlain(positions []logclient.Position) error {
	if len(positions) == 0 {
		return nil
	}
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = p.group.name
	topics := map[string]int{}
	for _, pos := range positions {
		k, ok := topics[pos.Topic]
		if !ok {
			k = len(req.Topics)
			topics[pos.Topic] = k
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic = pos.Topic
			req.Topics = append(req.Topics, t)
		}
		r := kmsg.NewOffsetCommitRequestTopicPartition()
		r.Partition, r.Offset, r.LeaderEpoch, r.Metadata = pos.Partition, pos.Offset, pos.LeaderEpoch, &pos.Metadata
		req.Topics[k].Partitions = append(req.Topics[k].Partitions, r)
	}
	return p.asMember("commit positions", func(g generation) error {
		req.Generation, req.MemberID, req.InstanceID = g.number, g.memberID, p.group.instance()
		resp, err := req.RequestWith(p.c.ctx, p.c.Client)
		if err != nil {
			return err
		}
		for _, t := range resp.Topics {
			for _, r := range t.Partitions {
				if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
					return err
				}
			}
		}
		return nil
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
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch = -1, -1
	if err := p.initProducerID(req); err != nil {
		p.kill(err)
		p.resolve(e, err)
		return
	}
	p.resolve(e, nil)
}

var _ logclient.Transaction = (*producer)(nil)
