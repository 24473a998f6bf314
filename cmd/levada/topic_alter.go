package main

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
)

func (a *app) topicAddPartitionsCommand(cl *cluster) *cobra.Command {
	var n int
	c := &cobra.Command{
		Use: "add-partitions TOPIC…", Short: "Add partitions to topics", Args: cobra.MinimumNArgs(1), ValidArgsFunction: someOf(cl.completeTopics),
		Long:    "Records of a key that come later may go to another partition than those before.",
		Example: "  levada topic add-partitions orders --num 4",
		RunE: func(c *cobra.Command, names []string) error {
			if n < 1 {
				return inputError(fmt.Errorf("--num %d: use at least 1", n))
			}
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			grown, err := admin.CreatePartitions(c.Context(), n, names...)
			if err != nil {
				return onTopic(strings.Join(names, ","), "alter").explained(err, "")
			}
			t := table{header: []string{"TOPIC", "ADDED"}}
			rows, faults := []string{}, []error{}
			for _, r := range grown.Sorted() {
				if r.Err != nil {
					faults = append(faults, onTopic(r.Topic, "alter").explained(r.Err, r.ErrMessage))
					continue
				}
				rows = append(rows, r.Topic)
				t.rows = append(t.rows, []string{r.Topic, strconv.Itoa(n)})
			}
			return a.printDone(c, map[string]any{"topics": rows, "added": n}, t, faults)
		},
	}
	c.Flags().IntVarP(&n, "num", "n", 0, "how many partitions to add (required)")
	return c
}

// alterations are the changes that --set-config and --reset-config ask for.
func alterations(set, reset []string) (out []kadm.AlterConfig, err error) {
	for _, s := range set {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, inputError(fmt.Errorf("--set-config %q: write NAME=VALUE", s))
		}
		if err := checkConfig(name, value); err != nil {
			return nil, err
		}
		out = append(out, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
	}
	for _, name := range reset {
		out = append(out, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name})
	}
	if len(out) == 0 {
		return nil, inputError(errors.New("nothing to change: use --set-config NAME=VALUE or --reset-config NAME"))
	}
	return out, nil
}

func (a *app) topicAlterConfigCommand(cl *cluster) *cobra.Command {
	var set, reset []string
	c := &cobra.Command{
		Use: "alter-config TOPIC…", Short: "Change configs of topics", Args: cobra.MinimumNArgs(1), ValidArgsFunction: someOf(cl.completeTopics),
		Example: "  levada topic alter-config orders --set-config retention.ms=86400000 --reset-config cleanup.policy",
		RunE: func(c *cobra.Command, names []string) error {
			changes, err := alterations(set, reset)
			if err != nil {
				return err
			}
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			answers, err := admin.AlterTopicConfigs(c.Context(), changes, names...)
			if err != nil {
				return onTopic(strings.Join(names, ","), "alter_configs").explained(err, "")
			}
			return a.printAltered(c, func(name string) subject { return onTopic(name, "alter_configs") }, answers)
		},
	}
	addAlterFlags(c, &set, &reset)
	return c
}

func addAlterFlags(c *cobra.Command, set, reset *[]string) {
	c.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		switch name { // as other tools call them
		case "set", "add-config":
			name = "set-config"
		case "delete", "delete-config":
			name = "reset-config"
		}
		return pflag.NormalizedName(name)
	})
	c.Flags().StringArrayVarP(set, "set-config", "s", nil, "NAME=VALUE with Kafka's names; may be repeated (also --set, --add-config)")
	c.Flags().StringArrayVarP(reset, "reset-config", "d", nil, "NAME that gets its default again; may be repeated (also --delete, --delete-config)")
}

func (a *app) printAltered(c *cobra.Command, about func(name string) subject, answers kadm.AlterConfigsResponses) error {
	t := table{header: []string{"CHANGED"}}
	rows, faults := []string{}, []error{}
	for _, r := range answers {
		if r.Err != nil {
			faults = append(faults, about(r.Name).explained(r.Err, r.ErrMessage))
			continue
		}
		name := cmp.Or(r.Name, "all brokers") // whose resource has no name
		rows = append(rows, name)
		t.rows = append(t.rows, []string{name})
	}
	return a.printDone(c, map[string]any{"changed": rows}, t, faults)
}
