package logbroker

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Timestamps of ListOffsets that stand for a place (KIP-79, KIP-734, KIP-405).
const (
	latestOffset   = -1
	earliestOffset = -2
	maxTimestamp   = -3
	earliestLocal  = -4
	latestTiered   = -5
	pendingUpload  = -6
)

// handleListOffsets answers ListOffsets, versions 1 to 11: 2 has the isolation
// level, 4 leader epochs, 7 the largest timestamp, 8 the local start, 9 the
// tiered end, 11 what waits to be tiered, of which there is none.
//
// What was acknowledged before it was durable, as transactions are and with another
// FsyncPolicy everything is, may be read when it is durable, and is below the end that
// who wrote it is told: so it is made durable first.
func (b *Broker) handleListOffsets(r *request) {
	req := r.msg.(*kmsg.ListOffsetsRequest)
	var unsynced []*partition
	for _, t := range req.Topics {
		topic := b.topics.byName(t.Topic)
		for _, p := range t.Partitions {
			if p.Timestamp < 0 && p.Timestamp != latestOffset && p.Timestamp != maxTimestamp {
				continue
			}
			if part, err := b.topics.partition(topic, p.Partition); err == nil && part.log.End() > part.log.SyncedEnd() {
				unsynced = append(unsynced, part)
			}
		}
	}
	if len(unsynced) == 0 {
		b.listOffsets(r, req)
		return
	}
	var left atomic.Int64
	left.Store(int64(len(unsynced)))
	for _, p := range unsynced {
		p.syncTo(p.log.End(), func(error) { // after a failure the end is what it was
			if left.Add(-1) == 0 {
				b.listOffsets(r, req)
			}
		})
	}
}

func (b *Broker) listOffsets(r *request, req *kmsg.ListOffsetsRequest) {
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	type place struct {
		topic     string
		partition int32
	}
	asked := map[place]int{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			asked[place{t.Topic, p.Partition}]++
		}
	}
	at := map[string]int{} // in the answer, where a topic that is named twice is told once
	for _, t := range req.Topics {
		if _, ok := at[t.Topic]; !ok {
			at[t.Topic] = len(resp.Topics)
			rt := kmsg.NewListOffsetsResponseTopic()
			rt.Topic = t.Topic
			resp.Topics = append(resp.Topics, rt)
		}
		rt := &resp.Topics[at[t.Topic]]
		topic := b.topics.byName(t.Topic)
		for _, p := range t.Partitions {
			times := asked[place{t.Topic, p.Partition}]
			if times == 0 {
				continue // was named twice, and answered once
			}
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition, rp.Offset, rp.Timestamp, rp.LeaderEpoch = p.Partition, -1, -1, -1
			part, err := b.topics.partition(topic, p.Partition)
			if err == nil {
				err = b.checkLeaderEpoch(p.CurrentLeaderEpoch)
			}
			switch {
			case times > 1:
				rp.ErrorCode = kerr.InvalidRequest.Code
				asked[place{t.Topic, p.Partition}] = 0
			case req.IsolationLevel != readUncommitted && req.IsolationLevel != readCommitted:
				rp.ErrorCode = kerr.UnknownServerError.Code // as Kafka, which knows no such level
			case p.Timestamp < 0 && !placeKnown(p.Timestamp, req.Version):
				rp.ErrorCode = kerr.UnsupportedVersion.Code
			case err != nil:
				rp.ErrorCode = groupCode(err)
			default:
				b.listOffset(&rp, part, p.Timestamp, req.IsolationLevel == readCommitted)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
	}
	r.respond(resp)
}

// placeKnown tells whether a negative timestamp stands for a place in a version.
func placeKnown(timestamp int64, version int16) bool {
	switch timestamp {
	case latestOffset, earliestOffset:
		return true
	case maxTimestamp:
		return version >= 7
	case earliestLocal:
		return version >= 8
	case latestTiered:
		return version >= 9
	case pendingUpload:
		return version >= 11
	}
	return false
}

func (b *Broker) listOffset(rp *kmsg.ListOffsetsResponseTopicPartition, p *partition, timestamp int64, committed bool) {
	end := p.highWatermark()
	if committed {
		end = b.lastStable(p)
	}
	switch {
	case timestamp == latestOffset:
		rp.Offset, rp.LeaderEpoch = end, b.epoch
	case timestamp == earliestOffset, timestamp == earliestLocal:
		rp.Offset = p.log.Start()
		rp.LeaderEpoch = p.log.EpochAt(rp.Offset)
	case timestamp == latestTiered, timestamp == pendingUpload:
		return
	default:
		find := func() (int64, int64, bool, error) { return p.log.OffsetForTime(timestamp) }
		if timestamp == maxTimestamp {
			find = p.log.MaxTimestamp
		}
		offset, ms, ok, err := find()
		switch {
		case err != nil:
			b.log.Error("offset by time", "topic", p.topic.name, "partition", p.index, "error", err)
			rp.ErrorCode = kerr.KafkaStorageError.Code
			return
		case !ok || offset >= end:
			return
		}
		rp.Offset, rp.Timestamp, rp.LeaderEpoch = offset, ms, p.log.EpochAt(offset)
	}
}
