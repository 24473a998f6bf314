package acl

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

const (
	topics   = kmsg.ACLResourceTypeTopic
	literal  = kmsg.ACLResourcePatternTypeLiteral
	prefixed = kmsg.ACLResourcePatternTypePrefixed
	read     = kmsg.ACLOperationRead
	write    = kmsg.ACLOperationWrite
	describe = kmsg.ACLOperationDescribe
	all      = kmsg.ACLOperationAll
	allow    = kmsg.ACLPermissionTypeAllow
	deny     = kmsg.ACLPermissionTypeDeny
)

func TestAllows(t *testing.T) {
	rule := func(p Permission, who, host string, op Operation, pattern Pattern, name string) Rule {
		return Rule{Type: topics, Name: name, Pattern: pattern, Principal: who, Host: host, Operation: op, Permission: p}
	}
	ann := func(op Operation, name string) Request {
		return Request{Principal: "User:ann", Host: "10.0.0.1", Operation: op, Type: topics, Name: name}
	}
	for name, test := range map[string]struct {
		rules []Rule
		q     Request
		want  bool
	}{
		"nothing":               {nil, ann(read, "t"), false},
		"literal":               {[]Rule{rule(allow, "User:ann", "*", read, literal, "t")}, ann(read, "t"), true},
		"another topic":         {[]Rule{rule(allow, "User:ann", "*", read, literal, "t")}, ann(read, "t2"), false},
		"another operation":     {[]Rule{rule(allow, "User:ann", "*", read, literal, "t")}, ann(write, "t"), false},
		"another user":          {[]Rule{rule(allow, "User:bob", "*", read, literal, "t")}, ann(read, "t"), false},
		"everybody":             {[]Rule{rule(allow, "User:*", "*", read, literal, "t")}, ann(read, "t"), true},
		"everybody of a kind":   {[]Rule{rule(allow, "Role:*", "*", read, literal, "t")}, ann(read, "t"), false},
		"all topics":            {[]Rule{rule(allow, "User:ann", "*", read, literal, "*")}, ann(read, "t"), true},
		"prefix":                {[]Rule{rule(allow, "User:ann", "*", read, prefixed, "or")}, ann(read, "orders"), true},
		"the prefix itself":     {[]Rule{rule(allow, "User:ann", "*", read, prefixed, "or")}, ann(read, "or"), true},
		"not the prefix":        {[]Rule{rule(allow, "User:ann", "*", read, prefixed, "or")}, ann(read, "o"), false},
		"prefix star":           {[]Rule{rule(allow, "User:ann", "*", read, prefixed, "*")}, ann(read, "t"), false},
		"host":                  {[]Rule{rule(allow, "User:ann", "10.0.0.1", read, literal, "t")}, ann(read, "t"), true},
		"another host":          {[]Rule{rule(allow, "User:ann", "10.0.0.2", read, literal, "t")}, ann(read, "t"), false},
		"deny wins":             {[]Rule{rule(allow, "User:ann", "*", all, literal, "t"), rule(deny, "User:*", "*", read, prefixed, "t")}, ann(read, "t"), false},
		"deny of another":       {[]Rule{rule(allow, "User:ann", "*", all, literal, "t"), rule(deny, "User:*", "*", write, literal, "*")}, ann(read, "t"), true},
		"read implies describe": {[]Rule{rule(allow, "User:ann", "*", read, literal, "t")}, ann(describe, "t"), true},
		"deny implies nothing":  {[]Rule{rule(allow, "User:ann", "*", read, literal, "t"), rule(deny, "User:ann", "*", write, literal, "t")}, ann(describe, "t"), true},
		"deny describe":         {[]Rule{rule(allow, "User:ann", "*", read, literal, "t"), rule(deny, "User:ann", "*", describe, literal, "t")}, ann(read, "t"), true},
	} {
		if got := NewSet(test.rules).Allows(test.q); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// someRule draws a rule from few values, so that rules meet.
func someRule(t *rapid.T) Rule {
	pick := func(name string, from ...string) string { return rapid.SampledFrom(from).Draw(t, name) }
	return Rule{
		Type: topics, Name: pick("name", "a", "ab", "abc", "b", "*"), Pattern: rapid.SampledFrom([]Pattern{literal, prefixed}).Draw(t, "pattern"),
		Principal: pick("principal", "User:ann", "User:bob", "User:*"), Host: pick("host", "1.1.1.1", "*"),
		Operation:  rapid.SampledFrom([]Operation{read, write, describe, all}).Draw(t, "operation"),
		Permission: rapid.SampledFrom([]Permission{allow, allow, deny}).Draw(t, "permission"),
	}
}

// TestSetAgreesWithThePlainRule: the index finds what a look at every rule finds.
func TestSetAgreesWithThePlainRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rapid.Custom(someRule), 0, 12).Draw(t, "rules")
		set := NewSet(rules)
		plain := func(q Request) bool {
			allowed := false
			for _, r := range rules {
				about := r.Name == q.Name || r.Name == "*"
				if r.Pattern == prefixed {
					about = strings.HasPrefix(q.Name, r.Name)
				}
				if !about || r.Principal != q.Principal && r.Principal != "User:*" || r.Host != q.Host && r.Host != "*" {
					continue
				}
				same := r.Operation == q.Operation || r.Operation == all
				if r.Permission == deny && same {
					return false
				}
				allowed = allowed || r.Permission == allow && (same || q.Operation == describe)
			}
			return allowed
		}
		for _, who := range []string{"User:ann", "User:bob", "User:eve"} {
			for _, op := range []Operation{read, write, describe} {
				some := false
				for _, name := range []string{"a", "ab", "abc", "abcd", "b", "c", "zz*"} {
					q := Request{Principal: who, Host: "1.1.1.1", Operation: op, Type: topics, Name: name}
					want := plain(q)
					some = some || want
					if got := set.Allows(q); got != want {
						t.Fatalf("%+v: %v, want %v", q, got, want)
					}
				}
				if q := (Request{Principal: who, Host: "1.1.1.1", Operation: op, Type: topics}); some && !set.AllowsSome(q) {
					t.Fatalf("%+v: allowed on some topic, but AllowsSome says no", q)
				}
			}
		}
	})
}

