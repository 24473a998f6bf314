package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/acl"
)

func (a *app) aclCommand() *cobra.Command {
	cl := &cluster{}
	c := &cobra.Command{Use: "acl", Short: "Rules of who may do what"}
	cl.addFlags(c)
	c.AddCommand(a.aclListCommand(cl), a.aclCreateCommand(cl), a.aclDeleteCommand(cl))
	return c
}

// operations are the words that --operation takes.
const operations = "read, write, create, delete, alter, describe, describe_configs, alter_configs, cluster_action, idempotent_write, all"

// ruleFlags are the parts of rules as they are given on the command line.
type ruleFlags struct {
	allow, deny, operations, topics, groups, ids []string
	cluster                                      bool
	prefixed                                     bool
	host                                         string
}

func (f *ruleFlags) add(c *cobra.Command, cl *cluster) {
	c.Flags().StringSliceVar(&f.allow, "allow", nil, "principals that are allowed, such as User:ann; User:* is every user")
	c.Flags().StringSliceVar(&f.deny, "deny", nil, "principals that are denied")
	c.Flags().StringSliceVar(&f.operations, "operation", nil, "what: "+operations)
	c.Flags().StringSliceVar(&f.topics, "topic", nil, "topics; * is every topic")
	c.Flags().StringSliceVar(&f.groups, "group", nil, "groups")
	c.Flags().StringSliceVar(&f.ids, "transactional-id", nil, "transactional ids")
	c.Flags().BoolVar(&f.cluster, "cluster", false, "the cluster as a whole")
	c.Flags().BoolVar(&f.prefixed, "prefixed", false, "the names are prefixes")
	c.Flags().StringVar(&f.host, "host", "*", "the address that it is about; * is every one")
	for flag, names := range map[string]cobra.CompletionFunc{
		"topic": cl.completeTopics, "group": cl.completeGroups,
		"operation": cobra.FixedCompletions(strings.Split(operations, ", "), cobra.ShellCompDirectiveNoFileComp),
	} {
		_ = c.RegisterFlagCompletionFunc(flag, names) // the flag is there
	}
}

// rules are all combinations of what the flags name.
func (f *ruleFlags) rules() ([]acl.Rule, error) {
	var out []acl.Rule
	type resource struct {
		kind acl.ResourceType
		name string
	}
	var resources []resource
	for kind, names := range map[acl.ResourceType][]string{
		kmsg.ACLResourceTypeTopic: f.topics, kmsg.ACLResourceTypeGroup: f.groups, kmsg.ACLResourceTypeTransactionalId: f.ids,
	} {
		for _, n := range names {
			resources = append(resources, resource{kind, n})
		}
	}
	if f.cluster {
		resources = append(resources, resource{kmsg.ACLResourceTypeCluster, acl.Cluster})
	}
	if len(resources) == 0 || len(f.allow)+len(f.deny) == 0 || len(f.operations) == 0 {
		return nil, fmt.Errorf("name who (--allow or --deny), what (--operation) and on what (--topic, --group, --transactional-id or --cluster)")
	}
	for _, word := range f.operations {
		op, err := kmsg.ParseACLOperation(word)
		if err != nil {
			return nil, fmt.Errorf("--operation %q: use one of %s", word, operations)
		}
		for _, r := range resources {
			for i, who := range slices.Concat(f.allow, f.deny) {
				rule := acl.Rule{
					Type: r.kind, Name: r.name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Principal: who, Host: f.host, Operation: op,
					Permission: kmsg.ACLPermissionTypeAllow,
				}
				if i >= len(f.allow) {
					rule.Permission = kmsg.ACLPermissionTypeDeny
				}
				if f.prefixed && r.kind != kmsg.ACLResourceTypeCluster {
					rule.Pattern = kmsg.ACLResourcePatternTypePrefixed
				}
				if err := errors.Join(rule.Check(), rule.Fits()); err != nil {
					return nil, err
				}
				out = append(out, rule)
			}
		}
	}
	slices.SortFunc(out, func(a, b acl.Rule) int { return strings.Compare(a.Key(), b.Key()) })
	return out, nil
}

func (a *app) aclListCommand(cl *cluster) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all rules", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := cl.client(c.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			rules, err := listRules(c.Context(), client)
			if err != nil {
				return err
			}
			return a.printRules(c, rules)
		},
	}
}

