package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

type partitionRow struct {
	Partition   int32 `json:"partition"`
	Leader      int32 `json:"leader"`
	Start       int64 `json:"start_offset"`
	StableEnd   int64 `json:"last_stable_offset"`
	End         int64 `json:"high_watermark"`
	LeaderEpoch int32 `json:"leader_epoch"`
	// ExpiresBelow is the offset below which all records are older than retention.ms,
	// 0 where none is or nothing expires.
	ExpiresBelow int64 `json:"expires_below,omitempty"`
	// Error is why the partition cannot be served; its offsets are -1 then.
	Error string `json:"error,omitempty"`
}

type topicDetail struct {
	Topic      string            `json:"topic"`
	ID         string            `json:"id"`
	Partitions []partitionRow    `json:"partitions"`
	Configs    map[string]string `json:"configs"`
	Sources    map[string]string `json:"config_sources"` // of each of them
	Refused    string            `json:"configs_refused,omitempty"`

	off offline
}

func (a *app) topicDescribeCommand(cl *cluster) *cobra.Command {
	return &cobra.Command{
		Use: "describe TOPIC…", Short: "Show partitions, offsets and configs of topics", Args: cobra.MinimumNArgs(1), ValidArgsFunction: someOf(cl.completeTopics),
		RunE: func(c *cobra.Command, names []string) error {
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			details, faults := []topicDetail{}, []error{}
			for _, name := range names {
				d, err := describeTopic(c.Context(), admin, name)
				if err != nil {
					faults = append(faults, onTopic(name, "describe").explained(err, ""))
					continue
				}
				details = append(details, d)
			}
			switch {
			case len(details) == 0: // only faults
			case a.output == "json":
				faults = append(faults, a.print(c.OutOrStdout(), map[string]any{"topics": details}, table{}))
			default:
				for _, d := range details {
					faults = append(faults, a.printTopic(c, d))
				}
			}
			return wrongInput(errors.Join(faults...))
		},
	}
}

func describeTopic(ctx context.Context, admin *kadm.Client, name string) (topicDetail, error) {
	topics, err := admin.ListTopicsWithInternal(ctx, name)
	if err != nil {
		return topicDetail{}, err
	}
	d, ok := topics[name]
	if !ok {
		return topicDetail{}, kerr.UnknownTopicOrPartition
	}
	if d.Err != nil {
		return topicDetail{}, d.Err
	}
	out := topicDetail{Topic: name, ID: topicID(d.ID), Configs: map[string]string{}, Sources: map[string]string{}}
	out.off = offlineOf(d)
	starts, err := admin.ListStartOffsets(ctx, name)
	if err := out.off.others(err); err != nil {
		return out, err
	}
	ends, err := admin.ListEndOffsets(ctx, name)
	if err := out.off.others(err); err != nil {
		return out, err
	}
	stable, err := admin.ListCommittedOffsets(ctx, name)
	if err := out.off.others(err); err != nil {
		return out, err
	}
	for _, p := range d.Partitions.Sorted() {
		row := partitionRow{Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Start: -1, StableEnd: -1, End: -1}
		if p.Err != nil {
			row.Error = p.Err.Error()
		} else {
			s, _ := starts.Lookup(name, p.Partition)
			e, _ := ends.Lookup(name, p.Partition)
			l, _ := stable.Lookup(name, p.Partition)
			row.Start, row.StableEnd, row.End = s.Offset, l.Offset, e.Offset
		}
		out.Partitions = append(out.Partitions, row)
	}
	if err := out.addConfigs(ctx, admin); err != nil {
		return out, err
	}
	return out, out.addExpiry(ctx, admin, time.Now())
}

// addConfigs is without configs where the user may see the topic and not them.
func (d *topicDetail) addConfigs(ctx context.Context, admin *kadm.Client) error {
	configs, err := admin.DescribeTopicConfigs(ctx, d.Topic)
	for _, rc := range configs {
		err = errors.Join(err, rc.Err)
		for _, cfg := range rc.Configs {
			if cfg.Value != nil {
				d.Configs[cfg.Key], d.Sources[cfg.Key] = *cfg.Value, cfg.Source.String()
			}
		}
	}
	if errors.Is(err, kerr.TopicAuthorizationFailed) {
		d.Refused = onTopic(d.Topic, "describe_configs").explained(kerr.TopicAuthorizationFailed, "").Error()
		return nil
	}
	return err
}

// addExpiry finds out what retention by time deletes: it goes by the records' own
// timestamps, so records that were just written may be too old.
func (d *topicDetail) addExpiry(ctx context.Context, admin *kadm.Client, now time.Time) error {
	keptMs, err := strconv.ParseInt(d.Configs["retention.ms"], 10, 64)
	oldest := now.UnixMilli() - keptMs
	if err != nil || keptMs < 0 || oldest < 0 || !strings.Contains(d.Configs["cleanup.policy"], "delete") {
		return nil // nothing expires, or it is not known
	}
	kept, err := admin.ListOffsetsAfterMilli(ctx, oldest, d.Topic)
	if err := d.off.others(err); err != nil {
		return err
	}
	all, err := admin.ListOffsetsAfterMilli(ctx, 0, d.Topic) // compaction may have left nothing at the start
	if err := d.off.others(err); err != nil {
		return err
	}
	for i := range d.Partitions {
		p := &d.Partitions[i]
		first, _ := all.Lookup(d.Topic, p.Partition)
		if at, ok := kept.Lookup(d.Topic, p.Partition); ok && at.Err == nil && first.Err == nil && at.Offset > max(p.Start, first.Offset) {
			p.ExpiresBelow = at.Offset
		}
	}
	return nil
}

// expiry says what retention by time deletes, nothing where it is nothing.
func (d *topicDetail) expiry() string {
	var parts []string
	for _, p := range d.Partitions {
		if p.ExpiresBelow > 0 {
			parts = append(parts, fmt.Sprintf("partition %d below offset %d", p.Partition, p.ExpiresBelow))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("older than retention.ms=%s by their own timestamps, and deleted as soon as all of their segment are: %s\n", d.Configs["retention.ms"], strings.Join(parts, ", "))
}

func (a *app) printTopic(c *cobra.Command, d topicDetail) error {
	w := c.OutOrStdout()
	fmt.Fprintf(w, "topic %s  id %s\n", printable(d.Topic), d.ID)
	t := table{header: []string{"PARTITION", "LEADER", "EPOCH", "START", "LAST STABLE", "HIGH WATERMARK"}}
	for _, p := range d.Partitions {
		row := []string{}
		for _, n := range []int64{int64(p.Partition), int64(p.Leader), int64(p.LeaderEpoch)} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		row = append(row, orDash(p.Start), orDash(p.StableEnd), orDash(p.End))
		t.rows = append(t.rows, row)
	}
	if err := a.print(w, nil, t); err != nil {
		return err
	}
	if err := d.off.explained(d.Topic); err != nil {
		fmt.Fprintln(w, printableLines(err.Error()))
	}
	if _, err := io.WriteString(w, d.expiry()); err != nil {
		return err
	}
	if d.Refused != "" {
		_, err := fmt.Fprintln(w, "configs of", d.Refused)
		return err
	}
	t = table{header: []string{"CONFIG", "VALUE", "SOURCE"}}
	for _, k := range slices.Sorted(maps.Keys(d.Configs)) {
		t.rows = append(t.rows, []string{k, d.Configs[k], d.Sources[k]})
	}
	return a.print(w, nil, t)
}
