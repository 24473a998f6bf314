package kafka

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/runtime/logclient"
)

// requestTimeout bounds one call of the admin, retries included.
const requestTimeout = 30 * time.Second

// admin implements logclient.Admin: each call is a goroutine that resolves its
// Pending.
type admin struct{ c *client }

var _ logclient.Admin = admin{}

// ask runs fn in a goroutine of the client.
func ask[T any](a admin, fn func(ctx context.Context) (T, error)) *logclient.Pending[T] {
	p := logclient.NewPending[T]()
	a.c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(a.c.ctx, requestTimeout)
		defer cancel()
		p.Resolve(fn(ctx))
	})
	return p
}

// CreateTopics implements logclient.Topics.
func (a admin) CreateTopics(specs []logclient.TopicSpec) *logclient.Pending[struct{}] {
	return ask(a, func(ctx context.Context) (struct{}, error) {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.TimeoutMillis = int32(requestTimeout.Milliseconds())
		var names []string
		wanted := map[string]int32{}
		for _, s := range specs {
			names, wanted[s.Name] = append(names, s.Name), s.Partitions
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
		resp, err := req.RequestWith(ctx, a.c.Client)
		if err != nil {
			return struct{}{}, a.c.failure("create topics", err)
		}
		var errs []error
		for _, t := range resp.Topics {
			if t.ErrorCode == kerr.TopicAlreadyExists.Code {
				continue
			}
			if err := a.c.answer(fmt.Sprintf("create topic %q", t.Topic), t.ErrorCode); err != nil {
				if t.ErrorMessage != nil {
					err = fmt.Errorf("%w (%s)", err, *t.ErrorMessage)
				}
				errs = append(errs, err)
			}
		}
		if err := errors.Join(errs...); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, a.awaitTopics(ctx, names, wanted)
	})
}

// awaitTopics waits until topics are to be seen, which in a cluster takes a
// moment, and checks their partitions.
func (a admin) awaitTopics(ctx context.Context, names []string, wanted map[string]int32) error {
	for try := 1; ; try++ {
		counts, err := a.c.partitionCounts(ctx, names)
		if err != nil {
			return err
		}
		seen := 0
		for name, want := range wanted {
			n, ok := counts[name]
			if ok && want > 0 && n != want {
				return fmt.Errorf("%w: %q with %d partitions, not %d", logclient.ErrTopicExists, name, n, want)
			}
			if ok {
				seen++
			}
		}
		if seen == len(wanted) {
			return nil
		}
		if !a.c.pause(try) || ctx.Err() != nil {
			return fmt.Errorf("kafka: topics %v were created and are not to be seen: %w", names, context.Cause(ctx))
		}
	}
}

// DescribeTopics implements logclient.Topics.
func (a admin) DescribeTopics(names []string, withConfigs bool) *logclient.Pending[map[string]logclient.TopicInfo] {
	return ask(a, func(ctx context.Context) (map[string]logclient.TopicInfo, error) {
		resp, err := a.c.metadata(ctx, names)
		if err != nil {
			return nil, a.c.failure("describe topics", err)
		}
		out := map[string]logclient.TopicInfo{}
		for _, t := range resp.Topics {
			err := kerr.ErrorForCode(t.ErrorCode)
			switch {
			case errors.Is(err, kerr.UnknownTopicOrPartition):
			case err != nil:
				return nil, a.c.failure("describe topics", err)
			case t.Topic != nil:
				out[*t.Topic] = logclient.TopicInfo{Name: *t.Topic, ID: t.TopicID, Partitions: int32(len(t.Partitions))}
			}
		}
		if !withConfigs || len(out) == 0 {
			return out, nil
		}
		return out, a.addConfigs(ctx, out)
	})
}

func (a admin) addConfigs(ctx context.Context, infos map[string]logclient.TopicInfo) error {
	req := kmsg.NewPtrDescribeConfigsRequest()
	for name := range infos {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, name
		req.Resources = append(req.Resources, r)
	}
	resp, err := req.RequestWith(ctx, a.c.Client)
	if err != nil {
		return a.c.failure("read topic configs", err)
	}
	for _, r := range resp.Resources {
		if err := a.c.answer(fmt.Sprintf("read the configs of topic %q", r.ResourceName), r.ErrorCode); err != nil {
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

// DeleteTopics implements logclient.Topics.
func (a admin) DeleteTopics(names []string) *logclient.Pending[struct{}] {
	return ask(a, func(ctx context.Context) (struct{}, error) {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TimeoutMillis, req.TopicNames = int32(requestTimeout.Milliseconds()), names
		for _, n := range names {
			t := kmsg.NewDeleteTopicsRequestTopic()
			t.Topic = kmsg.StringPtr(n)
			req.Topics = append(req.Topics, t)
		}
		resp, err := req.RequestWith(ctx, a.c.Client)
		if err != nil {
			return struct{}{}, a.c.failure("delete topics", err)
		}
		var errs []error
		for _, t := range resp.Topics {
			if t.ErrorCode != kerr.UnknownTopicOrPartition.Code && t.Topic != nil {
				errs = append(errs, a.c.answer(fmt.Sprintf("delete topic %q", *t.Topic), t.ErrorCode))
			}
		}
		return struct{}{}, errors.Join(errs...)
	})
}

// DeleteRecords implements logclient.Topics.
func (a admin) DeleteRecords(positions []logclient.Position) *logclient.Pending[struct{}] {
	return ask(a, func(ctx context.Context) (struct{}, error) {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.TimeoutMillis = int32(requestTimeout.Milliseconds())
		topics := map[string]int{}
		for _, pos := range positions {
			i, ok := topics[pos.Topic]
			if !ok {
				i = len(req.Topics)
				topics[pos.Topic] = i
				t := kmsg.NewDeleteRecordsRequestTopic()
				t.Topic = pos.Topic
				req.Topics = append(req.Topics, t)
			}
			p := kmsg.NewDeleteRecordsRequestTopicPartition()
			p.Partition, p.Offset = pos.Partition, pos.Offset
			req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
		}
		resp, err := req.RequestWith(ctx, a.c.Client)
		if err != nil {
			return struct{}{}, a.c.failure("delete records", err)
		}
		var errs []error
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				errs = append(errs, a.c.answer(fmt.Sprintf("delete records of %s-%d", t.Topic, p.Partition), p.ErrorCode))
			}
		}
		return struct{}{}, errors.Join(errs...)
	})
}

// Fence implements logclient.Admin.
func (a admin) Fence(transactionalID string) *logclient.Pending[struct{}] {
	return ask(a, func(ctx context.Context) (struct{}, error) {
		what := fmt.Sprintf("fence %q", transactionalID)
		for try := 1; ; try++ {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.TransactionalID, req.TransactionTimeoutMillis = &transactionalID, int32(time.Minute.Milliseconds())
			req.ProducerID, req.ProducerEpoch = -1, -1
			resp, err := req.RequestWith(ctx, a.c.Client)
			if err != nil {
				return struct{}{}, a.c.failure(what, err)
			}
			err = kerr.ErrorForCode(resp.ErrorCode)
			if !errors.Is(err, kerr.ConcurrentTransactions) && !kerr.IsRetriable(err) {
				return struct{}{}, a.c.failure(what, err)
			}
			if !a.c.pause(try) || ctx.Err() != nil {
				return struct{}{}, a.c.failure(what, err)
			}
		}
	})
}
