package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func (a *app) topicCommand() *cobra.Command {
	cl := &cluster{}
	c := &cobra.Command{Use: "topic", Short: "Create, look at, fill and read topics"}
	cl.addFlags(c)
	c.AddCommand(
		a.topicCreateCommand(cl), a.topicListCommand(cl), a.topicDescribeCommand(cl), a.topicDeleteCommand(cl),
		a.topicAddPartitionsCommand(cl), a.topicAlterConfigCommand(cl), a.topicProduceCommand(cl), a.topicConsumeCommand(cl),
	)
	return c
}

func (a *app) topicCreateCommand(cl *cluster) *cobra.Command {
	var partitions int32
	var configs []string
	c := &cobra.Command{
		Use: "create TOPIC…", Short: "Create topics", Args: cobra.MinimumNArgs(1),
		Example: "  levada topic create orders --partitions 4 --config cleanup.policy=compact",
		RunE: func(c *cobra.Command, names []string) error {
			kv := map[string]*string{}
			for _, s := range configs {
				k, v, ok := strings.Cut(s, "=")
				if !ok {
					return inputError(fmt.Errorf("--config %q: write KEY=VALUE", s))
				}
				kv[k] = &v
			}
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			created, err := admin.CreateTopics(c.Context(), partitions, -1, kv, names...)
			if err != nil {
				return err
			}
			t := table{header: []string{"TOPIC", "PARTITIONS"}}
			type row struct {
				Topic      string `json:"topic"`
				Partitions int32  `json:"partitions"`
			}
			rows, faults := []row{}, []error{}
			for _, r := range created.Sorted() {
				if r.Err != nil {
					faults = append(faults, explained("topic "+strconv.Quote(r.Topic), r.Err, r.ErrMessage))
					continue
				}
				rows = append(rows, row{r.Topic, r.NumPartitions})
				t.rows = append(t.rows, []string{r.Topic, strconv.Itoa(int(r.NumPartitions))})
			}
			return a.printDone(c, map[string]any{"created": rows}, t, faults)
		},
	}
	c.Flags().Int32VarP(&partitions, "partitions", "p", 4, "number of partitions")
	c.Flags().StringArrayVarP(&configs, "config", "c", nil, "topic config KEY=VALUE with Kafka's names; may be repeated")
	return c
}

// printDone prints what was done, if anything was, and returns what was not.
func (a *app) printDone(c *cobra.Command, done map[string]any, t table, faults []error) error {
	var err error
	if len(t.rows) > 0 {
		err = a.print(c.OutOrStdout(), done, t)
	}
	return wrongInput(errors.Join(append(faults, err)...))
}

// explained is an error of the broker with its own words for it, which begin
// with the name of the thing or are without it.
func explained(thing string, err error, message string) error {
	var known *kerr.Error
	message = strings.TrimPrefix(message, thing+": ")
	if message == "" || !errors.As(err, &known) {
		return fmt.Errorf("%s: %w", thing, err)
	}
	return &explainedError{known, fmt.Sprintf("%s: %s: %s", thing, known.Message, message)}
}

type explainedError struct {
	known *kerr.Error
	text  string
}

func (e *explainedError) Error() string { return e.text }
func (e *explainedError) Unwrap() error { return e.known }

func (a *app) topicListCommand(cl *cluster) *cobra.Command {
	var internal bool
	c := &cobra.Command{
		Use: "list", Short: "List topics", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			list := admin.ListTopics
			if internal {
				list = admin.ListTopicsWithInternal
			}
			topics, err := list(c.Context())
			if err != nil {
				return err
			}
			t := table{header: []string{"TOPIC", "PARTITIONS", "REPLICAS"}, empty: "no topics; create one with: levada topic create NAME"}
			type row struct {
				Topic      string `json:"topic"`
				ID         string `json:"id"`
				Partitions int    `json:"partitions"`
				Replicas   int    `json:"replicas"`
			}
			rows := []row{}
			for _, d := range topics.Sorted() {
				rows = append(rows, row{d.Topic, topicID(d.ID), len(d.Partitions), d.Partitions.NumReplicas()})
				t.rows = append(t.rows, []string{d.Topic, strconv.Itoa(len(d.Partitions)), strconv.Itoa(d.Partitions.NumReplicas())})
			}
			return a.print(c.OutOrStdout(), map[string]any{"topics": rows}, t)
		},
	}
	c.Flags().BoolVar(&internal, "internal", false, "list internal topics too")
	return c
}

