package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// maxLineBytes bounds a line of topic produce; a record may be as large as the
// topic's max.message.bytes, which is 1 MiB unless it was raised.
const maxLineBytes = 64 << 20

// maxBufferedRecords bounds the records that wait for the broker.
const maxBufferedRecords = 10_000

func (a *app) topicProduceCommand(cl *cluster) *cobra.Command {
	var key, separator string
	var partition int32
	var headers []string
	c := &cobra.Command{
		Use: "produce TOPIC", Short: "Write each line of standard input as a record", Args: cobra.ExactArgs(1),
		Example: "  echo 'a=1' | levada topic produce numbers --key-separator =",
		RunE: func(c *cobra.Command, args []string) error {
			batch, err := maxMessageBytes(c.Context(), cl, args[0])
			if err != nil {
				return err
			}
			opts := []kgo.Opt{kgo.DefaultProduceTopic(args[0]), kgo.MaxBufferedRecords(maxBufferedRecords), kgo.RecordDeliveryTimeout(cl.timeout), kgo.ProducerBatchMaxBytes(batch)}
			if partition >= 0 {
				opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
			}
			hs, err := parseHeaders(headers)
			if err != nil {
				return err
			}
			client, err := cl.client(c.Context(), opts...)
			if err != nil {
				return err
			}
			defer client.Close()
			make := func(line []byte) (*kgo.Record, error) {
				r := &kgo.Record{Partition: partition, Headers: hs, Value: bytes.Clone(line)}
				switch {
				case separator != "":
					k, v, ok := bytes.Cut(r.Value, []byte(separator))
					if !ok {
						return nil, inputError(fmt.Errorf("line %q has no separator %q between key and value", abridged(line), separator))
					}
					r.Key, r.Value = k, v
				case c.Flags().Changed("key"):
					r.Key = []byte(key)
				}
				return r, nil
			}
			n, err := produceLines(c.Context(), client, c.InOrStdin(), make)
			if err != nil {
				return wrongInput(fmt.Errorf("topic %q: after %d records: %w", args[0], n, err))
			}
			return a.print(c.OutOrStdout(), map[string]any{"topic": args[0], "records": n}, table{header: []string{"TOPIC", "RECORDS"}, rows: [][]string{{args[0], fmt.Sprint(n)}}})
		},
	}
	c.Flags().StringVarP(&key, "key", "k", "", "key of every record (default: none)")
	c.Flags().StringVarP(&separator, "key-separator", "K", "", "text between key and value in each line")
	c.Flags().Int32VarP(&partition, "partition", "p", -1, "partition of every record (default: by key)")
	c.Flags().StringArrayVarP(&headers, "header", "H", nil, "header NAME=VALUE of every record; may be repeated")
	c.MarkFlagsMutuallyExclusive("key", "key-separator")
	return c
}

// maxMessageBytes is the topic's max.message.bytes, the default if the topic
// does not exist or the user may not look.
func maxMessageBytes(ctx context.Context, cl *cluster, topic string) (int32, error) {
	const byDefault, largest = 1_000_012, 100 << 20 // what clients expect; what requests may have
	admin, err := cl.admin(ctx)
	if err != nil {
		return 0, err
	}
	defer admin.Close()
	configs, err := admin.DescribeTopicConfigs(ctx, topic)
	if authorization := (*kadm.AuthError)(nil); errors.As(err, &authorization) {
		return byDefault, nil
	}
	if err != nil {
		return 0, fmt.Errorf("configs of topic %q: %w", topic, err)
	}
	for _, r := range configs {
		for _, c := range r.Configs {
			if n, err := strconv.ParseInt(c.MaybeValue(), 10, 32); c.Key == "max.message.bytes" && err == nil {
				return int32(min(max(n, 1024), largest)), nil
			}
		}
	}
	return byDefault, nil
}

func parseHeaders(in []string) ([]kgo.RecordHeader, error) {
	var out []kgo.RecordHeader
	for _, h := range in {
		k, v, ok := bytes.Cut([]byte(h), []byte("="))
		if !ok {
			return nil, inputError(fmt.Errorf("--header %q: write NAME=VALUE", h))
		}
		out = append(out, kgo.RecordHeader{Key: string(k), Value: v})
	}
	return out, nil
}

func abridged(b []byte) string {
	if len(b) > 60 {
		return string(b[:60]) + "…"
	}
	return string(b)
}

// produceLines writes lines until the input ends and returns how many the
// broker acknowledged.
func produceLines(ctx context.Context, client *kgo.Client, in io.Reader, record func([]byte) (*kgo.Record, error)) (int64, error) {
	var mu sync.Mutex
	var acked int64
	var failed error
	done := func(_ *kgo.Record, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			acked++
		} else if failed == nil {
			failed = err
		}
	}
	scanner := bufio.NewScanner(in)
	scanner.Buffer(make([]byte, 0, 64<<10), maxLineBytes)
	var bad error
	for scanner.Scan() && ctx.Err() == nil {
		r, err := record(scanner.Bytes())
		if err != nil {
			bad = err
			break
		}
		client.Produce(ctx, r, done)
		mu.Lock()
		stop := failed != nil
		mu.Unlock()
		if stop {
			break
		}
	}
	err := client.Flush(ctx)
	mu.Lock()
	defer mu.Unlock()
	return acked, errors.Join(bad, failed, scanner.Err(), err)
}
