package acl

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The names of the protocol for the parts of a rule.
type (
	// ResourceType is what a rule is about: topics, groups, and so on.
	ResourceType = kmsg.ACLResourceType
	// Pattern is how a rule names resources.
	Pattern = kmsg.ACLResourcePatternType
	// Operation is what is done to a resource.
	Operation = kmsg.ACLOperation
	// Permission is what a rule gives or takes.
	Permission = kmsg.ACLPermissionType
)

// Cluster is the name of the one resource of type cluster.
const Cluster = "kafka-cluster"

// Any matches every name of a resource, every principal of a type, every host.
const Any = "*"

// maxName is the longest name in a rule, in bytes.
const maxName = 1 << 10

// Rule is one access control list entry. It can be compared.
type Rule struct {
	Type       ResourceType `json:"type"`
	Name       string       `json:"name"`
	Pattern    Pattern      `json:"pattern"`
	Principal  string       `json:"principal"` // TYPE:NAME, such as User:ann; User:* is every user
	Host       string       `json:"host"`      // an address, or *
	Operation  Operation    `json:"operation"`
	Permission Permission   `json:"permission"`
}

// Key is a text that only this rule has.
func (r Rule) Key() string {
	return fmt.Sprintf("%d/%d/%q/%q/%q/%d/%d", r.Type, r.Pattern, r.Name, r.Principal, r.Host, r.Operation, r.Permission)
}

// Encode is the rule as it is stored.
func (r Rule) Encode() ([]byte, error) { return json.Marshal(r) }

// Decode reads what Encode wrote.
func Decode(b []byte) (Rule, error) {
	var r Rule
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("access rule: %w", err)
	}
	return r, r.check()
}

// Check refuses a rule that cannot be, or that could be about nobody: the error says
// why. A rule that denies something to a host by its name would not.
func (r Rule) Check() error {
	if err := r.check(); err != nil {
		return err
	}
	if r.Host != Any && !address(r.Host).IsValid() {
		return fmt.Errorf("the host %q is not an address: names and ranges are not looked up; * is all", r.Host)
	}
	return nil
}

// check is Check for a rule that is stored.
func (r Rule) check() error {
	switch {
	case operations[r.Type] == nil:
		return fmt.Errorf("there are no rules for resources of type %s", r.Type)
	case r.Name == "":
		return errors.New("the resource has no name; * is all")
	case len(r.Name) > maxName || len(r.Principal) > maxName || len(r.Host) > maxName:
		return fmt.Errorf("a name is longer than %d bytes", maxName)
	case !utf8.ValidString(r.Name + r.Principal + r.Host):
		return errors.New("a name is not UTF-8")
	case r.Type == kmsg.ACLResourceTypeCluster && r.Name != Cluster:
		return fmt.Errorf("the cluster is called %s, not %q", Cluster, r.Name)
	case r.Pattern != kmsg.ACLResourcePatternTypeLiteral && r.Pattern != kmsg.ACLResourcePatternTypePrefixed:
		return fmt.Errorf("a rule names resources literally or by a prefix, not by %s", r.Pattern)
	case r.Permission != kmsg.ACLPermissionTypeAllow && r.Permission != kmsg.ACLPermissionTypeDeny:
		return fmt.Errorf("a rule allows or denies, it is not %s", r.Permission)
	case r.Host == "":
		return errors.New("the host is empty; * is all")
	}
	if _, _, err := ParsePrincipal(r.Principal); err != nil {
		return err
	}
	if r.Operation < kmsg.ACLOperationAll || r.Operation > kmsg.ACLOperationDescribeTokens {
		return fmt.Errorf("there is no operation %s", r.Operation)
	}
	return nil
}

// Fits refuses a rule about an operation that is never asked for its type of resource:
// Kafka stores it, and who writes one by hand has made a mistake.
func (r Rule) Fits() error {
	if r.Operation == kmsg.ACLOperationAll {
		return nil
	}
	for _, op := range operations[r.Type] {
		if op == r.Operation {
			return nil
		}
	}
	return fmt.Errorf("%s is nothing that is done to a %s", r.Operation, r.Type)
}

// ParsePrincipal cuts a principal into its type and its name.
func ParsePrincipal(p string) (kind, name string, err error) {
	kind, name, ok := strings.Cut(p, ":")
	if !ok || kind == "" || name == "" {
		return "", "", fmt.Errorf("principal %q: write TYPE:NAME, such as User:ann", p)
	}
	return kind, name, nil
}

// operations are what can be done to resources of a type, as Kafka has it.
var operations = map[ResourceType][]Operation{
	kmsg.ACLResourceTypeTopic: {
		kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationCreate, kmsg.ACLOperationDelete, kmsg.ACLOperationAlter,
		kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs,
	},
	kmsg.ACLResourceTypeGroup: {
		kmsg.ACLOperationRead, kmsg.ACLOperationDelete, kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs,
	},
	kmsg.ACLResourceTypeCluster: {
		kmsg.ACLOperationCreate, kmsg.ACLOperationAlter, kmsg.ACLOperationDescribe, kmsg.ACLOperationClusterAction,
		kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs, kmsg.ACLOperationIdempotentWrite,
	},
	kmsg.ACLResourceTypeTransactionalId: {kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe},
	kmsg.ACLResourceTypeDelegationToken: {kmsg.ACLOperationDescribe},
	kmsg.ACLResourceTypeUser:            {kmsg.ACLOperationCreateTokens, kmsg.ACLOperationDescribeTokens},
}

// Operations are what can be done to resources of a type.
func Operations(t ResourceType) []Operation { return operations[t] }
