package logbroker

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/quota"
	"github.com/levada/levada/logbroker/sasl"
)

// TestTopicsThatAreDeletedTwice: a topic that a request names more than once, whichever way,
// is refused once and stays, as with Kafka; all others go.
func TestTopicsThatAreDeletedTwice(t *testing.T) {
	w := newWorkbench(t)
	ids := map[string][16]byte{}
	for _, name := range []string{"by-name", "by-id", "by-name-twice", "by-id-twice", "by-both", "by-name-twice-and-id", "in-one"} {
		w.topic(name, 1)
		ids[name] = w.topics.byName(name).id
	}
	by := func(name string, id [16]byte) kmsg.DeleteTopicsRequestTopic {
		t := kmsg.NewDeleteTopicsRequestTopic()
		if t.TopicID = id; name != "" {
			t.Topic = &name
		}
		return t
	}
	none := [16]byte{}
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.Topics = 6, []kmsg.DeleteTopicsRequestTopic{
		by("by-name", none), by("", ids["by-id"]),
		by("by-name-twice", none), by("by-name-twice", none), by("by-name-twice", none),
		by("", ids["by-id-twice"]), by("", ids["by-id-twice"]), by("", ids["by-id-twice"]),
		by("by-both", none), by("", ids["by-both"]),
		by("by-name-twice-and-id", none), by("", ids["by-name-twice-and-id"]), by("by-name-twice-and-id", none), // of the name nothing is left
		by("in-one", ids["in-one"]), by("", none),
	}
	var got []string
	for _, rt := range ask[*kmsg.DeleteTopicsResponse](w, req).Topics {
		got = append(got, fmt.Sprint(deref(rt.Topic), " ", rt.ErrorCode))
	}
	slices.Sort(got)
	want := []string{" 42", " 42", "by-both 42", "by-id 0", "by-name 0", "by-name-twice 42", "by-name-twice-and-id 0", "by-name-twice-and-id 42", "in-one 42"}
	if !slices.Equal(got, want) {
		t.Errorf("answers %q, want %q", got, want)
	}
	var left []string
	for _, t := range w.topics.sorted() {
		left = append(left, t.name)
	}
	if want := []string{"by-both", "by-id-twice", "by-name-twice", "in-one"}; !slices.Equal(left, want) {
		t.Errorf("topics %q are left, want %q", left, want)
	}
}

// TestDeletionsAreLimited: deleted partitions count as created ones do. Who is over the
// limit is refused, or waits if it is too old to know the error.
func TestDeletionsAreLimited(t *testing.T) {
	w := newWorkbench(t)
	w.topic("a", 30)
	for _, name := range []string{"b", "c"} {
		w.topic(name, 30)
	}
	w.want(w.setQuota(map[string]*string{"user": nil}, quota.Mutations, 2), nil)
	remove := func(version int16, name string) (out *kmsg.DeleteTopicsResponse) {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version, req.TopicNames = version, []string{name}
		w.Handle(eve(), req, func(r kmsg.Response) { out = r.(*kmsg.DeleteTopicsResponse) })
		return out
	}
	w.want(remove(5, "a").Topics[0].ErrorCode, nil)
	if got := remove(5, "b"); got.Topics[0].ErrorCode != kerr.ThrottlingQuotaExceeded.Code || got.ThrottleMillis < 1000 || w.topics.byName("b") == nil {
		t.Errorf("over the limit: %+v", got)
	}
	if got := remove(4, "c"); got.Topics[0].ErrorCode != 0 || got.ThrottleMillis < 1000 || w.topics.byName("c") != nil {
		t.Errorf("of an old client: %+v", got)
	}
}

