package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
)

// fenceTimeout is the transaction time-out with which an id is fenced; it never
// counts, since the fencer opens no transaction.
const fenceTimeout = time.Minute

// admin implements logclient.Admin: each call is a goroutine that resolves its
// Pending.
type admin struct{ c *client }

var _ logclient.Admin = admin{}

// ask runs fn in a goroutine of the client.
func ask[T any](a admin, fn func(ctx context.Context) (T, error)) *logclient.Pending[T] {
	p := logclient.NewPending[T]()
	a.c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(a.c.ctx, wire.Timeout)
		defer cancel()
		p.Resolve(fn(ctx))
	})
	return p
}

// send sends one request of an admin call.
func send[R kmsg.Response](ctx context.Context, a admin, req kmsg.Request) (R, error) {
	resp, err := a.c.Request(ctx, req)
	if err != nil {
		var none R
		return none, a.c.failure(kmsg.NameForKey(req.Key()), err)
	}
	typed, ok := resp.(R)
	if !ok {
		return typed, fmt.Errorf("kafka: %s was answered with a %T", kmsg.NameForKey(req.Key()), resp)
	}
	return typed, nil
}

// CreateTopics implements logclient.Topics.
func (a admin) CreateTopics(specs []logclient.TopicSpec) *logclient.Pending[struct{}] {
	return ask(a, func(ctx context.Context) (struct{}, error) {
		resp, err := send[*kmsg.CreateTopicsResponse](ctx, a, wire.CreateTopics(specs))
		if err == nil {
			err = wire.Created(resp, a.c.answer)
		}
		if err == nil {
			err = a.awaitTopics(ctx, specs)
		}
		return struct{}{}, err
	})
}

// awaitTopics waits until topics are to be seen, which in a cluster takes a
// moment, and checks their partitions.
func (a admin) awaitTopics(ctx context.Context, specs []logclient.TopicSpec) error {
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	for try := 1; ; try++ {
		counts, err := a.c.partitionCounts(ctx, names)
		if err != nil {
			return err
		}
		if seen, err := wire.CheckCreated(specs, counts); seen || err != nil {
			return err
		}
		if !a.c.pause(try) || ctx.Err() != nil {
			return fmt.Errorf("kafka: topics %v were created and are not to be seen: %w", names, context.Cause(ctx))
		}
	}
}

// DescribeTopics implements logclient.Topics.
func (a admin) DescribeTopics(names []string, withConfigs bool) *logclient.Pending[map[string]logclient.TopicInfo] {
	return ask(a, func(ctx context.Context) (map[string]logclient.TopicInfo, error) {
		infos, err := a.c.topics(ctx, names)
		if err != nil || !withConfigs || len(infos) == 0 {
			return infos, err
		}
		resp, err := send[*kmsg.DescribeConfigsResponse](ctx, a, wire.TopicConfigs(infos))
		if err != nil {
			return nil, err
		}
		return infos, wire.AddConfigs(infos, resp, a.c.answer)
	})
}

// DeleteTopics implements logclient.Topics.
func (a admin) DeleteTopics(names []string) *logclient.Pending[struct{}] {
	return ask(a, func(ctx context.Context) (struct{}, error) {
		resp, err := send[*kmsg.DeleteTopicsResponse](ctx, a, wire.DeleteTopics(names))
		if err == nil {
			err = wire.Deleted(resp, a.c.answer)
		}
		return struct{}{}, err
	})
}

// DeleteRecords implements logclient.Topics.
func (a admin) DeleteRecords(positions []logclient.Position) *logclient.Pending[struct{}] {
	return ask(a, func(ctx context.Context) (struct{}, error) {
		resp, err := send[*kmsg.DeleteRecordsResponse](ctx, a, wire.DeleteRecords(positions))
		if err == nil {
			err = wire.RecordsDeleted(resp, a.c.answer)
		}
		return struct{}{}, err
	})
}

// Fence implements logclient.Admin.
func (a admin) Fence(transactionalID string) *logclient.Pending[struct{}] {
	return ask(a, func(ctx context.Context) (struct{}, error) {
		what := fmt.Sprintf("fence %q", transactionalID)
		for try := 1; ; try++ {
			resp, err := wire.TakeID(transactionalID, fenceTimeout).RequestWith(ctx, a.c.Client)
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
