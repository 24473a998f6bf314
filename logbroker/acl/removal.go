package acl

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Removal takes rules out of a set by filters. What many filters cost is about what
// they select, not as often all rules as there are filters.
type Removal struct {
	rules []Rule
	gone  []bool
	// selected are the places of the rules that filters have selected, of as many as
	// kept has room for.
	selected map[filterKey][]int
	kept     int
	// The places of rules that have a name, a principal, a host, and of all.
	byName, byPrincipal, byHost map[string][]int
	all                         []int
	lengths                     []int // of the names of prefixes
}

// filterKey is a filter that can be compared.
type filterKey struct {
	f                     Filter // without what it points to
	name, principal, host string
	has                   [3]bool
}

// Remove begins a removal, which does not change the set.
func (s *Set) Remove() *Removal {
	r := &Removal{
		rules: s.rules, gone: make([]bool, len(s.rules)), selected: map[filterKey][]int{}, kept: maxKept,
		byName: map[string][]int{}, byPrincipal: map[string][]int{}, byHost: map[string][]int{},
	}
	seen := map[int]bool{}
	for i, rule := range s.rules {
		r.byName[rule.Name] = append(r.byName[rule.Name], i)
		r.byPrincipal[rule.Principal] = append(r.byPrincipal[rule.Principal], i)
		r.byHost[rule.Host] = append(r.byHost[rule.Host], i)
		r.all = append(r.all, i)
		if n := len(rule.Name); rule.Pattern == kmsg.ACLResourcePatternTypePrefixed && !seen[n] {
			seen[n] = true
			r.lengths = append(r.lengths, n)
		}
	}
	return r
}

// maxKept is how many places a removal keeps for filters that come again.
const maxKept = 1 << 20

// Matching removes the rules that a filter selects and returns them, in their order: those
// that an earlier filter has removed, too, for which again says so. The same filter again
// is given rules up to the first for which it does not.
func (r *Removal) Matching(f Filter, again func(Rule) bool) (out []Rule) {
	key := keyOf(f)
	if selected, same := r.selected[key]; same {
		for _, i := range selected {
			if !again(r.rules[i]) {
				break
			}
			out = append(out, r.rules[i])
		}
		return out
	}
	var selected []int
	for _, i := range r.places(f) {
		if !f.Matches(r.rules[i]) {
			continue
		}
		selected = append(selected, i)
		if !r.gone[i] || again(r.rules[i]) {
			out = append(out, r.rules[i])
		}
		r.gone[i] = true
	}
	if len(selected) > r.kept {
		selected = nil
	}
	r.kept -= len(selected)
	r.selected[key] = selected
	return out
}

// places are those of the rules that a filter may select, as few as can be told.
func (r *Removal) places(f Filter) []int {
	least := r.all
	take := func(places []int) {
		if len(places) < len(least) {
			least = places
		}
	}
	if f.Principal != nil {
		take(r.byPrincipal[*f.Principal])
	}
	if f.Host != nil {
		take(r.byHost[*f.Host])
	}
	switch {
	case f.Name == nil:
	case f.Pattern != kmsg.ACLResourcePatternTypeMatch:
		take(r.byName[*f.Name])
	default:
		take(r.applying(*f.Name))
	}
	return least
}

// applying are the places of the rules whose name may be about a resource.
func (r *Removal) applying(name string) []int {
	places := slices.Concat(r.byName[Any], r.byName[name])
	for _, n := range r.lengths {
		if n < len(name) && name[:n] != Any {
			places = append(places, r.byName[name[:n]]...)
		}
	}
	slices.Sort(places)
	return slices.Compact(places)
}

// Left are the rules that were not removed.
func (r *Removal) Left() []Rule {
	out := make([]Rule, 0, len(r.rules))
	for i, rule := range r.rules {
		if !r.gone[i] {
			out = append(out, rule)
		}
	}
	return out
}

func keyOf(f Filter) filterKey {
	k := filterKey{f: f}
	for i, p := range []struct{ from, to *string }{{f.Name, &k.name}, {f.Principal, &k.principal}, {f.Host, &k.host}} {
		if p.from != nil {
			*p.to, k.has[i] = *p.from, true
		}
	}
	k.f.Name, k.f.Principal, k.f.Host = nil, nil, nil
	return k
}
