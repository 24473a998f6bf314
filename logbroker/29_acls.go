package logbroker

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/acl"
	"github.com/levada/levada/logbroker/meta"
)

var errNoAuthorization = fmt.Errorf("%w: the broker was started without authorization", kerr.SecurityDisabled)

// handleDescribeACLs answers DescribeAcls, versions 1 to 3 (KIP-140, KIP-290).
func (b *Broker) handleDescribeACLs(r *request) {
	req := r.msg.(*kmsg.DescribeACLsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeACLsResponse)
	if !b.cfg.Security.Authorize {
		resp.ErrorCode, resp.ErrorMessage = alterError(errNoAuthorization)
		r.respond(resp)
		return
	}
	f := acl.Filter{
		Type: req.ResourceType, Name: req.ResourceName, Pattern: req.ResourcePatternType, Principal: req.Principal, Host: req.Host,
		Operation: req.Operation, Permission: req.PermissionType,
	}
	if err := checkFilter(f); err != nil {
		resp.ErrorCode, resp.ErrorMessage = alterError(err)
		r.respond(resp)
		return
	}
	type resource struct {
		kind    acl.ResourceType
		name    string
		pattern acl.Pattern
	}
	places := map[resource]int{}
	for _, rule := range b.security.rules.Load().Rules() {
		if !f.Matches(rule) {
			continue
		}
		at := resource{rule.Type, rule.Name, rule.Pattern}
		i, ok := places[at]
		if !ok {
			res := kmsg.NewDescribeACLsResponseResource()
			res.ResourceType, res.ResourceName, res.ResourcePatternType = rule.Type, rule.Name, rule.Pattern
			resp.Resources = append(resp.Resources, res)
			i = len(resp.Resources) - 1
			places[at] = i
		}
		e := kmsg.NewDescribeACLsResponseResourceACL()
		e.Principal, e.Host, e.Operation, e.PermissionType = rule.Principal, rule.Host, rule.Operation, rule.Permission
		resp.Resources[i].ACLs = append(resp.Resources[i].ACLs, e)
	}
	r.respond(resp)
}

// checkFilter refuses a filter with a part that the protocol does not know.
func checkFilter(f acl.Filter) error {
	if f.Type == kmsg.ACLResourceTypeUnknown || f.Pattern == kmsg.ACLResourcePatternTypeUnknown || f.Operation == kmsg.ACLOperationUnknown || f.Permission == kmsg.ACLPermissionTypeUnknown {
		return fmt.Errorf("%w: a part of the filter is unknown", kerr.InvalidRequest)
	}
	return nil
}

// twoPhaseCommit is an operation that clients may name, and nobody asks for (KIP-939).
const twoPhaseCommit kmsg.ACLOperation = 15

// checkParts refuses a filter with a part that there is not. Who describes rules is told
// that there are none, as by Kafka.
func checkParts(f acl.Filter) error {
	what := ""
	switch {
	case f.Type < 0 || f.Type > kmsg.ACLResourceTypeUser:
		what = "type of resource"
	case f.Pattern < 0 || f.Pattern > kmsg.ACLResourcePatternTypePrefixed:
		what = "type of pattern"
	case f.Operation < 0 || f.Operation > twoPhaseCommit:
		what = "operation"
	case f.Permission < 0 || f.Permission > kmsg.ACLPermissionTypeAllow:
		what = "permission"
	default:
		return nil
	}
	return fmt.Errorf("%w: there is no such %s as the filter has", kerr.InvalidRequest, what)
}

// handleCreateACLs answers CreateAcls, versions 1 to 3, when the rules are durable.
func (b *Broker) handleCreateACLs(r *request) {
	req := r.msg.(*kmsg.CreateACLsRequest)
	resp := req.ResponseKind().(*kmsg.CreateACLsResponse)
	b.editSecurity(r, resp, func() {
		batch := b.meta.NewBatch()
		rules := b.security.rules.Load().Rules()
		added := slices.Clone(rules)
		for _, c := range req.Creations {
			rule := acl.Rule{
				Type: c.ResourceType, Name: c.ResourceName, Pattern: c.ResourcePatternType, Principal: c.Principal, Host: c.Host,
				Operation: c.Operation, Permission: c.PermissionType,
			}
			err := b.mayAddRule(rule, len(added))
			var value []byte
			if err == nil {
				value, err = rule.Encode()
			}
			if err == nil {
				batch.PutSetting(meta.ACLs, rule.Key(), value)
				added = append(added, rule)
			}
			rr := kmsg.NewCreateACLsResponseResult()
			rr.ErrorCode, rr.ErrorMessage = alterError(err)
			resp.Results = append(resp.Results, rr)
		}
		if err := b.commitNew(batch); err != nil {
			for i := range resp.Results {
				resp.Results[i].ErrorCode, resp.Results[i].ErrorMessage = alterError(kerr.KafkaStorageError)
			}
		} else {
			b.security.rules.Store(acl.NewSet(added))
		}
	})
}

