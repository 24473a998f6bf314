package embedded

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/runtime/logclient"
)

// grouped collects partitions by topic, in order of appearance.
func grouped(tps []logclient.TopicPartition) (topics []string, partitions map[string][]int32) {
	partitions = map[string][]int32{}
	for _, tp := range tps {
		if _, ok := partitions[tp.Topic]; !ok {
			topics = append(topics, tp.Topic)
		}
		partitions[tp.Topic] = append(partitions[tp.Topic], tp.Partition)
	}
	return topics, partitions
}

// ListOffsets implements logclient.Offsets.
func (a admin) ListOffsets(tps []logclient.TopicPartition, spec logclient.OffsetSpec) *logclient.Pending[map[logclient.TopicPartition]logclient.Position] {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID, req.TimeoutMillis = 8, -1, 10_000
	timestamp := int64(-1)
	switch spec.Kind {
	case logclient.Earliest:
		timestamp = -2
	case logclient.LatestStable:
		req.IsolationLevel = 1
	case logclient.AtTimestamp:
		timestamp = spec.TimestampMs
	}
	topics, partitions := grouped(tps)
	for _, topic := range topics {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for _, n := range partitions[topic] {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp, p.CurrentLeaderEpoch = n, timestamp, -1
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	listed := call[*kmsg.ListOffsetsResponse](a.broker, req)
	return then(listed, func(resp *kmsg.ListOffsetsResponse) (map[logclient.TopicPartition]logclient.Position, error) {
		out := map[logclient.TopicPartition]logclient.Position{}
		var errs []error
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				tp := logclient.TopicPartition{Topic: t.Topic, Partition: p.Partition}
				errs = append(errs, mapped(p.ErrorCode, fmt.Sprintf("offset of %s-%d", t.Topic, p.Partition)))
				out[tp] = logclient.Position{TopicPartition: tp, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch}
			}
		}
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		if spec.Kind == logclient.AtTimestamp {
			return out, a.atEnd(out)
		}
		return out, nil
	})
}

// atEnd gives partitions without a record at or after the time their high
// watermark.
func (a admin) atEnd(out map[logclient.TopicPartition]logclient.Position) error {
	var late []logclient.TopicPartition
	for tp, p := range out {
		if p.Offset < 0 {
			late = append(late, tp)
		}
	}
	if len(late) == 0 {
		return nil
	}
	p := a.ListOffsets(late, logclient.OffsetSpec{Kind: logclient.LatestHigh})
	if !p.Done() {
		return errors.New("embedded: the broker did not answer an offset at once")
	}
	ends, err := p.Result()
	for tp, pos := range ends {
		out[tp] = pos
	}
	return err
}

// CommittedOffsets implements logclient.Offsets.
func (a admin) CommittedOffsets(group string, tps []logclient.TopicPartition, stable bool) *logclient.Pending[map[logclient.TopicPartition]logclient.Position] {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.RequireStable = 9, stable
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	topics, partitions := grouped(tps)
	for _, topic := range topics {
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.Partitions = topic, partitions[topic]
		g.Topics = append(g.Topics, t)
	}
	req.Groups = append(req.Groups, g)
	fetched := call[*kmsg.OffsetFetchResponse](a.broker, req)
	return then(fetched, func(resp *kmsg.OffsetFetchResponse) (map[logclient.TopicPartition]logclient.Position, error) {
		out := map[logclient.TopicPartition]logclient.Position{}
		for _, g := range resp.Groups {
			if err := mapped(g.ErrorCode, fmt.Sprintf("offsets of group %q", group)); err != nil {
				return nil, err
			}
			for _, t := range g.Topics {
				for _, p := range t.Partitions {
					if err := mapped(p.ErrorCode, fmt.Sprintf("offset of group %q in %s-%d", group, t.Topic, p.Partition)); err != nil {
						return nil, err
					}
					if p.Offset < 0 {
						continue
					}
					tp := logclient.TopicPartition{Topic: t.Topic, Partition: p.Partition}
					pos := logclient.Position{TopicPartition: tp, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch}
					if p.Metadata != nil {
						pos.Metadata = *p.Metadata
					}
					out[tp] = pos
				}
			}
		}
		return out, nil
	})
}

// EpochEnd implements logclient.Offsets.
func (a admin) EpochEnd(tp logclient.TopicPartition, leaderEpoch int32) *logclient.Pending[logclient.Position] {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.Version, req.ReplicaID = 4, -1
	t := kmsg.NewOffsetForLeaderEpochRequestTopic()
	t.Topic = tp.Topic
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = tp.Partition, -1, leaderEpoch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	answered := call[*kmsg.OffsetForLeaderEpochResponse](a.broker, req)
	return then(answered, func(resp *kmsg.OffsetForLeaderEpochResponse) (logclient.Position, error) {
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				return logclient.Position{TopicPartition: tp, Offset: p.EndOffset, LeaderEpoch: p.LeaderEpoch},
					mapped(p.ErrorCode, fmt.Sprintf("end of epoch %d of %s-%d", leaderEpoch, tp.Topic, tp.Partition))
			}
		}
		return logclient.Position{}, fmt.Errorf("end of epoch %d of %s-%d: no answer", leaderEpoch, tp.Topic, tp.Partition)
	})
}
