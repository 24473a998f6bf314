package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/levada/levada/logbroker/sasl"
)

func (a *app) userCommand() *cobra.Command {
	cl := &cluster{}
	c := &cobra.Command{Use: "user", Short: "Users who authenticate with SCRAM or PLAIN"}
	cl.addFlags(c)
	c.AddCommand(a.userListCommand(cl), a.userSetCommand(cl), a.userDeleteCommand(cl))
	return c
}

func (a *app) userListCommand(cl *cluster) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List users and their mechanisms", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			users, err := admin.DescribeUserSCRAMs(c.Context())
			if err != nil {
				return onCluster("users", "describe").explained(err, "")
			}
			type row struct {
				User       string   `json:"user"`
				Mechanisms []string `json:"mechanisms"`
			}
			rows := []row{}
			t := table{header: []string{"USER", "MECHANISMS"}, empty: "no users"}
			for _, u := range users.Sorted() {
				r := row{User: u.User}
				for _, i := range u.CredInfos {
					r.Mechanisms = append(r.Mechanisms, i.Mechanism.String())
				}
				slices.Sort(r.Mechanisms) // a cluster has them in any order
				rows = append(rows, r)
				t.rows = append(t.rows, []string{r.User, strings.Join(r.Mechanisms, " ")})
			}
			return a.print(c.OutOrStdout(), map[string]any{"users": rows}, t)
		},
	}
}

var scramNumbers = map[string]kadm.ScramMechanism{"SCRAM-SHA-256": kadm.ScramSha256, "SCRAM-SHA-512": kadm.ScramSha512}

func (a *app) userSetCommand(cl *cluster) *cobra.Command {
	var mechanisms []string
	var iterations int32
	c := &cobra.Command{
		Use: "set USER", Short: "Add a user, or give one another password, which is read from standard input", Args: cobra.ExactArgs(1), ValidArgsFunction: oneOf(cl.completeUsers),
		Example: "  echo \"$PASSWORD\" | levada user set ann",
		RunE: func(c *cobra.Command, args []string) error {
			if iterations < sasl.MinIterations || iterations > sasl.MaxIterations {
				return inputError(fmt.Errorf("--iterations %d: use %d to %d", iterations, sasl.MinIterations, sasl.MaxIterations))
			}
			if len(mechanisms) == 0 {
				return inputError(errors.New("--mechanism is empty: use SCRAM-SHA-256 or SCRAM-SHA-512"))
			}
			var set []kadm.UpsertSCRAM
			for _, m := range mechanisms {
				n, ok := scramNumbers[strings.ToUpper(m)]
				if !ok {
					return inputError(fmt.Errorf("--mechanism %q: use SCRAM-SHA-256 or SCRAM-SHA-512", m))
				}
				set = append(set, kadm.UpsertSCRAM{User: args[0], Mechanism: n, Iterations: iterations})
			}
			password, err := readPassword(c)
			if err != nil {
				return err
			}
			for i := range set {
				set[i].Password = password
			}
			return a.alterUsers(c, cl, args[0], nil, set)
		},
	}
	c.Flags().StringSliceVar(&mechanisms, "mechanism", []string{"SCRAM-SHA-256", "SCRAM-SHA-512"}, "mechanisms that the user can use")
	c.Flags().Int32Var(&iterations, "iterations", sasl.DefaultIterations, "how much work a guess is, 4096 to 16384")
	return c
}

func (a *app) userDeleteCommand(cl *cluster) *cobra.Command {
	return &cobra.Command{
		Use: "delete USER", Short: "Delete a user", Args: cobra.ExactArgs(1), ValidArgsFunction: oneOf(cl.completeUsers),
		RunE: func(c *cobra.Command, args []string) error {
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			users, err := admin.DescribeUserSCRAMs(c.Context(), args[0])
			if err == nil {
				err = users[args[0]].Err
			}
			if err != nil {
				return onCluster("user "+strconv.Quote(args[0]), "describe").explained(err, "")
			}
			var drop []kadm.DeleteSCRAM
			for _, i := range users[args[0]].CredInfos {
				drop = append(drop, kadm.DeleteSCRAM{User: args[0], Mechanism: i.Mechanism})
			}
			return a.alterUsers(c, cl, args[0], drop, nil)
		},
	}
}

func (a *app) alterUsers(c *cobra.Command, cl *cluster, user string, drop []kadm.DeleteSCRAM, set []kadm.UpsertSCRAM) error {
	admin, err := cl.admin(c.Context())
	if err != nil {
		return err
	}
	defer admin.Close()
	alter := func(drop []kadm.DeleteSCRAM, set []kadm.UpsertSCRAM) error {
		changed, err := admin.AlterUserSCRAMs(c.Context(), drop, set)
		if err != nil {
			return onCluster("user "+strconv.Quote(user), "alter").explained(err, "")
		}
		for _, r := range changed {
			if r.Err != nil {
				return inputError(onCluster("user "+strconv.Quote(r.User), "alter").explained(r.Err, r.ErrMessage))
			}
		}
		return nil
	}
	// One request for each: a cluster takes one change of a user at a time.
	for i := range drop {
		if err := alter(drop[i:i+1], nil); err != nil {
			return err
		}
	}
	for i := range set {
		if err := alter(nil, set[i:i+1]); err != nil {
			return err
		}
	}
	done := map[bool]string{true: "set", false: "deleted"}[len(set) > 0]
	return a.print(c.OutOrStdout(), map[string]string{"user": user, "done": done}, table{header: []string{"USER", "DONE"}, rows: [][]string{{user, done}}})
}