// TestQuotasAreChangedAsAsked: of a part that is named again the last counts, what is only
// to be checked changes nothing, a wrong entry takes no other with it, and who is there
// already is changed though there may be no more.
func TestQuotasAreChangedAsAsked(t *testing.T) {
	w := newWorkbench(t)
	entry := func(remove bool, key string, parts ...string) kmsg.AlterClientQuotasRequestEntry {
		e := kmsg.NewAlterClientQuotasRequestEntry()
		for i := 0; i < len(parts); i += 2 {
			e.Entity = append(e.Entity, kmsg.AlterClientQuotasRequestEntryEntity{Type: parts[i], Name: &parts[i+1]})
		}
		e.Ops = []kmsg.AlterClientQuotasRequestEntryOp{{Key: key, Value: 7, Remove: remove}}
		return e
	}
	alter := func(validateOnly bool, entries ...kmsg.AlterClientQuotasRequestEntry) (codes []int16) {
		req := kmsg.NewPtrAlterClientQuotasRequest()
		req.ValidateOnly, req.Entries = validateOnly, entries
		for _, e := range ask[*kmsg.AlterClientQuotasResponse](w, req).Entries {
			codes = append(codes, e.ErrorCode)
		}
		return codes
	}
	limits := func() string { return fmt.Sprint(w.security.quotas.Limits()) }
	wrong := kerr.InvalidRequest.Code
	for _, step := range []struct {
		what         string
		validateOnly bool
		entries      []kmsg.AlterClientQuotasRequestEntry
		codes        []int16
		left         map[quota.Entity]map[string]float64
	}{
		{"only checked", true, []kmsg.AlterClientQuotasRequestEntry{entry(false, quota.ProducerBytes, "user", "ann")}, []int16{0}, nil},
		{
			"named again", false,
			[]kmsg.AlterClientQuotasRequestEntry{entry(false, quota.ProducerBytes, "user", "bob", "user", "ann")},
			[]int16{0},
			map[quota.Entity]map[string]float64{{User: quota.Named("ann")}: {quota.ProducerBytes: 7}},
		},
		{
			"a wrong one that begins like another", false,
			[]kmsg.AlterClientQuotasRequestEntry{entry(true, quota.ProducerBytes, "user", "ann"), entry(false, quota.ProducerBytes, "user", "ann", "cat", "x")},
			[]int16{0, wrong},
			nil,
		},
		{"of an address", false, []kmsg.AlterClientQuotasRequestEntry{entry(true, quota.Connections, "ip", "10.0.0.1")}, []int16{0}, nil},
		{"of an address and a user", false, []kmsg.AlterClientQuotasRequestEntry{entry(true, quota.Connections, "ip", "10.0.0.1", "user", "ann")}, []int16{wrong}, nil},
	} {
		if codes := alter(step.validateOnly, step.entries...); !slices.Equal(codes, step.codes) {
			t.Errorf("%s: codes %v, want %v", step.what, codes, step.codes)
		}
		if got := limits(); got != fmt.Sprint(step.left) {
			t.Errorf("%s: the limits are %s, want %v", step.what, got, step.left)
		}
	}
	w.want(alter(false, entry(false, quota.ProducerBytes, "user", "ann"))[0], nil)
	all := w.security.quotas.Limits()
	for i := len(all); i < maxQuotas; i++ {
		all[quota.Entity{Client: quota.Named(fmt.Sprint(i))}] = map[string]float64{quota.ProducerBytes: 1}
	}
	w.want(alter(false, entry(false, quota.ConsumerBytes, "user", "bob"))[0], kerr.PolicyViolation)
	w.want(alter(false, entry(false, quota.ConsumerBytes, "user", "ann"))[0], nil)
	w.want(alter(false, entry(true, quota.ConsumerBytes, "user", "ann"))[0], nil)
}

// TestUsersOfOneRequestAreBounded: the users that one request adds count for each other,
// and no password is empty.
func TestUsersOfOneRequestAreBounded(t *testing.T) {
	w := newWorkbench(t)
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	for _, name := range []string{"ann", "bob"} {
		u := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
		u.Name, u.Mechanism, u.Iterations, u.Salt, u.SaltedPassword = name, 1, sasl.MinIterations, []byte("salt"), []byte{}
		req.Upsertions = append(req.Upsertions, u)
	}
	alter := func(want ...*kerr.Error) {
		t.Helper()
		for i, r := range ask[*kmsg.AlterUserSCRAMCredentialsResponse](w, req).Results {
			w.want(r.ErrorCode, want[i])
		}
	}
	alter(kerr.UnknownServerError, kerr.UnknownServerError) // as Kafka
	for i := range maxUsers - 1 {
		w.security.users[fmt.Sprint(i)] = sasl.Credential{}
	}
	for i := range req.Upsertions {
		req.Upsertions[i].SaltedPassword = []byte("password")
	}
	alter(nil, kerr.PolicyViolation)
	alter(nil, kerr.PolicyViolation) // one that is there may be changed
}

