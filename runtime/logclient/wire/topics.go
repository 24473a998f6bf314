package wire

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/runtime/logclient"
)

// Timeout is what a request asks the broker to do its work in.
const Timeout = 30 * time.Second

// CreateTopics asks for topics.
func CreateTopics(specs []logclient.TopicSpec) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(Timeout.Milliseconds())
	for _, s := range specs {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = s.Name, s.Partitions, s.ReplicationFactor
		for k, v := range s.Configs {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = k, &v
			t.Configs = append(t.Configs, c)
		}
		slices.SortFunc(t.Configs, func(a, b kmsg.CreateTopicsRequestTopicConfig) int {
			if a.Name < b.Name {
				return -1
			}
			return 1
		})
		req.Topics = append(req.Topics, t)
	}
	return req
}

// Created reads the answer to CreateTopics. A topic that exists is no error.
func Created(resp *kmsg.CreateTopicsResponse, answer Answer) error {
	var errs []error
	for _, t := range resp.Topics {
		if t.ErrorCode == kerr.TopicAlreadyExists.Code {
			continue
		}
		err := answer(fmt.Sprintf("create topic %q", t.Topic), t.ErrorCode)
		if err != nil && t.ErrorMessage != nil {
			err = fmt.Errorf("%w (%s)", err, *t.ErrorMessage)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// CheckCreated compares topics that were to be created with the partitions
// they have. seen tells whether all of them are there: in a cluster that takes
// a moment.
func CheckCreated(specs []logclient.TopicSpec, partitions map[string]int32) (seen bool, err error) {
	seen = true
	var errs []error
	for _, s := range specs {
		n, ok := partitions[s.Name]
		seen = seen && ok
		if ok && s.Partitions > 0 && n != s.Partitions {
			errs = append(errs, fmt.Errorf("%w: %q with %d partitions, not %d", logclient.ErrTopicExists, s.Name, n, s.Partitions))
		}
	}
	return seen, errors.Join(errs...)
}

// Metadata asks for topics. Without a name it asks for none.
func Metadata(names []string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, n := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(n)
		req.Topics = append(req.Topics, t)
	}
	return req
}

// TopicInfos reads the answer to Metadata. A topic that does not exist is left
// out.
func TopicInfos(resp *kmsg.MetadataResponse, answer Answer) (map[string]logclient.TopicInfo, error) {
	out := map[string]logclient.TopicInfo{}
	for _, t := range resp.Topics {
		if t.Topic == nil || t.ErrorCode == kerr.UnknownTopicOrPartition.Code {
			continue
		}
		if err := answer(fmt.Sprintf("describe topic %q", *t.Topic), t.ErrorCode); err != nil {
			return nil, err
		}
		out[*t.Topic] = logclient.TopicInfo{Name: *t.Topic, ID: t.TopicID, Partitions: int32(len(t.Partitions))}
	}
	return out, nil
}

// TopicConfigs asks for the configs of topics.
func TopicConfigs(infos map[string]logclient.TopicInfo) *kmsg.DescribeConfigsRequest {
	req := kmsg.NewPtrDescribeConfigsRequest()
	for name := range infos {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, name
		req.Resources = append(req.Resources, r)
	}
	return req
}

// AddConfigs adds the answer to TopicConfigs.
func AddConfigs(infos map[string]logclient.TopicInfo, resp *kmsg.DescribeConfigsResponse, answer Answer) error {
	for _, r := range resp.Resources {
		if err := answer(fmt.Sprintf("read the configs of topic %q", r.ResourceName), r.ErrorCode); err != nil {
			return err
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
	return nil
}

// DeleteTopics asks for topics to be deleted.
func DeleteTopics(names []string) *kmsg.DeleteTopicsRequest {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis, req.TopicNames = int32(Timeout.Milliseconds()), names
	for _, n := range names {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = kmsg.StringPtr(n)
		req.Topics = append(req.Topics, t)
	}
	return req
}

// Deleted reads the answer to DeleteTopics. A topic that does not exist is no
// error.
func Deleted(resp *kmsg.DeleteTopicsResponse, answer Answer) error {
	var errs []error
	for _, t := range resp.Topics {
		if t.ErrorCode != kerr.UnknownTopicOrPartition.Code && t.Topic != nil {
			errs = append(errs, answer(fmt.Sprintf("delete topic %q", *t.Topic), t.ErrorCode))
		}
	}
	return errors.Join(errs...)
}

// DeleteRecords asks for records before the positions to be deleted.
func DeleteRecords(positions []logclient.Position) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = int32(Timeout.Milliseconds())
	for topic, of := range byTopic(positions, ofPosition) {
		t := kmsg.NewDeleteRecordsRequestTopic()
		t.Topic = topic
		for _, pos := range of {
			p := kmsg.NewDeleteRecordsRequestTopicPartition()
			p.Partition, p.Offset = pos.Partition, pos.Offset
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

// RecordsDeleted reads the answer to DeleteRecords.
func RecordsDeleted(resp *kmsg.DeleteRecordsResponse, answer Answer) error {
	var errs []error
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			errs = append(errs, answer(fmt.Sprintf("delete records of %s-%d", t.Topic, p.Partition), p.ErrorCode))
		}
	}
	return errors.Join(errs...)
}