func listRules(ctx context.Context, client *kgo.Client) ([]acl.Rule, error) {
	req := kmsg.NewPtrDescribeACLsRequest()
	req.ResourceType, req.ResourcePatternType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny
	req.Operation, req.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, onCluster("rules", "describe").explained(err, deref(resp.ErrorMessage))
	}
	var out []acl.Rule
	for _, r := range resp.Resources {
		for _, e := range r.ACLs {
			out = append(out, acl.Rule{
				Type: r.ResourceType, Name: r.ResourceName, Pattern: r.ResourcePatternType, Principal: e.Principal, Host: e.Host,
				Operation: e.Operation, Permission: e.PermissionType,
			})
		}
	}
	slices.SortFunc(out, func(a, b acl.Rule) int { return strings.Compare(a.Key(), b.Key()) }) // a cluster has them in any order
	return out, nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (a *app) printRules(c *cobra.Command, rules []acl.Rule) error {
	type row struct {
		Permission string `json:"permission"`
		Principal  string `json:"principal"`
		Host       string `json:"host"`
		Operation  string `json:"operation"`
		Type       string `json:"type"`
		Name       string `json:"name"`
		Pattern    string `json:"pattern"`
	}
	rows := []row{}
	t := table{header: []string{"PERMISSION", "PRINCIPAL", "HOST", "OPERATION", "TYPE", "NAME", "PATTERN"}, empty: "no rules"}
	for _, r := range rules {
		w := row{r.Permission.String(), r.Principal, r.Host, r.Operation.String(), r.Type.String(), r.Name, r.Pattern.String()}
		rows = append(rows, w)
		t.rows = append(t.rows, []string{w.Permission, w.Principal, w.Host, w.Operation, w.Type, w.Name, w.Pattern})
	}
	return a.print(c.OutOrStdout(), map[string]any{"rules": rows}, t)
}

func (a *app) aclCreateCommand(cl *cluster) *cobra.Command {
	f := &ruleFlags{}
	c := &cobra.Command{
		Use: "create", Short: "Add rules, one for each combination of what is named", Args: cobra.NoArgs,
		Example: "  levada acl create --allow User:ann --operation read,write --topic orders. --prefixed",
		RunE: func(c *cobra.Command, _ []string) error {
			rules, err := f.rules()
			if err != nil {
				return inputError(err)
			}
			client, err := cl.client(c.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			req := kmsg.NewPtrCreateACLsRequest()
			for _, r := range rules {
				n := kmsg.NewCreateACLsRequestCreation()
				n.ResourceType, n.ResourceName, n.ResourcePatternType = r.Type, r.Name, r.Pattern
				n.Principal, n.Host, n.Operation, n.PermissionType = r.Principal, r.Host, r.Operation, r.Permission
				req.Creations = append(req.Creations, n)
			}
			resp, err := req.RequestWith(c.Context(), client)
			if err != nil {
				return err
			}
			for _, r := range resp.Results {
				if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
					return inputError(onCluster("rule", "alter").explained(err, deref(r.ErrorMessage)))
				}
			}
			return a.printRules(c, rules)
		},
	}
	f.add(c, cl)
	return c
}

func (a *app) aclDeleteCommand(cl *cluster) *cobra.Command {
	f := &ruleFlags{}
	c := &cobra.Command{
		Use: "delete", Short: "Delete rules, one for each combination of what is named", Args: cobra.NoArgs,
		Example: "  levada acl delete --allow User:ann --operation write --topic orders. --prefixed",
		RunE: func(c *cobra.Command, _ []string) error {
			rules, err := f.rules()
			if err != nil {
				return inputError(err)
			}
			client, err := cl.client(c.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			req := kmsg.NewPtrDeleteACLsRequest()
			for _, r := range rules {
				n := kmsg.NewDeleteACLsRequestFilter()
				n.ResourceType, n.ResourceName, n.ResourcePatternType = r.Type, &r.Name, r.Pattern
				n.Principal, n.Host, n.Operation, n.PermissionType = &r.Principal, &r.Host, r.Operation, r.Permission
				req.Filters = append(req.Filters, n)
			}
			resp, err := req.RequestWith(c.Context(), client)
			if err != nil {
				return err
			}
			var gone []acl.Rule
			for i, r := range resp.Results {
				if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
					return inputError(onCluster("rule", "alter").explained(err, deref(r.ErrorMessage)))
				}
				if len(r.MatchingACLs) > 0 {
					gone = append(gone, rules[i])
				}
			}
			if len(gone) == 0 {
				return inputError(fmt.Errorf("there is no such rule (see: %s acl list)", program))
			}
			return a.printRules(c, gone)
		},
	}
	f.add(c, cl)
	return c
}