// TestConfigsChangeNothingElse: a topic has all its partitions after its configs were
// changed, what is only to be checked is not changed, and what was set is told from what
// is so by itself.
func TestConfigsChangeNothingElse(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 3)
	w.setConfig("retention.ms", "1000")
	w.restart()
	if n := len(w.topics.byName("t").parts()); n != 3 {
		t.Fatalf("%d partitions, want 3", n)
	}
	set := func(kind kmsg.ConfigResourceType, name, config, value string, op kmsg.IncrementalAlterConfigOp, validateOnly bool) {
		t.Helper()
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Version, req.ValidateOnly = 1, validateOnly
		req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
			ResourceType: kind, ResourceName: name,
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: config, Value: &value, Op: op}},
		}}
		w.want(ask[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources[0].ErrorCode, nil)
	}
	is := func(kind kmsg.ConfigResourceType, name, config, want string) {
		t.Helper()
		req := kmsg.NewPtrDescribeConfigsRequest()
		req.Version = 4
		req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name, ConfigNames: []string{config}}}
		c := ask[*kmsg.DescribeConfigsResponse](w, req).Resources[0].Configs[0]
		if got := fmt.Sprint(*c.Value, " ", int8(c.Source)); got != want {
			t.Errorf("%s of %s is %s, want %s", config, name, got, want)
		}
	}
	const topic, group = kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeGroupConfig
	const session = "consumer.session.timeout.ms"
	set(topic, "t", "retention.ms", "2000", kmsg.IncrementalAlterConfigOpSet, true)
	is(topic, "t", "retention.ms", "1000 1")
	is(topic, "t", "segment.ms", "604800000 5")
	set(group, "g", session, "50000", kmsg.IncrementalAlterConfigOpSet, true)
	is(group, "g", session, "45000 5")
	set(group, "g", session, " 050000 ", kmsg.IncrementalAlterConfigOpSet, false)
	is(group, "g", session, "50000 8")
	w.restart()
	is(group, "g", session, "50000 8")
	set(group, "g", session, "", kmsg.IncrementalAlterConfigOpDelete, false)
	is(group, "g", session, "45000 5")
	w.restart()
	is(group, "g", session, "45000 5")
	if names := w.groupSettings.configured(); len(names) != 0 {
		t.Errorf("groups %q have configs", names)
	}
}

// TestDefaultsAreTheBrokers: what the broker was started with is what topics have that
// say nothing else.
func TestDefaultsAreTheBrokers(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	w.cfg.SegmentBytes, w.cfg.Limits.BatchBytes = 1<<21, 5000
	w.open()
	w.topic("t", 1)
	for name, want := range map[string]string{"segment.bytes": "2097152", "max.message.bytes": "5000"} {
		if got := w.config(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if p := w.policyOf(nil); p.segmentBytes != 1<<21 || p.maxMessageBytes != 5000 {
		t.Errorf("acted on are %d and %d", p.segmentBytes, p.maxMessageBytes)
	}
}

// TestGroupsWithConfigsAreBounded: there are no more than there may be groups; those that
// are there may be changed. Their names are as long as a string of the protocol at most.
func TestGroupsWithConfigsAreBounded(t *testing.T) {
	w := newWorkbench(t)
	longer := func(configs map[string]string) error {
		configs["consumer.session.timeout.ms"] = "50000"
		return nil
	}
	code := func(group string) int16 { return groupCode(w.configureGroup(group, false, longer)) }
	w.want(code(string(make([]byte, 1<<15))), kerr.InvalidRequest)
	w.want(code(""), kerr.InvalidRequest)
	w.want(code("there"), nil)
	for i := len(w.groupSettings.set); i < maxGroups; i++ {
		w.groupSettings.set[fmt.Sprint(i)] = map[string]string{}
	}
	w.want(code("one more"), kerr.PolicyViolation)
	w.want(code("there"), nil)
}
