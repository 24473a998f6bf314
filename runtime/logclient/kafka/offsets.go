package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/runtime/logclient"
)

// Timestamps of ListOffsets that stand for a place (KIP-79).
const (
	latestTimestamp   = -1
	earliestTimestamp = -2
)

type positions = map[logclient.TopicPartition]logclient.Position

// ListOffsets implements logclient.Offsets.
func (a admin) ListOffsets(tps []logclient.TopicPartition, spec logclient.OffsetSpec) *logclient.Pending[map[logclient.TopicPartition]logclient.Position] {
	return ask(a, func(ctx context.Context) (positions, error) {
		timestamp, isolation := int64(latestTimestamp), int8(0)
		switch spec.Kind {
		case logclient.Earliest:
			timestamp = earliestTimestamp
		case logclient.LatestStable:
			isolation = 1
		case logclient.AtTimestamp:
			timestamp = spec.TimestampMs
		}
		out, err := a.listOffsets(ctx, tps, timestamp, isolation)
		if err != nil || spec.Kind != logclient.AtTimestamp {
			return out, err
		}
		var late []logclient.TopicPartition
		for tp, p := range out {
			if p.Offset < 0 {
				late = append(late, tp)
			}
		}
		if len(late) == 0 {
			return out, nil
		}
		ends, err := a.listOffsets(ctx, late, latestTimestamp, 0)
		for tp, p := range ends {
			out[tp] = p
		}
		return out, err
	})
}

func (a admin) listOffsets(ctx context.Context, tps []logclient.TopicPartition, timestamp int64, isolation int8) (positions, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, isolation
	topics := map[string]int{}
	for _, tp := range tps {
		i, ok := topics[tp.Topic]
		if !ok {
			i = len(req.Topics)
			topics[tp.Topic] = i
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = tp.Topic
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.Timestamp = tp.Partition, -1, timestamp
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	resp, err := req.RequestWith(ctx, a.c.Client)
	if err != nil {
		return nil, a.c.failure("list offsets", err)
	}
	out := positions{}
	var errs []error
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			tp := logclient.TopicPartition{Topic: t.Topic, Partition: p.Partition}
			errs = append(errs, a.c.answer(fmt.Sprintf("offset of %s-%d", t.Topic, p.Partition), p.ErrorCode))
			out[tp] = logclient.Position{TopicPartition: tp, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

// CommittedOffsets implements logclient.Offsets.
func (a admin) CommittedOffsets(group string, tps []logclient.TopicPartition, stable bool) *logclient.Pending[map[logclient.TopicPartition]logclient.Position] {
	return ask(a, func(ctx context.Context) (positions, error) {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group, req.RequireStable = group, stable
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = group
		topics := map[string]int{}
		for _, tp := range tps {
			i, ok := topics[tp.Topic]
			if !ok {
				i = len(g.Topics)
				topics[tp.Topic] = i
				t := kmsg.NewOffsetFetchRequestGroupTopic()
				t.Topic = tp.Topic
				g.Topics = append(g.Topics, t)
			}
			g.Topics[i].Partitions = append(g.Topics[i].Partitions, tp.Partition)
		}
		req.Groups = append(req.Groups, g)
		resp, err := req.RequestWith(ctx, a.c.Client)
		if err != nil {
			return nil, a.c.failure(fmt.Sprintf("offsets of group %q", group), err)
		}
		out := positions{}
		for _, g := range resp.Groups {
			if err := a.c.answer(fmt.Sprintf("offsets of group %q", group), g.ErrorCode); err != nil {
				return nil, err
			}
			for _, t := range g.Topics {
				for _, p := range t.Partitions {
					if err := a.c.answer(fmt.Sprintf("offset of group %q in %s-%d", group, t.Topic, p.Partition), p.ErrorCode); err != nil {
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
	return ask(a, func(ctx context.Context) (logclient.Position, error) {
		what := fmt.Sprintf("end of epoch %d of %s-%d", leaderEpoch, tp.Topic, tp.Partition)
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		req.ReplicaID = -1
		t := kmsg.NewOffsetForLeaderEpochRequestTopic()
		t.Topic = tp.Topic
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = tp.Partition, -1, leaderEpoch
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
		resp, err := req.RequestWith(ctx, a.c.Client)
		if err != nil {
			return logclient.Position{}, a.c.failure(what, err)
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				return logclient.Position{TopicPartition: tp, Offset: p.EndOffset, LeaderEpoch: p.LeaderEpoch}, a.c.answer(what, p.ErrorCode)
			}
		}
		return logclient.Position{}, fmt.Errorf("kafka: %s: no answer", what)
	})
}
