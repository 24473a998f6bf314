package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// maxLineBytes bounds a line of topic produce; a record may be as large as the
// topic's max.message.bytes, which is 1 MiB unless it was raised.
const maxLineBytes = 64 << 20

// maxBufferedRecords bounds the records that wait for the broker.
const maxBufferedRecords = 10_000

// produceFlags say how lines become records.
type produceFlags struct {
	key, separator, format, compression string
	keyed, tombstone                    bool
	partition                           int32
	headers                             []string
}

// codecs are the names of --compression.
var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func (a *app) topicProduceCommand(cl *cluster) *cobra.Command {
	f := &produceFlags{}
	c := &cobra.Command{
		Use: "produce TOPIC", Short: "Write each line of standard input as a record", Args: cobra.ExactArgs(1),
		Example:           "  echo 'a=1' | levada topic produce numbers --key-separator =\n  echo '3 a 1' | levada topic produce numbers -f '%p %k %v'",
		ValidArgsFunction: oneOf(cl.completeTopics),
		RunE: func(c *cobra.Command, args []string) error {
			f.keyed = c.Flags().Changed("key")
			opts, record, err := f.records()
			if err != nil {
				return err
			}
			batch, err := maxMessageBytes(c.Context(), cl, args[0])
			if err != nil {
				return err
			}
			client, err := cl.client(c.Context(), append(opts,
				kgo.DefaultProduceTopic(args[0]), kgo.MaxBufferedRecords(maxBufferedRecords), kgo.ProducerBatchMaxBytes(batch))...)
			if err != nil {
				return err
			}
			defer client.Close()
			n, err := produceLines(c.Context(), client, c.InOrStdin(), record, cl.timeout)
			if err != nil {
				return wrongInput(fmt.Errorf("after %d records: %w", n, err))
			}
			return a.print(c.OutOrStdout(), map[string]any{"topic": args[0], "records": n}, table{header: []string{"TOPIC", "RECORDS"}, rows: [][]string{{args[0], fmt.Sprint(n)}}})
		},
	}
	c.Flags().StringVarP(&f.key, "key", "k", "", "key of every record (default: none)")
	c.Flags().StringVarP(&f.separator, "key-separator", "K", "", "text between key and value in each line")
	c.Flags().StringVarP(&f.format, "format", "f", "", `how a line holds a record: %k key %v value %t topic %p partition %d timestamp in ms %h headers NAME=VALUE,… %% and \t, with text between them (default: a line is a value)`)
	c.Flags().Int32VarP(&f.partition, "partition", "p", -1, "partition of every record (default: by key)")
	c.Flags().StringArrayVarP(&f.headers, "header", "H", nil, "header NAME=VALUE of every record; may be repeated")
	c.Flags().BoolVarP(&f.tombstone, "tombstone", "Z", false, "an empty value is none: it deletes its key in a compacted topic")
	c.Flags().StringVarP(&f.compression, "compression", "z", "snappy", "codec of the batches: none, gzip, snappy, lz4 or zstd")
	_ = c.RegisterFlagCompletionFunc("compression", cobra.FixedCompletions(slices.Sorted(maps.Keys(codecs)), cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	c.MarkFlagsMutuallyExclusive("key", "key-separator", "format")
	return c
}

// records returns how the client has to write, and what makes a record of a line.
func (f *produceFlags) records() (opts []kgo.Opt, record func([]byte) (*kgo.Record, error), err error) {
	codec, ok := codecs[f.compression]
	if !ok {
		return nil, nil, inputError(fmt.Errorf("--compression %q: use none, gzip, snappy, lz4 or zstd", f.compression))
	}
	headers, err := parseHeaders(f.headers)
	if err != nil {
		return nil, nil, err
	}
	var format *lineFormat
	if f.format != "" {
		if format, err = parseLineFormat(f.format); err != nil {
			return nil, nil, err
		}
	}
	opts = []kgo.Opt{kgo.ProducerBatchCompression(codec)}
	if f.partition >= 0 || format.has('p') {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	return opts, func(line []byte) (*kgo.Record, error) {
		r := &kgo.Record{Partition: max(f.partition, 0), Headers: headers}
		err := f.fill(r, bytes.Clone(line), format)
		if f.tombstone && len(r.Value) == 0 {
			r.Value = nil
		}
		return r, err
	}, nil
}

// fill sets what the line says, which the record keeps.
func (f *produceFlags) fill(r *kgo.Record, line []byte, format *lineFormat) error {
	r.Value = line
	switch {
	case format != nil:
		return format.read(line, r)
	case f.separator != "":
		k, v, ok := bytes.Cut(line, []byte(f.separator))
		if !ok {
			return inputError(fmt.Errorf("line %q has no separator %q between key and value", abridged(line), f.separator))
		}
		r.Key, r.Value = k, v
	case f.keyed:
		r.Key = []byte(f.key)
	}
	return nil
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
		return 0, onTopic(topic, "describe_configs").explained(err, "")
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
