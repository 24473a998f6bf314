package main

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
)

func (a *app) groupCommand() *cobra.Command {
	cl := &cluster{}
	c := &cobra.Command{Use: "group", Short: "Look at consumer groups, and set their offsets"}
	cl.addFlags(c)
	c.AddCommand(a.groupListCommand(cl), a.groupDescribeCommand(cl), a.groupSeekCommand(cl), a.groupDeleteCommand(cl))
	return c
}

func (a *app) groupListCommand(cl *cluster) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List consumer groups", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			groups, err := admin.ListGroups(c.Context())
			if err != nil {
				return err
			}
			type row struct {
				Group        string `json:"group"`
				State        string `json:"state"`
				ProtocolType string `json:"protocol_type"`
			}
			rows := []row{}
			t := table{header: []string{"GROUP", "STATE", "PROTOCOL"}, empty: "no groups"}
			for _, g := range groups.Sorted() {
				rows = append(rows, row{g.Group, g.State, g.ProtocolType})
				t.rows = append(t.rows, []string{g.Group, g.State, g.ProtocolType})
			}
			return a.print(c.OutOrStdout(), map[string]any{"groups": rows}, t)
		},
	}
}

type groupLag struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"`
	Host      string `json:"host,omitempty"`
}

// orDash is an offset, or a dash where there is none, which is -1.
func orDash(offset int64) string {
	if offset < 0 {
		return "-"
	}
	return strconv.FormatInt(offset, 10)
}

func (a *app) groupDescribeCommand(cl *cluster) *cobra.Command {
	return &cobra.Command{
		Use: "describe GROUP", Short: "Show the state, members and lag of a group", Args: cobra.ExactArgs(1), ValidArgsFunction: oneOf(cl.completeGroups),
		RunE: func(c *cobra.Command, args []string) error {
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			group := onGroup(args[0], "describe")
			lags, err := admin.Lag(c.Context(), args[0])
			if err != nil {
				return group.explained(err, "")
			}
			g, ok := lags[args[0]]
			if !ok || g.State == "Dead" && len(g.Lag) == 0 {
				return group.explained(kerr.GroupIDNotFound, "")
			}
			if err := g.Error(); err != nil {
				return group.explained(err, "")
			}
			rows := []groupLag{}
			t := table{header: []string{"TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "HOST"}, empty: "no offsets are committed"}
			for _, l := range g.Lag.Sorted() {
				r := groupLag{Topic: l.Topic, Partition: l.Partition, Committed: l.Commit.At, End: l.End.Offset, Lag: l.Lag}
				if l.Member != nil {
					r.Member, r.Host = l.Member.MemberID, l.Member.ClientHost
				}
				rows = append(rows, r)
				t.rows = append(t.rows, []string{
					r.Topic, strconv.Itoa(int(r.Partition)), orDash(r.Committed), orDash(r.End), orDash(r.Lag), cmp.Or(r.Member, "-"), cmp.Or(r.Host, "-"),
				})
			}
			if a.output == "table" {
				fmt.Fprintf(c.OutOrStdout(), "group %s  state %s  members %d\n", args[0], g.State, len(g.Members))
			}
			return a.print(c.OutOrStdout(), map[string]any{"group": args[0], "state": g.State, "members": len(g.Members), "lag": rows}, t)
		},
	}
}
