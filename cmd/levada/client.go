package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const defaultBrokers = "127.0.0.1:9092"

// cluster holds the flags of commands that talk to a broker.
type cluster struct {
	brokers  string
	settings []string
	profile  string
	timeout  time.Duration
}

func (cl *cluster) addFlags(c *cobra.Command) {
	c.PersistentFlags().StringVarP(&cl.brokers, "brokers", "b", "", "addresses of brokers, HOST:PORT,… (default "+defaultBrokers+")")
	c.PersistentFlags().StringArrayVarP(&cl.settings, "setting", "X", nil, "NAME=VALUE of "+strings.Join(settingNames, ", ")+"; or LEVADA_NAME in the environment")
	c.PersistentFlags().StringVar(&cl.profile, "profile", "", "profile with the rest (default: LEVADA_PROFILE, or the one in use; see: levada profile)")
	_ = c.RegisterFlagCompletionFunc("profile", completeProfiles) // the flag is there
	c.PersistentFlags().DurationVar(&cl.timeout, "timeout", 10*time.Second, "how long to wait for an answer")
}

// client connects to the cluster; the error names the address and the mend.
func (cl *cluster) client(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	n, err := cl.connection()
	if err != nil {
		return nil, err
	}
	opts = slices.Concat(n.encryption, n.authentication, []kgo.Opt{
		kgo.SeedBrokers(n.brokers...), kgo.ClientID("levada"), kgo.DialTimeout(n.timeout), kgo.RetryTimeout(n.timeout),
	}, opts)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, inputError(err)
	}
	pingCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	if err := client.Ping(pingCtx); err != nil {
		client.Close()
		if ctx.Err() != nil {
			return nil, errInterrupted
		}
		return nil, n.unreachable(ctx, err)
	}
	return client, nil
}

func (cl *cluster) admin(ctx context.Context) (*kadm.Client, error) {
	client, err := cl.client(ctx)
	if err != nil {
		return nil, err
	}
	admin := kadm.NewClient(client)
	admin.SetTimeoutMillis(int32(min(max(cl.timeout.Milliseconds(), 1), math.MaxInt32))) // none would be no time
	return admin, nil
}

// wrongInput marks the errors of the broker that are the caller's to mend.
func wrongInput(err error) error {
	for _, e := range []error{
		kerr.UnknownTopicOrPartition, kerr.TopicAlreadyExists, kerr.InvalidTopicException, kerr.InvalidPartitions,
		kerr.InvalidReplicationFactor, kerr.InvalidConfig, kerr.InvalidRequest, kerr.MessageTooLarge, kerr.GroupIDNotFound, kerr.InvalidGroupID, kerr.NonEmptyGroup,
		kerr.ResourceNotFound, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed,
		kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed, kerr.SecurityDisabled,
	} {
		if errors.Is(err, e) {
			return inputError(err)
		}
	}
	var told *codedError
	switch {
	case errors.As(err, &told): // with the mend
	case errors.Is(err, kerr.KafkaStorageError):
		return environmentError(fmt.Errorf("%w: its log is damaged, or the broker's disk is full or has failed: what the broker logged says which", err))
	case errors.Is(err, kerr.CorruptMessage):
		return environmentError(fmt.Errorf("%w: stored records are damaged, what the broker logged says where; --partition and --offset read what is behind them", err))
	case errors.Is(err, errStalled):
		return environmentError(fmt.Errorf("%w: the broker takes no records; its disk may be full or have failed, or the partition be damaged: what the broker logged says which", err))
	}
	return err
}
