package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/levada/levada/runtime/logclient"
)

const defaultBrokers = "127.0.0.1:9092"

// cluster holds the flags of commands that talk to a broker.
type cluster struct {
	brokers string
	timeout time.Duration
}

func (cl *cluster) addFlags(c *cobra.Command) {
	c.PersistentFlags().StringVarP(&cl.brokers, "brokers", "b", defaultBrokers, "addresses of brokers, HOST:PORT,…")
	c.PersistentFlags().DurationVar(&cl.timeout, "timeout", 10*time.Second, "how long to wait for an answer")
}

// client connects to the cluster; the error names the address.
func (cl *cluster) client(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	opts = append([]kgo.Opt{
		kgo.SeedBrokers(strings.Split(cl.brokers, ",")...), kgo.ClientID("levada"),
		kgo.DialTimeout(cl.timeout), kgo.RetryTimeout(cl.timeout),
	}, opts...)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, inputError(err)
	}
	pingCtx, cancel := context.WithTimeout(ctx, cl.timeout)
	defer cancel()
	if err := client.Ping(pingCtx); err != nil {
		client.Close()
		return nil, environmentError(fmt.Errorf("%w at %s: %w; start one with: levada server --data DIR", logclient.ErrUnreachable, cl.brokers, err))
	}
	return client, nil
}

func (cl *cluster) admin(ctx context.Context) (*kadm.Client, error) {
	client, err := cl.client(ctx)
	if err != nil {
		return nil, err
	}
	admin := kadm.NewClient(client)
	admin.SetTimeoutMillis(int32(cl.timeout.Milliseconds()))
	return admin, nil
}

// wrongInput marks the errors of the broker that are the caller's to mend.
func wrongInput(err error) error {
	for _, e := range []error{
		kerr.UnknownTopicOrPartition, kerr.TopicAlreadyExists, kerr.InvalidTopicException, kerr.InvalidPartitions,
		kerr.InvalidReplicationFactor, kerr.InvalidConfig, kerr.InvalidRequest, kerr.MessageTooLarge, kerr.GroupIDNotFound, kerr.InvalidGroupID,
	} {
		if errors.Is(err, e) {
			return inputError(err)
		}
	}
	if errors.Is(err, kerr.KafkaStorageError) || errors.Is(err, kgo.ErrRecordTimeout) {
		return environmentError(fmt.Errorf("%w: the broker takes no records; its disk may be full or have failed, its log says which", err))
	}
	return err
}
