package acl

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Set is all rules, indexed. It is never changed, so it may be used from any
// goroutine.
type Set struct {
	rules   []Rule  // by Key
	entries []entry // the same
	hosts   bool    // some name an address
	literal map[resource][]entry
	prefix  map[resource][]entry
	lengths map[ResourceType][]int // of the prefixes, each once
}

// entry is a rule with its host as an address, which has many spellings.
type entry struct {
	Rule
	host netip.Addr // none for every host
}

type resource struct {
	kind ResourceType
	name string
}

// NewSet makes the set of some rules; a rule that is there twice counts once.
func NewSet(rules []Rule) *Set {
	s := &Set{rules: slices.Clone(rules), literal: map[resource][]entry{}, prefix: map[resource][]entry{}, lengths: map[ResourceType][]int{}}
	s.sort()
	for _, r := range s.rules {
		at, e := resource{r.Type, r.Name}, entry{Rule: r}
		if r.Host != Any {
			e.host, s.hosts = address(r.Host), true
		}
		s.entries = append(s.entries, e)
		if r.Pattern != kmsg.ACLResourcePatternTypePrefixed {
			s.literal[at] = append(s.literal[at], e)
			continue
		}
		s.prefix[at] = append(s.prefix[at], e)
		if n := len(r.Name); !slices.Contains(s.lengths[r.Type], n) {
			s.lengths[r.Type] = append(s.lengths[r.Type], n)
		}
	}
	return s
}

// sort brings the rules into their order, and leaves out what is there again.
func (s *Set) sort() {
	keys := make(map[Rule]string, len(s.rules))
	for _, r := range s.rules {
		keys[r] = r.Key()
	}
	slices.SortFunc(s.rules, func(a, b Rule) int { return strings.Compare(keys[a], keys[b]) })
	s.rules = slices.Compact(s.rules)
}

// Rules are all rules, in a fixed order. They must not be changed.
func (s *Set) Rules() []Rule { return s.rules }

// Request is somebody who wants to do something.
type Request struct {
	Principal string // TYPE:NAME
	Host      string // an address
	Operation Operation
	Type      ResourceType
	Name      string

	address netip.Addr // of Host, if rules ask for it
}

// address reads an address in any spelling; what is none is the zero address.
func address(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

// located is a request that knows its address if there are rules about addresses.
func (s *Set) located(q Request) Request {
	if s.hosts {
		q.address = address(q.Host)
	}
	return q
}

// Allows tells whether a rule allows it and none denies it.
func (s *Set) Allows(q Request) bool {
	allowed := false
	q = s.located(q)
	denied := s.eachMatching(q, func(r Rule) bool {
		if r.Permission == kmsg.ACLPermissionTypeDeny {
			return r.Operation == q.Operation || r.Operation == kmsg.ACLOperationAll
		}
		allowed = allowed || implies(r.Operation, q.Operation)
		return false
	})
	return allowed && !denied
}

// AllowsSome tells whether there is a resource of the type on which it is allowed,
// whatever its name (KIP-679).
func (s *Set) AllowsSome(q Request) bool {
	q = s.located(q)
	for _, r := range s.entries {
		if r.Type != q.Type || r.Permission != kmsg.ACLPermissionTypeAllow || !r.isOf(q) || !implies(r.Operation, q.Operation) {
			continue
		}
		if !s.deniesAll(q, r.Rule) {
			return true
		}
	}
	return false
}

// deniesAll tells whether every resource that a rule names is denied by others.
func (s *Set) deniesAll(q Request, allow Rule) bool {
	return slices.ContainsFunc(s.entries, func(r entry) bool {
		if r.Type != q.Type || r.Permission != kmsg.ACLPermissionTypeDeny || !r.isOf(q) || r.Operation != q.Operation && r.Operation != kmsg.ACLOperationAll {
			return false
		}
		switch {
		case r.Pattern == kmsg.ACLResourcePatternTypeLiteral && r.Name == Any:
			return true
		case allow.Pattern == kmsg.ACLResourcePatternTypeLiteral && allow.Name == Any:
			return false
		case r.Pattern == kmsg.ACLResourcePatternTypePrefixed:
			return strings.HasPrefix(allow.Name, r.Name)
		}
		return allow.Pattern == kmsg.ACLResourcePatternTypeLiteral && allow.Name == r.Name
	})
}

// eachMatching calls fn with the rules about the resource and the asker, until it
// returns true, and tells whether it did.
func (s *Set) eachMatching(q Request, fn func(Rule) bool) bool {
	for _, name := range []string{q.Name, Any} {
		for _, r := range s.literal[resource{q.Type, name}] {
			if r.isOf(q) && fn(r.Rule) {
				return true
			}
		}
		if q.Name == Any {
			break
		}
	}
	for _, n := range s.lengths[q.Type] {
		if n > len(q.Name) {
			continue
		}
		for _, r := range s.prefix[resource{q.Type, q.Name[:n]}] {
			if r.isOf(q) && fn(r.Rule) {
				return true
			}
		}
	}
	return false
}

// isOf tells whether the rule is about who asks.
func (r *entry) isOf(q Request) bool {
	if r.Host != Any && !r.isFrom(q.address) {
		return false
	}
	if r.Principal == q.Principal {
		return true
	}
	kind, _, _ := strings.Cut(q.Principal, ":")
	return r.Principal == kind+":"+Any
}

// isFrom tells whether the rule is about an address. One without a zone is about it in
// every zone.
func (r *entry) isFrom(a netip.Addr) bool {
	return r.host.IsValid() && (r.host == a || r.host.Zone() == "" && r.host == a.WithZone(""))
}

// implies tells whether who may do one thing may do another: who reads, writes,
// deletes or alters may look, too.
func implies(allowed, wanted Operation) bool {
	switch {
	case allowed == wanted, allowed == kmsg.ACLOperationAll:
		return true
	case wanted == kmsg.ACLOperationDescribe:
		return allowed == kmsg.ACLOperationRead || allowed == kmsg.ACLOperationWrite || allowed == kmsg.ACLOperationDelete || allowed == kmsg.ACLOperationAlter
	case wanted == kmsg.ACLOperationDescribeConfigs:
		return allowed == kmsg.ACLOperationAlterConfigs
	}
	return false
}

// Filter selects rules. Nil pointers and the values "any" match everything.
type Filter struct {
	Type       ResourceType
	Name       *string
	Pattern    Pattern
	Principal  *string
	Host       *string
	Operation  Operation
	Permission Permission
}

// Matches tells whether a rule is selected. The pattern "match" selects all rules
// that apply to a resource of the name.
func (f Filter) Matches(r Rule) bool {
	return (f.Type == kmsg.ACLResourceTypeAny || f.Type == r.Type) && f.names(r) &&
		(f.Principal == nil || *f.Principal == r.Principal) && (f.Host == nil || *f.Host == r.Host) &&
		(f.Operation == kmsg.ACLOperationAny || f.Operation == r.Operation) &&
		(f.Permission == kmsg.ACLPermissionTypeAny || f.Permission == r.Permission)
}

func (f Filter) names(r Rule) bool {
	switch f.Pattern {
	case kmsg.ACLResourcePatternTypeAny:
		return f.Name == nil || *f.Name == r.Name
	case kmsg.ACLResourcePatternTypeMatch:
		switch {
		case f.Name == nil:
			return true
		case r.Pattern == kmsg.ACLResourcePatternTypePrefixed:
			return strings.HasPrefix(*f.Name, r.Name)
		}
		return r.Name == *f.Name || r.Name == Any
	}
	return f.Pattern == r.Pattern && (f.Name == nil || *f.Name == r.Name)
}
