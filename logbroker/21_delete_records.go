package logbroker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleDeleteRecords answers DeleteRecords, versions 0 to 2. Offset -1 is the
// high watermark. The new start is durable before anything is deleted.
func (b *Broker) handleDeleteRecords(r *request) {
	req := r.msg.(*kmsg.DeleteRecordsRequest)
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	type place struct {
		topic     string
		partition int32
	}
	last := map[place]int64{} // of those that are named again, as with Kafka
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			last[place{t.Topic, p.Partition}] = p.Offset
		}
	}
	b.spawn(func() {
		at := map[string]int{} // in the answer, where a topic that is named twice is told once
		for _, t := range req.Topics {
			if _, ok := at[t.Topic]; !ok && len(t.Partitions) > 0 {
				at[t.Topic] = len(resp.Topics)
				rt := kmsg.NewDeleteRecordsResponseTopic()
				rt.Topic = t.Topic
				resp.Topics = append(resp.Topics, rt)
			}
			for _, p := range t.Partitions {
				offset, left := last[place{t.Topic, p.Partition}]
				if !left {
					continue // was named twice, and answered once
				}
				delete(last, place{t.Topic, p.Partition})
				rp := kmsg.NewDeleteRecordsResponseTopicPartition()
				rp.Partition, rp.LowWatermark = p.Partition, -1
				start, err := b.deleteRecords(t.Topic, p.Partition, offset)
				if err != nil {
					rp.ErrorCode = errorCode(err)
				} else {
					rp.LowWatermark = start
				}
				rt := &resp.Topics[at[t.Topic]]
				rt.Partitions = append(rt.Partitions, rp)
			}
		}
		r.respond(resp)
	})
}

func (b *Broker) deleteRecords(topic string, index int32, offset int64) (start int64, err error) {
	p, err := b.topics.partition(b.topics.byName(topic), index)
	if err != nil {
		return -1, err
	}
	if !p.topic.policy.Load().expires {
		return -1, fmt.Errorf("%w: cleanup.policy of the topic does not delete", kerr.PolicyViolation)
	}
	if end := p.log.End(); end > p.highWatermark() { // acknowledged, it may be: see handleListOffsets
		synced := make(chan error, 1)
		p.syncTo(end, func(err error) { synced <- err })
		if err := <-synced; err != nil {
			return -1, err
		}
	}
	high := p.highWatermark()
	if offset == -1 {
		offset = high
	}
	if offset < 0 || offset > high {
		return -1, kerr.OffsetOutOfRange
	}
	raised, err := b.raiseStart(p, offset)
	if err != nil {
		return -1, err
	}
	if raised {
		p.notify()
	}
	return p.log.Start(), nil
}

// raiseStart deletes what lies below an offset, unless that was done.
func (b *Broker) raiseStart(p *partition, offset int64) (raised bool, err error) {
	p.starting.Lock()
	defer p.starting.Unlock()
	if offset <= p.log.Start() {
		return false, nil
	}
	batch := b.meta.NewBatch()
	batch.PutLogStart(p.id(), offset)
	if err := b.commit(batch); err != nil {
		return false, err
	}
	return true, p.log.DeleteTo(offset)
}
