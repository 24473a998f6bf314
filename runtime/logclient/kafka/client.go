package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
)

const (
	dialTimeout  = 3 * time.Second
	retryTimeout = 10 * time.Second
	firstBackoff = 5 * time.Millisecond
	maxBackoff   = 500 * time.Millisecond
)

// client is a franz-go client with what it knows of partition leaders. It is
// safe for concurrent use.
type client struct {
	*kgo.Client
	seeds  []string
	log    *slog.Logger
	ctx    context.Context // ends with close
	cancel context.CancelFunc
	wg     sync.WaitGroup // goroutines that use the client

	mu      sync.Mutex // guards leaders
	leaders map[logclient.TopicPartition]int32
}

// versions are those that this package knows how to use: later ones name
// topics by id only, and transactions of the newest protocol need v2.
func versions(v2 bool) *kversion.Versions {
	v := kversion.Stable()
	produce, endTxn, txnOffsets := int16(11), int16(4), int16(4)
	if v2 {
		produce, endTxn, txnOffsets = 12, 5, 5
	}
	v.SetMaxKeyVersion(kmsg.Produce.Int16(), produce)
	v.SetMaxKeyVersion(kmsg.EndTxn.Int16(), endTxn)
	v.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), txnOffsets)
	v.SetMaxKeyVersion(kmsg.AddPartitionsToTxn.Int16(), 3)
	v.SetMaxKeyVersion(kmsg.Fetch.Int16(), 12)
	v.SetMaxKeyVersion(kmsg.OffsetCommit.Int16(), 9)
	v.SetMaxKeyVersion(kmsg.OffsetFetch.Int16(), 9)
	return v
}

func newClient(cfg Config, v2 bool) (*client, error) {
	opts := append([]kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID(cfg.ClientID),
		kgo.MaxVersions(versions(v2)),
		kgo.DialTimeout(dialTimeout),
		kgo.RetryTimeoutFn(func(int16) time.Duration { return retryTimeout }),
		kgo.RetryBackoffFn(backoff),
		kgo.DisableClientMetrics(),
	}, cfg.Options...)
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	c := &client{Client: cl, seeds: cfg.Brokers, log: cfg.Logger, leaders: map[logclient.TopicPartition]int32{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// close ends all requests, and waits for the goroutines of the client.
func (c *client) close() {
	c.cancel()
	c.Client.Close()
	c.wg.Wait()
}

// backoff is the pause before try n, from 1 on.
func backoff(n int) time.Duration {
	return min(firstBackoff<<min(max(n-1, 0), 10), maxBackoff)
}

// pause waits for a backoff; false if the client is closed.
func (c *client) pause(try int) bool {
	t := time.NewTimer(backoff(try))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// leader is the broker that leads a partition, if that is known.
func (c *client) leader(tp logclient.TopicPartition) (int32, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := c.leaders[tp]
	return id, ok
}

// forget drops what is known of a partition's leader: it was wrong.
func (c *client) forget(tp logclient.TopicPartition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.leaders, tp)
}

// findLeaders asks who leads the partitions of topics.
func (c *client) findLeaders(ctx context.Context, topics []string) error {
	resp, err := c.metadata(ctx, topics)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range resp.Topics {
		if t.Topic == nil {
			continue
		}
		for _, p := range t.Partitions {
			tp := logclient.TopicPartition{Topic: *t.Topic, Partition: p.Partition}
			if p.Leader < 0 {
				delete(c.leaders, tp)
				continue
			}
			c.leaders[tp] = p.Leader
		}
	}
	return nil
}

func (c *client) metadata(ctx context.Context, topics []string) (*kmsg.MetadataResponse, error) {
	return wire.Metadata(topics).RequestWith(ctx, c.Client)
}

// topics describes the topics that exist.
func (c *client) topics(ctx context.Context, names []string) (map[string]logclient.TopicInfo, error) {
	resp, err := c.metadata(ctx, names)
	if err != nil {
		return nil, c.failure("read the metadata of topics", err)
	}
	return wire.TopicInfos(resp, c.answer)
}

// partitionCounts tells how many partitions the topics that exist have.
func (c *client) partitionCounts(ctx context.Context, names []string) (map[string]int32, error) {
	infos, err := c.topics(ctx, names)
	if err != nil {
		return nil, err
	}
	counts := map[string]int32{}
	for name, info := range infos {
		counts[name] = info.Partitions
	}
	return counts, nil
}
