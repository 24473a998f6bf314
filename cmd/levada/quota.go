package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func (a *app) quotaCommand() *cobra.Command {
	cl := &cluster{}
	c := &cobra.Command{Use: "quota", Short: "How much clients may ask for"}
	cl.addFlags(c)
	c.AddCommand(a.quotaListCommand(cl), a.quotaSetCommand(cl))
	return c
}

func (a *app) quotaListCommand(cl *cluster) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all limits", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			quotas, err := admin.DescribeClientQuotas(c.Context(), false, nil)
			if err != nil {
				return onCluster("limits", "describe_configs").explained(err, "")
			}
			slices.SortFunc(quotas, func(a, b kadm.DescribedClientQuota) int { return strings.Compare(named(a.Entity), named(b.Entity)) })
			type row struct {
				Who    map[string]*string `json:"who"` // by kind: user, client-id, ip; null is <default>
				Limits map[string]float64 `json:"limits"`
			}
			rows := []row{}
			t := table{header: []string{"WHO", "LIMIT", "VALUE"}, empty: "no limits"}
			for _, q := range quotas {
				r := row{fieldsOf(q.Entity), map[string]float64{}}
				for _, v := range q.Values {
					r.Limits[v.Key] = v.Value
				}
				rows = append(rows, r)
				for _, k := range slices.Sorted(maps.Keys(r.Limits)) {
					t.rows = append(t.rows, []string{named(q.Entity), k, strconv.FormatFloat(r.Limits[k], 'f', -1, 64)})
				}
			}
			return a.print(c.OutOrStdout(), map[string]any{"quotas": rows}, t)
		},
	}
}

func (a *app) quotaSetCommand(cl *cluster) *cobra.Command {
	var user, client, ip string
	var dryRun bool
	c := &cobra.Command{
		Use: "set LIMIT=VALUE…", Short: "Set limits of a user, a client or an address; an empty value removes one", Args: cobra.MinimumNArgs(1),
		Long:    "Sets limits: producer_byte_rate, consumer_byte_rate, request_percentage and\ncontroller_mutation_rate of users and clients, connection_creation_rate of addresses. The\nname <default> stands for all who have no limit of their own.",
		Example: "  levada quota set producer_byte_rate=1048576 --user ann\n  levada quota set producer_byte_rate= --user ann",
		RunE: func(c *cobra.Command, args []string) error {
			entry := kadm.AlterClientQuotaEntry{}
			for kind, name := range map[string]string{"user": user, "client-id": client, "ip": ip} {
				switch name {
				case "":
				case "<default>":
					entry.Entity = append(entry.Entity, kadm.ClientQuotaEntityComponent{Type: kind})
				default:
					entry.Entity = append(entry.Entity, kadm.ClientQuotaEntityComponent{Type: kind, Name: &name})
				}
			}
			if len(entry.Entity) == 0 {
				return inputError(fmt.Errorf("whose limit? Use --user, --client or --ip"))
			}
			for _, arg := range args {
				key, text, ok := strings.Cut(arg, "=")
				value, err := strconv.ParseFloat(text, 64)
				if !ok || err != nil && text != "" {
					return inputError(fmt.Errorf("%q: write LIMIT=NUMBER, or LIMIT= to remove it", arg))
				}
				entry.Ops = append(entry.Ops, kadm.AlterClientQuotaOp{Key: key, Value: value, Remove: text == ""})
			}
			return a.setQuota(c, cl, entry, dryRun)
		},
	}
	c.Flags().StringVar(&user, "user", "", "user, or <default>")
	c.Flags().StringVar(&client, "client", "", "client id, or <default>")
	c.Flags().StringVar(&ip, "ip", "", "address, or <default>")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only check it")
	return c
}

func (a *app) setQuota(c *cobra.Command, cl *cluster, entry kadm.AlterClientQuotaEntry, dryRun bool) error {
	admin, err := cl.admin(c.Context())
	if err != nil {
		return err
	}
	defer admin.Close()
	if err := checkRemovals(c.Context(), admin, entry); err != nil {
		return err
	}
	do := admin.AlterClientQuotas
	if dryRun {
		do = admin.ValidateAlterClientQuotas
	}
	done, err := do(c.Context(), []kadm.AlterClientQuotaEntry{entry})
	if err != nil {
		return onCluster("limits of "+named(entry.Entity), "alter_configs").explained(err, "")
	}
	for _, r := range done {
		if r.Err != nil {
			return inputError(onCluster("limits of "+named(r.Entity), "alter_configs").explained(r.Err, r.ErrMessage))
		}
	}
	did := map[bool]string{true: "would be set", false: "set"}[dryRun]
	return a.print(c.OutOrStdout(), map[string]any{"who": fieldsOf(entry.Entity), "dry_run": dryRun}, table{header: []string{"WHO", "DONE"}, rows: [][]string{{named(entry.Entity), did}}})
}

// checkRemovals refuses to remove limits that are not there: nothing would happen, and
// it is most often another name that is meant.
func checkRemovals(ctx context.Context, admin *kadm.Client, entry kadm.AlterClientQuotaEntry) error {
	if !slices.ContainsFunc(entry.Ops, func(o kadm.AlterClientQuotaOp) bool { return o.Remove }) {
		return nil
	}
	quotas, err := admin.DescribeClientQuotas(ctx, false, nil)
	if err != nil {
		return onCluster("limits", "describe_configs").explained(err, "")
	}
	have := map[string]bool{}
	for _, q := range quotas {
		for _, v := range q.Values {
			have[named(q.Entity)+" "+v.Key] = true
		}
	}
	for _, o := range entry.Ops {
		if who := named(entry.Entity); o.Remove && !have[who+" "+o.Key] {
			return inputError(fmt.Errorf("%s has no limit %s to remove (see: %s quota list)", who, o.Key, program))
		}
	}
	return nil
}

// fieldsOf is whom a limit is for, as programs read it.
func fieldsOf(entity kadm.ClientQuotaEntity) map[string]*string {
	out := map[string]*string{}
	for _, e := range entity {
		out[e.Type] = e.Name
	}
	return out
}

// named is whom a limit is for, as people read it: user=ann client-id=<default>.
func named(entity kadm.ClientQuotaEntity) string {
	var parts []string
	for _, e := range entity {
		parts = append(parts, e.String())
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}