// TestSpellingsOfAddresses: a rule is about an address, however it is written.
func TestSpellingsOfAddresses(t *testing.T) {
	for _, test := range []struct {
		host, client string
		same         bool
	}{
		{"2001:db8:0:0:0:0:0:1", "2001:db8::1", true},
		{"2001:DB8::1", "2001:db8::1", true},
		{"::ffff:10.0.0.1", "10.0.0.1", true},
		{"10.0.0.1", "::ffff:10.0.0.1", true},
		{"fe80::1", "fe80::1%eth0", true},
		{"fe80::1%eth1", "fe80::1%eth0", false},
		{"10.0.0.2", "10.0.0.1", false},
		{"2001:db8::2", "2001:db8::1", false},
		{"10.0.0.1", "nowhere", false},
	} {
		all := Rule{Type: topics, Name: "t", Pattern: literal, Principal: "User:ann", Host: "*", Operation: read, Permission: allow}
		one, no := all, all
		one.Host, no.Host, no.Permission = test.host, test.host, deny
		if err := errors.Join(one.Check(), no.Check()); err != nil {
			t.Errorf("%s: %v", test.host, err)
		}
		q := Request{Principal: "User:ann", Host: test.client, Operation: read, Type: topics, Name: "t"}
		if got := NewSet([]Rule{all, no}).Allows(q); got == test.same {
			t.Errorf("%s denied, client %s: %v", test.host, test.client, got)
		}
		if got := NewSet([]Rule{one}).Allows(q); got != test.same {
			t.Errorf("%s allowed, client %s: %v", test.host, test.client, got)
		}
		if got := NewSet([]Rule{one}).AllowsSome(q); got != test.same {
			t.Errorf("%s allowed, client %s on some: %v", test.host, test.client, got)
		}
	}
}

// TestAllowsDoesNotAllocate: rules about addresses cost no memory for each request.
func TestAllowsDoesNotAllocate(t *testing.T) {
	r := Rule{Type: topics, Name: "t", Pattern: literal, Principal: "User:ann", Host: "2001:db8::1", Operation: read, Permission: allow}
	s := NewSet([]Rule{r})
	q := Request{Principal: "User:ann", Host: "2001:db8::1", Operation: read, Type: topics, Name: "t"}
	allowed := true
	if n := testing.AllocsPerRun(100, func() { allowed = allowed && s.Allows(q) }); n > 0 || !allowed {
		t.Errorf("%v allocations, allowed %v", n, allowed)
	}
}