func (b *Broker) mayAddRule(rule acl.Rule, have int) error {
	switch {
	case !b.cfg.Security.Authorize:
		return errNoAuthorization
	case have >= maxRules:
		return fmt.Errorf("%w: there are %d rules, more cannot be", kerr.PolicyViolation, have)
	}
	if forFilters(rule) { // which Kafka finds out too late to say so
		return fmt.Errorf("%w: a rule is about something, ANY and MATCH are for filters", kerr.UnknownServerError)
	}
	if err := rule.Check(); err != nil {
		return fmt.Errorf("%w: %w", kerr.InvalidRequest, err)
	}
	return nil
}

// forFilters tells whether a rule has a part that is for filters only.
func forFilters(r acl.Rule) bool {
	return r.Type == kmsg.ACLResourceTypeAny || r.Operation == kmsg.ACLOperationAny || r.Permission == kmsg.ACLPermissionTypeAny ||
		r.Pattern == kmsg.ACLResourcePatternTypeAny || r.Pattern == kmsg.ACLResourcePatternTypeMatch
}

// handleDeleteACLs answers DeleteAcls, versions 1 to 3, when the rules are gone for
// good. A rule that several filters select is told with each, while there is room.
func (b *Broker) handleDeleteACLs(r *request) {
	req := r.msg.(*kmsg.DeleteACLsRequest)
	resp := req.ResponseKind().(*kmsg.DeleteACLsResponse)
	b.editSecurity(r, resp, func() {
		batch := b.meta.NewBatch()
		removal, left := b.security.rules.Load().Remove(), maxRoom
		again := func(rule acl.Rule) bool {
			return left.take(matchingSize + len(rule.Name) + len(rule.Principal) + len(rule.Host))
		}
		for _, c := range req.Filters {
			f := acl.Filter{
				Type: c.ResourceType, Name: c.ResourceName, Pattern: c.ResourcePatternType, Principal: c.Principal, Host: c.Host,
				Operation: c.Operation, Permission: c.PermissionType,
			}
			rr := kmsg.NewDeleteACLsResponseResult()
			err := cmp.Or(checkFilter(f), checkParts(f))
			if !b.cfg.Security.Authorize {
				err = errNoAuthorization
			}
			rr.ErrorCode, rr.ErrorMessage = alterError(err)
			if err == nil {
				for _, rule := range removal.Matching(f, again) {
					batch.DeleteSetting(meta.ACLs, rule.Key())
					rr.MatchingACLs = append(rr.MatchingACLs, matchingACL(rule))
				}
			}
			resp.Results = append(resp.Results, rr)
		}
		if err := b.commit(batch); err != nil {
			for i := range resp.Results {
				resp.Results[i].ErrorCode, resp.Results[i].ErrorMessage = alterError(kerr.KafkaStorageError)
			}
		} else {
			b.security.rules.Store(acl.NewSet(removal.Left()))
		}
	})
}

// matchingSize is what a rule takes beside its texts, or more.
var matchingSize = int(reflect.TypeFor[kmsg.DeleteACLsResponseResultMatchingACL]().Size())

func matchingACL(rule acl.Rule) kmsg.DeleteACLsResponseResultMatchingACL {
	m := kmsg.NewDeleteACLsResponseResultMatchingACL()
	m.ResourceType, m.ResourceName, m.ResourcePatternType = rule.Type, rule.Name, rule.Pattern
	m.Principal, m.Host, m.Operation, m.PermissionType = rule.Principal, rule.Host, rule.Operation, rule.Permission
	return m
}