// topicID is Kafka's text form of a topic id.
func topicID(id kadm.TopicID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

type partitionRow struct {
	Partition   int32 `json:"partition"`
	Leader      int32 `json:"leader"`
	Start       int64 `json:"start_offset"`
	StableEnd   int64 `json:"last_stable_offset"`
	End         int64 `json:"high_watermark"`
	LeaderEpoch int32 `json:"leader_epoch"`
}

type topicDetail struct {
	Topic      string            `json:"topic"`
	ID         string            `json:"id"`
	Partitions []partitionRow    `json:"partitions"`
	Configs    map[string]string `json:"configs"`
}

func (a *app) topicDescribeCommand(cl *cluster) *cobra.Command {
	return &cobra.Command{
		Use: "describe TOPIC…", Short: "Show partitions, offsets and configs of topics", Args: cobra.MinimumNArgs(1), ValidArgsFunction: cl.completeTopics,
		RunE: func(c *cobra.Command, names []string) error {
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			var details []topicDetail
			for _, name := range names {
				d, err := describeTopic(c.Context(), admin, name)
				if err != nil {
					return err
				}
				details = append(details, d)
			}
			if a.output == "json" {
				return a.print(c.OutOrStdout(), map[string]any{"topics": details}, table{})
			}
			for _, d := range details {
				if err := a.printTopic(c, d); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func describeTopic(ctx context.Context, admin *kadm.Client, name string) (topicDetail, error) {
	topics, err := admin.ListTopicsWithInternal(ctx, name)
	if err != nil {
		return topicDetail{}, err
	}
	d, ok := topics[name]
	if !ok || d.Err != nil {
		return topicDetail{}, inputError(fmt.Errorf("topic %q does not exist (see: levada topic list)", name))
	}
	out := topicDetail{Topic: name, ID: topicID(d.ID), Configs: map[string]string{}}
	starts, err := admin.ListStartOffsets(ctx, name)
	if err != nil {
		return out, err
	}
	ends, err := admin.ListEndOffsets(ctx, name)
	if err != nil {
		return out, err
	}
	stable, err := admin.ListCommittedOffsets(ctx, name)
	if err != nil {
		return out, err
	}
	for _, p := range d.Partitions.Sorted() {
		s, _ := starts.Lookup(name, p.Partition)
		e, _ := ends.Lookup(name, p.Partition)
		l, _ := stable.Lookup(name, p.Partition)
		out.Partitions = append(out.Partitions, partitionRow{p.Partition, p.Leader, s.Offset, l.Offset, e.Offset, p.LeaderEpoch})
	}
	configs, err := admin.DescribeTopicConfigs(ctx, name)
	if err != nil {
		return out, err
	}
	for _, rc := range configs {
		for _, cfg := range rc.Configs {
			if cfg.Value != nil {
				out.Configs[cfg.Key] = *cfg.Value
			}
		}
	}
	return out, nil
}

func (a *app) printTopic(c *cobra.Command, d topicDetail) error {
	w := c.OutOrStdout()
	fmt.Fprintf(w, "topic %s  id %s\n", d.Topic, d.ID)
	t := table{header: []string{"PARTITION", "LEADER", "EPOCH", "START", "LAST STABLE", "HIGH WATERMARK"}}
	for _, p := range d.Partitions {
		row := []string{}
		for _, n := range []int64{int64(p.Partition), int64(p.Leader), int64(p.LeaderEpoch), p.Start, p.StableEnd, p.End} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		t.rows = append(t.rows, row)
	}
	if err := a.print(w, nil, t); err != nil {
		return err
	}
	keys := make([]string, 0, len(d.Configs))
	for k := range d.Configs {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	t = table{header: []string{"CONFIG", "VALUE"}}
	for _, k := range keys {
		t.rows = append(t.rows, []string{k, d.Configs[k]})
	}
	return a.print(w, nil, t)
}

func (a *app) topicDeleteCommand(cl *cluster) *cobra.Command {
	return &cobra.Command{
		Use: "delete TOPIC…", Short: "Delete topics and all of their records", Args: cobra.MinimumNArgs(1), ValidArgsFunction: cl.completeTopics,
		RunE: func(c *cobra.Command, names []string) error {
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			deleted, err := admin.DeleteTopics(c.Context(), names...)
			if err != nil {
				return err
			}
			t := table{header: []string{"DELETED"}}
			rows, faults := []string{}, []error{}
			for _, r := range deleted.Sorted() {
				if r.Err != nil {
					faults = append(faults, explained("topic "+strconv.Quote(r.Topic), r.Err, r.ErrMessage))
					continue
				}
				rows = append(rows, r.Topic)
				t.rows = append(t.rows, []string{r.Topic})
			}
			return a.printDone(c, map[string]any{"deleted": rows}, t, faults)
		},
	}
}