func TestAllowsSome(t *testing.T) {
	r := Rule{Type: topics, Name: "a", Pattern: literal, Principal: "User:ann", Host: "*", Operation: write, Permission: allow}
	q := Request{Principal: "User:ann", Host: "h", Operation: write, Type: topics}
	no := r
	no.Permission = deny
	wild := no
	wild.Name = "*"
	other := no
	other.Name = "b"
	for name, test := range map[string]struct {
		rules []Rule
		want  bool
	}{
		"none": {nil, false}, "one": {[]Rule{r}, true}, "denied": {[]Rule{r, no}, false}, "all denied": {[]Rule{r, wild}, false},
		"another denied": {[]Rule{r, other}, true},
	} {
		if got := NewSet(test.rules).AllowsSome(q); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestFilter(t *testing.T) {
	any := Filter{Type: kmsg.ACLResourceTypeAny, Pattern: kmsg.ACLResourcePatternTypeAny, Operation: kmsg.ACLOperationAny, Permission: kmsg.ACLPermissionTypeAny}
	r := Rule{Type: topics, Name: "orders", Pattern: literal, Principal: "User:ann", Host: "*", Operation: read, Permission: allow}
	p := r
	p.Name, p.Pattern = "or", prefixed
	star := r
	star.Name = "*"
	with := func(change func(*Filter)) Filter { f := any; change(&f); return f }
	text := func(s string) *string { return &s }
	for name, test := range map[string]struct {
		f    Filter
		want string
	}{
		"any":       {any, "orders or *"},
		"name":      {with(func(f *Filter) { f.Name = text("orders") }), "orders"},
		"match":     {with(func(f *Filter) { f.Name, f.Pattern = text("orders"), kmsg.ACLResourcePatternTypeMatch }), "orders or *"},
		"no match":  {with(func(f *Filter) { f.Name, f.Pattern = text("o"), kmsg.ACLResourcePatternTypeMatch }), "*"},
		"prefixed":  {with(func(f *Filter) { f.Pattern = prefixed }), "or"},
		"literal":   {with(func(f *Filter) { f.Pattern = literal }), "orders *"},
		"principal": {with(func(f *Filter) { f.Principal = text("User:bob") }), ""},
		"host":      {with(func(f *Filter) { f.Host = text("h") }), ""},
		"operation": {with(func(f *Filter) { f.Operation = write }), ""},
		"deny":      {with(func(f *Filter) { f.Permission = deny }), ""},
		"type":      {with(func(f *Filter) { f.Type = kmsg.ACLResourceTypeGroup }), ""},
	} {
		var got []string
		for _, rule := range []Rule{r, p, star} {
			if test.f.Matches(rule) {
				got = append(got, rule.Name)
			}
		}
		if fmt.Sprint(strings.Join(got, " ")) != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// TestRemovalAgreesWithThePlainFilter: many filters remove what each would, and are given
// what each would be, while there is room.
func TestRemovalAgreesWithThePlainFilter(t *testing.T) {
	someText := func(t *rapid.T, name string, from ...string) *string {
		if i := rapid.IntRange(0, len(from)).Draw(t, name); i < len(from) {
			return &from[i]
		}
		return nil
	}
	someFilter := rapid.Custom(func(t *rapid.T) Filter {
		return Filter{
			Type: rapid.SampledFrom([]ResourceType{topics, kmsg.ACLResourceTypeAny, kmsg.ACLResourceTypeGroup}).Draw(t, "type"), Name: someText(t, "name", "a", "ab", "abcd", "*", "*a"),
			Pattern:   rapid.SampledFrom([]Pattern{literal, prefixed, kmsg.ACLResourcePatternTypeAny, kmsg.ACLResourcePatternTypeMatch}).Draw(t, "pattern"),
			Principal: someText(t, "principal", "User:ann", "User:bob", "User:*"), Host: someText(t, "host", "1.1.1.1", "*"),
			Operation:  rapid.SampledFrom([]Operation{read, kmsg.ACLOperationAny}).Draw(t, "operation"),
			Permission: rapid.SampledFrom([]Permission{allow, deny, kmsg.ACLPermissionTypeAny}).Draw(t, "permission"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		set := NewSet(rapid.SliceOfN(rapid.Custom(someRule), 0, 20).Draw(t, "rules"))
		removal, left := set.Remove(), slices.Clone(set.Rules())
		room := rapid.SampledFrom([]int{0, 3, 1000}).Draw(t, "room")
		again := func(Rule) bool { room--; return room >= 0 }
		for _, f := range rapid.SliceOfN(someFilter, 1, 5).Draw(t, "filters") {
			var want []Rule
			has := room
			for _, r := range set.Rules() {
				if !f.Matches(r) {
					continue
				}
				there := slices.Contains(left, r)
				if !there {
					has--
				}
				if there || has >= 0 {
					want = append(want, r)
				}
			}
			left = slices.DeleteFunc(left, f.Matches)
			if got := removal.Matching(f, again); !slices.Equal(got, want) {
				t.Fatalf("%+v: %+v, want %+v", f, got, want)
			}
			if got := removal.Left(); !slices.Equal(got, left) {
				t.Fatalf("%+v: left %+v, want %+v", f, got, left)
			}
		}
	})
}

func TestCheck(t *testing.T) {
	good := Rule{Type: topics, Name: "t", Pattern: literal, Principal: "User:ann", Host: "*", Operation: read, Permission: allow}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	b, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := Decode(b); err != nil || back != good {
		t.Errorf("read back as %+v, %v", back, err)
	}
	for name, change := range map[string]func(*Rule){
		"type": func(r *Rule) { r.Type = kmsg.ACLResourceTypeAny }, "no name": func(r *Rule) { r.Name = "" }, "long": func(r *Rule) { r.Name = strings.Repeat("x", maxName+1) },
		"not UTF-8": func(r *Rule) { r.Host = "\xff" }, "cluster": func(r *Rule) { r.Type, r.Name = kmsg.ACLResourceTypeCluster, "mine" },
		"pattern": func(r *Rule) { r.Pattern = kmsg.ACLResourcePatternTypeMatch }, "permission": func(r *Rule) { r.Permission = kmsg.ACLPermissionTypeAny },
		"no host": func(r *Rule) { r.Host = "" }, "principal": func(r *Rule) { r.Principal = "ann" },
		"principal without a name": func(r *Rule) { r.Principal = "User:" }, "principal without a type": func(r *Rule) { r.Principal = ":ann" },
		"host name": func(r *Rule) { r.Host = "localhost" }, "range": func(r *Rule) { r.Host = "10.0.0.0/8" }, "odd digits": func(r *Rule) { r.Host = "10.0.0.01" },
		"any operation": func(r *Rule) { r.Operation = kmsg.ACLOperationAny },
	} {
		r := good
		change(&r)
		if r.Check() == nil {
			t.Errorf("%s: %+v is taken", name, r)
		}
	}
	odd := good
	odd.Operation = kmsg.ACLOperationIdempotentWrite // of the cluster
	if err := errors.Join(odd.Check(), good.Fits()); err != nil || odd.Fits() == nil {
		t.Errorf("an operation of something else: %v, %v", err, odd.Fits())
	}
}

func BenchmarkAllows(b *testing.B) {
	var rules []Rule
	for i := range 500 {
		rules = append(rules, Rule{Type: topics, Name: fmt.Sprintf("team%d.", i), Pattern: prefixed, Principal: fmt.Sprintf("User:u%d", i), Host: "*", Operation: all, Permission: allow},
			Rule{Type: topics, Name: fmt.Sprintf("topic%d", i), Pattern: literal, Principal: "User:ann", Host: "*", Operation: read, Permission: allow})
	}
	s := NewSet(rules)
	q := Request{Principal: "User:ann", Host: "10.0.0.1", Operation: read, Type: topics, Name: "topic250"}
	b.ReportAllocs()
	for b.Loop() {
		if !s.Allows(q) {
			b.Fatal("denied")
		}
	}
}
