package embedded

import (
	"errors"
	"fmt"
	"sort"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/runtime/logclient"
)

// admin implements logclient.Admin.
type admin struct {
	broker *logbroker.Broker
}

// CreateTopics implements logclient.Topics.
func (a admin) CreateTopics(specs []logclient.TopicSpec) *logclient.Pending[struct{}] {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	names := make([]string, len(specs))
	wanted := map[string]int32{}
	for i, s := range specs {
		names[i], wanted[s.Name] = s.Name, s.Partitions
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = s.Name, s.Partitions, s.ReplicationFactor
		for k, v := range s.Configs {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = k, &v
			t.Configs = append(t.Configs, c)
		}
		sort.Slice(t.Configs, func(i, j int) bool { return t.Configs[i].Name < t.Configs[j].Name })
		req.Topics = append(req.Topics, t)
	}
	created := call[*kmsg.CreateTopicsResponse](a.broker, req)
	return then(created, func(resp *kmsg.CreateTopicsResponse) (struct{}, error) {
		var errs []error
		for _, t := range resp.Topics {
			if t.ErrorCode == kerr.TopicAlreadyExists.Code {
				have := a.metadata(names)
				if info, ok := have[t.Topic]; !ok || info.Partitions != wanted[t.Topic] {
					errs = append(errs, fmt.Errorf("topic %q: %w with %d partitions, not %d", t.Topic, logclient.ErrTopicExists, info.Partitions, wanted[t.Topic]))
				}
				continue
			}
			if err := mapped(t.ErrorCode, fmt.Sprintf("create topic %q", t.Topic)); err != nil {
				if t.ErrorMessage != nil {
					err = fmt.Errorf("%w (%s)", err, *t.ErrorMessage)
				}
				errs = append(errs, err)
			}
		}
		return struct{}{}, errors.Join(errs...)
	})
}

// metadata reads topics; the broker answers it during the call.
func (a admin) metadata(names []string) map[string]logclient.TopicInfo {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	for _, n := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(n)
		req.Topics = append(req.Topics, t)
	}
	out := map[string]logclient.TopicInfo{}
	p := call[*kmsg.MetadataResponse](a.broker, req)
	if len(names) == 0 || !p.Done() {
		return out
	}
	resp, err := p.Result()
	if err != nil {
		return out
	}
	for _, t := range resp.Topics {
		if t.ErrorCode == 0 && t.Topic != nil {
			out[*t.Topic] = logclient.TopicInfo{Name: *t.Topic, ID: t.TopicID, Partitions: int32(len(t.Partitions))}
		}
	}
	return out
}

// DescribeTopics implements logclient.Topics.
func (a admin) DescribeTopics(names []string, withConfigs bool) *logclient.Pending[map[string]logclient.TopicInfo] {
	infos := a.metadata(names)
	if !withConfigs || len(infos) == 0 {
		return logclient.Resolved(infos, nil)
	}
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version = 4
	for _, n := range names {
		if _, ok := infos[n]; ok {
			r := kmsg.NewDescribeConfigsRequestResource()
			r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, n
			req.Resources = append(req.Resources, r)
		}
	}
	described := call[*kmsg.DescribeConfigsResponse](a.broker, req)
	return then(described, func(resp *kmsg.DescribeConfigsResponse) (map[string]logclient.TopicInfo, error) {
		for _, r := range resp.Resources {
			if err := mapped(r.ErrorCode, fmt.Sprintf("configs of topic %q", r.ResourceName)); err != nil {
				return nil, err
			}
			info := infos[r.ResourceName]
			info.Configs = map[string]string{}
			for _, c := range r.Configs {
				if c.Value != nil {
					info.Configs[c.Name] = *c.Value
				}
			}
			infos[r.ResourceName] = info
		}
		return infos, nil
	})
}

// DeleteTopics implements logclient.Topics.
func (a admin) DeleteTopics(names []string) *logclient.Pending[struct{}] {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = 6
	for _, n := range names {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = kmsg.StringPtr(n)
		req.Topics = append(req.Topics, t)
	}
	return then(call[*kmsg.DeleteTopicsResponse](a.broker, req), func(resp *kmsg.DeleteTopicsResponse) (struct{}, error) {
		var errs []error
		for _, t := range resp.Topics {
			if t.ErrorCode != kerr.UnknownTopicOrPartition.Code && t.Topic != nil {
				errs = append(errs, mapped(t.ErrorCode, fmt.Sprintf("delete topic %q", *t.Topic)))
			}
		}
		return struct{}{}, errors.Join(errs...)
	})
}

// DeleteRecords implements logclient.Topics.
func (a admin) DeleteRecords(positions []logclient.Position) *logclient.Pending[struct{}] {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Version, req.TimeoutMillis = 2, 10_000
	byTopic := map[string]int{}
	for _, pos := range positions {
		i, ok := byTopic[pos.Topic]
		if !ok {
			i = len(req.Topics)
			byTopic[pos.Topic] = i
			t := kmsg.NewDeleteRecordsRequestTopic()
			t.Topic = pos.Topic
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewDeleteRecordsRequestTopicPartition()
		p.Partition, p.Offset = pos.Partition, pos.Offset
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	return then(call[*kmsg.DeleteRecordsResponse](a.broker, req), func(resp *kmsg.DeleteRecordsResponse) (struct{}, error) {
		var errs []error
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				errs = append(errs, mapped(p.ErrorCode, fmt.Sprintf("delete records of %s-%d", t.Topic, p.Partition)))
			}
		}
		return struct{}{}, errors.Join(errs...)
	})
}

// Fence implements logclient.Admin.
func (a admin) Fence(transactionalID string) *logclient.Pending[struct{}] {
	p := newProducer(a.broker, transactionalID, fenceTimeout, nil)
	return then(p.ready, func(struct{}) (struct{}, error) { return struct{}{}, nil })
}
