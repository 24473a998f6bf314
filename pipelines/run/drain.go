package run

import (
	"context"
	"fmt"
	"time"

	"github.com/levada/levada/runtime/logclient"
)

// drainPoll is how often sinks are asked whether they have all.
const drainPoll = 50 * time.Millisecond

// drained tells whether the sinks have written everything in their topics.
func (p *pipeline) drained(ctx context.Context) (bool, error) {
	for i, s := range p.sinks {
		topic := p.plan.Sinks[i].Topic
		left, err := p.left(ctx, topic, s.Status().Positions)
		if err != nil {
			return false, fmt.Errorf("sink %q: %w", p.plan.Sinks[i].Name, err)
		}
		if len(left) == 0 {
			continue
		}
		unread, err := p.unread(ctx, left)
		if err != nil {
			return false, fmt.Errorf("sink %q: %w", p.plan.Sinks[i].Name, err)
		}
		if unread {
			return false, nil
		}
	}
	return true, nil
}

// stretch is what of a partition a sink has not confirmed.
type stretch struct{ from, end int64 }

// left is where a sink's positions are before the ends of the topic. Behind
// its last record there may be nothing but the marks of transactions.
func (p *pipeline) left(ctx context.Context, topic string, positions map[logclient.TopicPartition]int64) (map[logclient.TopicPartition]stretch, error) {
	admin := p.Log.Admin()
	infos, err := admin.DescribeTopics([]string{topic}, false).Wait(ctx)
	if err != nil {
		return nil, err
	}
	var tps []logclient.TopicPartition
	for n := range infos[topic].Partitions {
		tps = append(tps, logclient.TopicPartition{Topic: topic, Partition: n})
	}
	starts, err := admin.ListOffsets(tps, logclient.OffsetSpec{Kind: logclient.Earliest}).Wait(ctx)
	if err != nil {
		return nil, err
	}
	ends, err := admin.ListOffsets(tps, logclient.OffsetSpec{Kind: logclient.LatestStable}).Wait(ctx)
	if err != nil {
		return nil, err
	}
	out := map[logclient.TopicPartition]stretch{}
	for _, tp := range tps {
		from := max(starts[tp].Offset, positions[tp])
		if end := ends[tp].Offset; from < end {
			out[tp] = stretch{from, end}
		}
	}
	return out, nil
}

// unread tells whether records lie in what is left.
func (p *pipeline) unread(ctx context.Context, left map[logclient.TopicPartition]stretch) (bool, error) {
	var from []logclient.Position
	for tp, s := range left {
		from = append(from, logclient.Position{TopicPartition: tp, Offset: s.from, LeaderEpoch: -1})
	}
	r, err := p.Log.NewReader(logclient.ReaderConfig{Positions: from})
	if err != nil {
		return false, err
	}
	defer func() {
		if err := r.Close(); err != nil {
			p.Logger.Warn("closing a reader", "pipeline", p.plan.Name, "err", err)
		}
	}()
	for len(left) > 0 {
		poll := r.Poll(time.Now())
		for _, e := range poll.Events {
			if e.Err != nil {
				return false, e.Err
			}
		}
		for _, b := range poll.Batches {
			if b.Raw != nil || len(b.Records) > 0 {
				return true, nil
			}
			if b.Next >= left[b.TopicPartition].end {
				delete(left, b.TopicPartition)
			}
		}
		if len(left) == 0 {
			break
		}
		if err := wait(ctx, r.Wake(), poll.NextDue); err != nil {
			return false, err
		}
	}
	return false, nil
}

// wait returns when wake says so, or at due, or with the error of ctx.
func wait(ctx context.Context, wake <-chan struct{}, due time.Time) error {
	d := time.Second
	if !due.IsZero() {
		d = min(d, max(time.Until(due), 0))
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-wake:
	case <-timer.C:
	}
	return nil
}
