package wire

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/runtime/logclient"
)

// Timestamps of ListOffsets that stand for a place (KIP-79).
const (
	latestTimestamp   = -1
	earliestTimestamp = -2
)

// Positions are positions by partition.
type Positions = map[logclient.TopicPartition]logclient.Position

func ofPosition(p logclient.Position) string         { return p.Topic }
func ofPartition(tp logclient.TopicPartition) string { return tp.Topic }

// byTopic groups items by topic, the topics in order of appearance.
func byTopic[T any](items []T, topic func(T) string) iter.Seq2[string, []T] {
	var order []string
	groups := map[string][]T{}
	for _, item := range items {
		name := topic(item)
		if _, ok := groups[name]; !ok {
			order = append(order, name)
		}
		groups[name] = append(groups[name], item)
	}
	return func(yield func(string, []T) bool) {
		for _, name := range order {
			if !yield(name, groups[name]) {
				return
			}
		}
	}
}

// ListOffsets asks for offsets of partitions.
func ListOffsets(tps []logclient.TopicPartition, spec logclient.OffsetSpec) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.TimeoutMillis = -1, int32(Timeout.Milliseconds())
	timestamp := int64(latestTimestamp)
	switch spec.Kind {
	case logclient.Earliest:
		timestamp = earliestTimestamp
	case logclient.LatestStable:
		req.IsolationLevel = 1
	case logclient.AtTimestamp:
		timestamp = spec.TimestampMs
	}
	for topic, of := range byTopic(tps, ofPartition) {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for _, tp := range of {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.CurrentLeaderEpoch, p.Timestamp = tp.Partition, -1, timestamp
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

// ListedOffsets reads the answer to ListOffsets. late are the partitions that
// have no record at or after the time asked for.
func ListedOffsets(resp *kmsg.ListOffsetsResponse, answer Answer) (out Positions, late []logclient.TopicPartition, err error) {
	out = Positions{}
	var errs []error
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			tp := logclient.TopicPartition{Topic: t.Topic, Partition: p.Partition}
			errs = append(errs, answer(fmt.Sprintf("offset of %s-%d", t.Topic, p.Partition), p.ErrorCode))
			out[tp] = logclient.Position{TopicPartition: tp, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch}
			if p.Offset < 0 {
				late = append(late, tp)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	return out, late, nil
}

// FetchOffsets asks for committed offsets of a group.
func FetchOffsets(group string, tps []logclient.TopicPartition, stable bool) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group, req.RequireStable = group, stable
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	for topic, of := range byTopic(tps, ofPartition) {
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic = topic
		for _, tp := range of {
			t.Partitions = append(t.Partitions, tp.Partition)
		}
		g.Topics = append(g.Topics, t)
	}
	req.Groups = append(req.Groups, g)
	return req
}

// FetchedOffsets reads the answer to FetchOffsets. A partition without a
// committed offset is left out.
func FetchedOffsets(resp *kmsg.OffsetFetchResponse, answer Answer) (Positions, error) {
	out := Positions{}
	for _, g := range resp.Groups {
		if err := answer(fmt.Sprintf("offsets of group %q", g.Group), g.ErrorCode); err != nil {
			return nil, err
		}
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if err := answer(fmt.Sprintf("offset of group %q in %s-%d", g.Group, t.Topic, p.Partition), p.ErrorCode); err != nil {
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
}

// EpochEnd asks for the end of a leader epoch.
func EpochEnd(tp logclient.TopicPartition, leaderEpoch int32) *kmsg.OffsetForLeaderEpochRequest {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	t := kmsg.NewOffsetForLeaderEpochRequestTopic()
	t.Topic = tp.Topic
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = tp.Partition, -1, leaderEpoch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// EndOfEpoch reads the answer to EpochEnd.
func EndOfEpoch(resp *kmsg.OffsetForLeaderEpochResponse, answer Answer) (logclient.Position, error) {
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			tp := logclient.TopicPartition{Topic: t.Topic, Partition: p.Partition}
			return logclient.Position{TopicPartition: tp, Offset: p.EndOffset, LeaderEpoch: p.LeaderEpoch},
				answer(fmt.Sprintf("end of a leader epoch of %s-%d", t.Topic, p.Partition), p.ErrorCode)
		}
	}
	return logclient.Position{}, errors.New("end of a leader epoch: the answer is empty")
}

// CommitOffsets asks for positions to be committed outside a transaction.
func CommitOffsets(group string, positions []logclient.Position) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = group
	for topic, of := range byTopic(positions, ofPosition) {
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic = topic
		for _, pos := range of {
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = pos.Partition, pos.Offset, pos.LeaderEpoch, &pos.Metadata
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

// OffsetsCommitted reads the answer to CommitOffsets: the first error.
func OffsetsCommitted(resp *kmsg.OffsetCommitResponse, answer Answer) error {
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return answer(fmt.Sprintf("commit offset of %s-%d", t.Topic, p.Partition), p.ErrorCode)
			}
		}
	}
	return nil
}

// AddOffsets asks for positions to become part of a transaction.
func AddOffsets(transactionalID, group string, positions []logclient.Position) *kmsg.TxnOffsetCommitRequest {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group = transactionalID, group
	for topic, of := range byTopic(positions, ofPosition) {
		t := kmsg.NewTxnOffsetCommitRequestTopic()
		t.Topic = topic
		for _, pos := range of {
			p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = pos.Partition, pos.Offset, pos.LeaderEpoch, &pos.Metadata
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

// OffsetsAdded reads the answer to AddOffsets: the first error.
func OffsetsAdded(resp *kmsg.TxnOffsetCommitResponse, answer Answer) error {
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return answer(fmt.Sprintf("commit offset of %s-%d", t.Topic, p.Partition), p.ErrorCode)
			}
		}
	}
	return nil
}

// TakeID asks for a producer id; with a transactional id it takes that from
// whoever holds it (KIP-98).
func TakeID(transactionalID string, timeout time.Duration) *kmsg.InitProducerIDRequest {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch = -1, -1
	if transactionalID != "" {
		req.TransactionalID, req.TransactionTimeoutMillis = &transactionalID, int32(timeout.Milliseconds())
	}
	return req
}
