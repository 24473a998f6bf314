package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
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
	var replicas int16
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
				if err := checkConfig(k, v); err != nil {
					return err
				}
				kv[k] = &v
			}
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			created, err := admin.CreateTopics(c.Context(), partitions, replicas, kv, names...)
			if err != nil {
				return err
			}
			t := table{header: []string{"TOPIC", "PARTITIONS"}}
			type row struct {
				Topic      string `json:"topic"`
				Partitions int32  `json:"partitions"`
			}
			rows, faults := []row{}, []error{}
			for _, name := range slices.Sorted(maps.Keys(created)) {
				r := created[name]
				if r.Err != nil {
					faults = append(faults, onTopic(r.Topic, "create").explained(r.Err, r.ErrMessage))
					continue
				}
				rows = append(rows, row{r.Topic, r.NumPartitions})
				t.rows = append(t.rows, []string{r.Topic, strconv.Itoa(int(r.NumPartitions))})
			}
			return a.printDone(c, map[string]any{"created": rows}, t, faults)
		},
	}
	c.Flags().Int32VarP(&partitions, "partitions", "p", 4, "number of partitions; -1 is the server's num.partitions")
	c.Flags().Int16VarP(&replicas, "replication-factor", "r", -1, "replicas of each partition; -1 is the server's default.replication.factor, and Levada has 1")
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
			t := table{header: []string{"TOPIC", "PARTITIONS", "REPLICAS"}, empty: "no topics; create one with: " + program + " topic create NAME"}
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

func (a *app) topicDeleteCommand(cl *cluster) *cobra.Command {
	return &cobra.Command{
		Use: "delete TOPIC…", Short: "Delete topics and all of their records", Args: cobra.MinimumNArgs(1), ValidArgsFunction: someOf(cl.completeTopics),
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
			for _, name := range slices.Sorted(maps.Keys(deleted)) {
				r := deleted[name]
				if r.Err != nil {
					faults = append(faults, onTopic(r.Topic, "delete").explained(r.Err, r.ErrMessage))
					continue
				}
				rows = append(rows, r.Topic)
				t.rows = append(t.rows, []string{r.Topic})
			}
			return a.printDone(c, map[string]any{"deleted": rows}, t, faults)
		},
	}
}
