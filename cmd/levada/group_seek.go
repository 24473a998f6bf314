package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func (a *app) groupDeleteCommand(cl *cluster) *cobra.Command {
	return &cobra.Command{
		Use: "delete GROUP…", Short: "Delete groups that have no members, and their offsets", Args: cobra.MinimumNArgs(1), ValidArgsFunction: someOf(cl.completeGroups),
		RunE: func(c *cobra.Command, groups []string) error {
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			done, err := admin.DeleteGroups(c.Context(), groups...)
			if err != nil {
				return onGroup(strings.Join(groups, ","), "delete").explained(err, "")
			}
			var faults []error
			t := table{header: []string{"GROUP", "DONE"}}
			deleted := []string{}
			for _, r := range done.Sorted() {
				if r.Err != nil {
					faults = append(faults, onGroup(r.Group, "delete").explained(r.Err, ""))
					continue
				}
				deleted = append(deleted, r.Group)
				t.rows = append(t.rows, []string{r.Group, "deleted"})
			}
			return a.printDone(c, map[string]any{"deleted": deleted}, t, faults)
		},
	}
}

func (a *app) groupSeekCommand(cl *cluster) *cobra.Command {
	var to string
	var topics []string
	var dryRun bool
	c := &cobra.Command{
		Use: "seek GROUP", Short: "Set the offsets of a group that has no members", Args: cobra.ExactArgs(1), ValidArgsFunction: oneOf(cl.completeGroups),
		Long:    "Sets the offsets of a group: to start, end, an offset, the first record at or after a\ntime (@2026-01-31T12:00:00Z, @2026-01-31, @1767225600000 in milliseconds, @-1h or @-7d before now), or by so\nmany records (+100, -100). Without --topic it is for the topics that the group has\noffsets in.",
		Example: "  levada group seek billing --to start --dry-run\n  levada group seek billing --to @-1h --topic orders",
		RunE: func(c *cobra.Command, args []string) error {
			target, err := parseSeek(to, time.Now())
			if err != nil {
				return inputError(err)
			}
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			moves, err := planSeek(c.Context(), admin, args[0], topics, target)
			if err != nil {
				return wrongInput(err)
			}
			if !dryRun {
				if err := commitSeek(c.Context(), admin, args[0], moves); err != nil {
					return err
				}
			}
			return a.printMoves(c, args[0], moves, dryRun)
		},
	}
	c.Flags().StringVar(&to, "to", "", "where: start, end, OFFSET, +N, -N or @TIME (required)")
	c.Flags().StringSliceVar(&topics, "topic", nil, "topics (default: those that the group has offsets in)")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would be set")
	_ = c.RegisterFlagCompletionFunc("topic", cl.completeTopics) // the flag is there
	return c
}

// seekTarget is where offsets are set to.
type seekTarget struct {
	kind  string // start, end, offset, by, time
	value int64
}

func parseSeek(s string, now time.Time) (seekTarget, error) {
	wrong := fmt.Errorf("--to %q: use start, end, OFFSET, +N, -N, or @TIME such as @-1h, @-7d, @2026-01-31 or @2026-01-31T12:00:00Z", s)
	if s == "start" || s == "end" {
		return seekTarget{kind: s}, nil
	}
	if at, ok := strings.CutPrefix(s, "@"); ok {
		ms, ok := parseTime(at, now)
		if !ok {
			return seekTarget{}, wrong
		}
		return seekTarget{"time", ms}, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil:
		return seekTarget{}, wrong
	case strings.HasPrefix(s, "+"), strings.HasPrefix(s, "-"):
		return seekTarget{"by", n}, nil
	}
	return seekTarget{"offset", n}, nil
}

// move is the change of one partition's offset.
type move struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"` // -1: none
	To        int64  `json:"to"`
	asked     int64  // To, unless that is not within what there is
}

// planSeek finds out where each partition's offset is set to, within what there is.
func planSeek(ctx context.Context, admin *kadm.Client, group string, topics []string, target seekTarget) ([]move, error) {
	have, err := admin.FetchOffsets(ctx, group)
	if err != nil {
		return nil, onGroup(group, "read").explained(err, "")
	}
	if len(topics) == 0 {
		for topic := range have {
			topics = append(topics, topic)
		}
	}
	if len(topics) == 0 {
		return nil, inputError(fmt.Errorf("group %q has no offsets: name topics with --topic", group))
	}
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, explainedOffsets(ctx, admin, topics, err)
	}
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, explainedOffsets(ctx, admin, topics, err)
	}
	wanted := starts
	switch target.kind {
	case "end":
		wanted = ends
	case "time":
		if wanted, err = admin.ListOffsetsAfterMilli(ctx, target.value, topics...); err != nil {
			return nil, explainedOffsets(ctx, admin, topics, err)
		}
	}
	var out []move
	var faults []error
	ends.Each(func(end kadm.ListedOffset) {
		if end.Err != nil {
			faults = append(faults, onTopic(end.Topic, "read").explained(end.Err, ""))
			return
		}
		m := move{Topic: end.Topic, Partition: end.Partition, From: -1}
		if o, ok := have.Lookup(end.Topic, end.Partition); ok {
			m.From = o.At
		}
		at, _ := wanted.Lookup(end.Topic, end.Partition)
		start, _ := starts.Lookup(end.Topic, end.Partition)
		switch m.To = at.Offset; target.kind {
		case "offset":
			m.To = target.value
		case "by":
			from := max(m.From, 0)
			m.To = from + min(target.value, math.MaxInt64-from)
		}
		m.asked = m.To
		m.To = max(start.Offset, min(m.To, end.Offset))
		out = append(out, m)
	})
	slices.SortFunc(out, func(a, b move) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return out, errors.Join(faults...)
}

func commitSeek(ctx context.Context, admin *kadm.Client, group string, moves []move) error {
	var offsets kadm.Offsets
	for _, m := range moves {
		offsets.AddOffset(m.Topic, m.Partition, m.To, -1)
	}
	done, err := admin.CommitOffsets(ctx, group, offsets)
	if err == nil {
		err = done.Error()
	}
	if err != nil {
		if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.IllegalGeneration) {
			err = kerr.NonEmptyGroup // which is what the coordinator means by it
		}
		return onGroup(group, "read").explained(err, "")
	}
	return nil
}

func (a *app) printMoves(c *cobra.Command, group string, moves []move, dryRun bool) error {
	t := table{header: []string{"TOPIC", "PARTITION", "FROM", "TO"}, empty: "no partitions"}
	for _, m := range moves {
		t.rows = append(t.rows, []string{m.Topic, strconv.Itoa(int(m.Partition)), orDash(m.From), strconv.FormatInt(m.To, 10)})
		if m.asked != m.To {
			fmt.Fprintf(c.ErrOrStderr(), "levada: %s-%d: %d is not within what there is; set to %d\n", m.Topic, m.Partition, m.asked, m.To)
		}
	}
	return a.print(c.OutOrStdout(), map[string]any{"group": group, "moves": moves, "dry_run": dryRun}, t)
}
