package embedded

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
)

// admin implements logclient.Admin.
type admin struct {
	broker *logbroker.Broker
}

var _ logclient.Admin = admin{}

// CreateTopics implements logclient.Topics.
func (a admin) CreateTopics(specs []logclient.TopicSpec) *logclient.Pending[struct{}] {
	created := call[*kmsg.CreateTopicsResponse](a.broker, wire.CreateTopics(specs))
	return then(created, func(resp *kmsg.CreateTopicsResponse) (struct{}, error) {
		if err := wire.Created(resp, mapped); err != nil {
			return struct{}{}, err
		}
		names := make([]string, len(specs))
		for i, s := range specs {
			names[i] = s.Name
		}
		counts, err := a.counts(names)
		if err != nil {
			return struct{}{}, err
		}
		_, err = wire.CheckCreated(specs, counts)
		return struct{}{}, err
	})
}

// metadata reads topics; the broker answers it during the call.
func (a admin) metadata(names []string) (map[string]logclient.TopicInfo, error) {
	p := call[*kmsg.MetadataResponse](a.broker, wire.Metadata(names))
	if !p.Done() {
		return nil, errors.New("embedded: the broker did not answer Metadata at once")
	}
	resp, err := p.Result()
	if err != nil {
		return nil, err
	}
	return wire.TopicInfos(resp, mapped)
}

// counts tells how many partitions the topics that exist have.
func (a admin) counts(names []string) (map[string]int32, error) {
	infos, err := a.metadata(names)
	if err != nil {
		return nil, err
	}
	counts := map[string]int32{}
	for name, info := range infos {
		counts[name] = info.Partitions
	}
	return counts, nil
}

// DescribeTopics implements logclient.Topics.
func (a admin) DescribeTopics(names []string, withConfigs bool) *logclient.Pending[map[string]logclient.TopicInfo] {
	infos, err := a.metadata(names)
	if !withConfigs || len(infos) == 0 || err != nil {
		return logclient.Resolved(infos, err)
	}
	described := call[*kmsg.DescribeConfigsResponse](a.broker, wire.TopicConfigs(infos))
	return then(described, func(resp *kmsg.DescribeConfigsResponse) (map[string]logclient.TopicInfo, error) {
		return infos, wire.AddConfigs(infos, resp, mapped)
	})
}

// DeleteTopics implements logclient.Topics.
func (a admin) DeleteTopics(names []string) *logclient.Pending[struct{}] {
	deleted := call[*kmsg.DeleteTopicsResponse](a.broker, wire.DeleteTopics(names))
	return then(deleted, func(resp *kmsg.DeleteTopicsResponse) (struct{}, error) {
		return struct{}{}, wire.Deleted(resp, mapped)
	})
}

// DeleteRecords implements logclient.Topics.
func (a admin) DeleteRecords(positions []logclient.Position) *logclient.Pending[struct{}] {
	deleted := call[*kmsg.DeleteRecordsResponse](a.broker, wire.DeleteRecords(positions))
	return then(deleted, func(resp *kmsg.DeleteRecordsResponse) (struct{}, error) {
		return struct{}{}, wire.RecordsDeleted(resp, mapped)
	})
}

// ListOffsets implements logclient.Offsets.
func (a admin) ListOffsets(tps []logclient.TopicPartition, spec logclient.OffsetSpec) *logclient.Pending[wire.Positions] {
	listed := call[*kmsg.ListOffsetsResponse](a.broker, wire.ListOffsets(tps, spec))
	return then(listed, func(resp *kmsg.ListOffsetsResponse) (wire.Positions, error) {
		out, late, err := wire.ListedOffsets(resp, mapped)
		if err != nil || spec.Kind != logclient.AtTimestamp || len(late) == 0 {
			return out, err
		}
		// Where no record is late enough it is the high watermark.
		p := a.ListOffsets(late, logclient.OffsetSpec{Kind: logclient.LatestHigh})
		if !p.Done() {
			return nil, errors.New("embedded: the broker did not answer ListOffsets at once")
		}
		ends, err := p.Result()
		for tp, pos := range ends {
			out[tp] = pos
		}
		return out, err
	})
}

// CommittedOffsets implements logclient.Offsets.
func (a admin) CommittedOffsets(group string, tps []logclient.TopicPartition, stable bool) *logclient.Pending[wire.Positions] {
	fetched := call[*kmsg.OffsetFetchResponse](a.broker, wire.FetchOffsets(group, tps, stable))
	return then(fetched, func(resp *kmsg.OffsetFetchResponse) (wire.Positions, error) {
		return wire.FetchedOffsets(resp, mapped)
	})
}

// EpochEnd implements logclient.Offsets.
func (a admin) EpochEnd(tp logclient.TopicPartition, leaderEpoch int32) *logclient.Pending[logclient.Position] {
	answered := call[*kmsg.OffsetForLeaderEpochResponse](a.broker, wire.EpochEnd(tp, leaderEpoch))
	return then(answered, func(resp *kmsg.OffsetForLeaderEpochResponse) (logclient.Position, error) {
		return wire.EndOfEpoch(resp, mapped)
	})
}

// Fence implements logclient.Admin.
func (a admin) Fence(transactionalID string) *logclient.Pending[struct{}] {
	if transactionalID == "" {
		return logclient.Resolved(struct{}{}, fmt.Errorf("embedded: no transactional id to fence"))
	}
	p := newProducer(a.broker, transactionalID, fenceTimeout, nil)
	return then(p.ready, func(struct{}) (struct{}, error) { return struct{}{}, nil })
}
