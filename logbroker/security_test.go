package logbroker

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/acl"
	"github.com/levada/levada/logbroker/quota"
	"github.com/levada/levada/logbroker/sasl"
)

// eve is a TCP client who has authenticated and may nothing.
func eve() *Conn {
	return &Conn{ClientID: "c", Host: "/10.0.0.1", principal: "User:eve", listener: &listener{nodes: advertised{"h", 1}}}
}

func newSecured(t testing.TB) *workbench {
	t.Helper()
	w := newWorkbench(t)
	w.Kill()
	w.cfg.Security = Security{Authorize: true, SuperUsers: []string{"User:admin"}}
	w.open()
	return w
}

// askAs is ask for somebody.
func askAs[R kmsg.Response](w *workbench, c *Conn, req kmsg.Request) (out R) {
	w.t.Helper()
	answered := false
	w.Handle(c, req, func(r kmsg.Response) {
		if r != nil {
			out, answered = r.(R), true
		}
	})
	w.pass(25 * 24 * time.Hour)
	if !answered {
		w.t.Fatalf("%s version %d is not answered", kmsg.NameForKey(req.Key()), req.GetVersion())
	}
	return out
}

// name puts names of what there is into a request, and makes its numbers small.
func name(rng *rand.Rand, v reflect.Value, id [16]byte) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			switch f := v.Field(i); {
			case v.Type().Field(i).Name == "TopicID":
				f.Set(reflect.ValueOf(id))
			case v.Type().Field(i).Name == "UnknownTags" || v.Type().Field(i).Name == "Version":
			default:
				name(rng, f, id)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte("bytes"))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		name(rng, v.Index(0), id)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		name(rng, v.Elem(), id)
	case reflect.String:
		v.SetString("t") // the topic, the group and the transactional id
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(rng.IntN(3)))
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	}
}

// codes collects the error codes of an answer.
func codes(v reflect.Value, out *[]int16) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if strings.HasSuffix(v.Type().Field(i).Name, "ErrorCode") && v.Field(i).Kind() == reflect.Int16 {
				if c := int16(v.Field(i).Int()); c != 0 {
					*out = append(*out, c)
				}
				continue
			}
			codes(v.Field(i), out)
		}
	case reflect.Slice:
		for i := range v.Len() {
			codes(v.Index(i), out)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			codes(v.Elem(), out)
		}
	}
}

var authorizationErrors = []int16{
	kerr.TopicAuthorizationFailed.Code, kerr.GroupAuthorizationFailed.Code, kerr.ClusterAuthorizationFailed.Code, kerr.TransactionalIDAuthorizationFailed.Code,
}

// state is what the broker holds, as far as a client could change it.
func (w *workbench) state() string {
	w.t.Helper()
	var out strings.Builder
	for _, t := range w.topics.sorted() {
		fmt.Fprintln(&out, t.name, len(t.parts()), *t.configs.Load(), t.parts()[0].log.Start(), t.parts()[0].log.End())
	}
	offsets, err := w.meta.Offsets("t")
	fmt.Fprintln(&out, offsets, err, w.meta.HasPending("t"))
	for _, e := range w.txns.all() {
		fmt.Fprintf(&out, "%s %+v\n", e.id, e.state)
	}
	g := w.coordinator()
	for id, e := range g.byID {
		row, err := e.encode()
		fmt.Fprintln(&out, id, string(row), err)
	}
	fmt.Fprintln(&out, w.security.rules.Load().Rules(), w.security.users, w.security.quotas.Limits(), w.groupSettings.set)
	return out.String()
}

// TestEverythingIsDeniedByDefault asks for everything, in every version, as somebody
// who may nothing: nothing changes, and what is not free is refused.
func TestEverythingIsDeniedByDefault(t *testing.T) {
	// Lists of what the client may see: it sees nothing.
	lists := map[kmsg.Key]bool{kmsg.ListGroups: true, kmsg.ListTransactions: true}
	// What anybody may ask for.
	frees := map[kmsg.Key]bool{
		kmsg.ApiVersions: true, kmsg.SASLHandshake: true, kmsg.SASLAuthenticate: true, kmsg.DescribeCluster: true,
		kmsg.GetTelemetrySubscriptions: true, kmsg.PushTelemetry: true,
		kmsg.CreateDelegationToken: true, kmsg.RenewDelegationToken: true, kmsg.ExpireDelegationToken: true, kmsg.DescribeDelegationToken: true,
	}
	w := newSecured(t)
	w.topic("t", 1)
	id := "t"
	pid, epoch := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
	w.want(w.commitAs("", -1), nil)
	for key, h := range w.handlers {
		if w.guards[key] == nil {
			t.Errorf("%s has no guard", kmsg.NameForKey(key))
			continue
		}
		isFree := frees[kmsg.Key(key)]
		for v := max(h.min, map[bool]int16{true: 3}[kmsg.Key(key) == kmsg.Produce]); v <= h.max; v++ {
			rng := rand.New(rand.NewPCG(uint64(key), uint64(v)))
			for range 5 {
				req := kmsg.RequestForKey(key)
				req.SetVersion(v)
				name(rng, reflect.ValueOf(req).Elem(), w.topics.byName("t").id)
				switch req := req.(type) {
				case *kmsg.ProduceRequest:
					req.Acks = -1
				case *kmsg.FetchRequest:
					req.SessionID, req.SessionEpoch, req.ForgottenTopics, req.IsolationLevel = 0, newSessionEpoch, nil, readCommitted
				}
				before := w.state()
				resp := askAs[kmsg.Response](w, eve(), req)
				if diff := cmp.Diff(before, w.state()); diff != "" {
					t.Fatalf("%s version %d changes something: %s", kmsg.NameForKey(key), v, diff)
				}
				var got []int16
				codes(reflect.ValueOf(resp), &got)
				refused := slices.ContainsFunc(got, func(c int16) bool { return slices.Contains(authorizationErrors, c) })
				if !refused && !isFree && !lists[kmsg.Key(key)] {
					t.Fatalf("%s version %d is not refused: codes %v in %+v", kmsg.NameForKey(key), v, got, resp)
				}
			}
		}
	}
	for key := range w.guards {
		if _, ok := w.handlers[key]; !ok {
			t.Errorf("%s has a guard and is not served", kmsg.NameForKey(key))
		}
	}
	if got := askAs[*kmsg.ListGroupsResponse](w, eve(), kmsg.NewPtrListGroupsRequest()).Groups; len(got) > 0 {
		t.Errorf("sees groups %+v", got)
	}
	txns := kmsg.NewPtrListTransactionsRequest()
	txns.Version = 1
	if got := askAs[*kmsg.ListTransactionsResponse](w, eve(), txns).TransactionStates; len(got) > 0 {
		t.Errorf("sees transactions %+v", got)
	}
}

// allow adds a rule for eve.
func (w *workbench) allow(kind acl.ResourceType, name string, op acl.Operation, permission acl.Permission) {
	w.t.Helper()
	req := kmsg.NewPtrCreateACLsRequest()
	req.Version = 3
	c := kmsg.NewCreateACLsRequestCreation()
	c.ResourceType, c.ResourceName, c.ResourcePatternType, c.Principal, c.Host = kind, name, kmsg.ACLResourcePatternTypeLiteral, "User:eve", "*"
	c.Operation, c.PermissionType = op, permission
	req.Creations = append(req.Creations, c)
	w.want(ask[*kmsg.CreateACLsResponse](w, req).Results[0].ErrorCode, nil)
}

// TestRulesApply: rules are in force at once and after a restart; names that must
// not be seen are not told from names that do not exist.
func TestRulesApply(t *testing.T) {
	w := newSecured(t)
	w.topic("t", 1)
	w.topic("u", 1)
	metadata := func(names ...string) (out []string) {
		req := kmsg.NewPtrMetadataRequest()
		req.Version = 12
		for _, n := range names {
			mt := kmsg.NewMetadataRequestTopic()
			mt.Topic = &n
			req.Topics = append(req.Topics, mt)
		}
		for _, mt := range askAs[*kmsg.MetadataResponse](w, eve(), req).Topics {
			out = append(out, fmt.Sprint(deref(mt.Topic), " ", mt.ErrorCode, " ", len(mt.Partitions)))
		}
		slices.Sort(out)
		return out
	}
	same := func(got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	same(metadata())
	same(metadata("t", "nowhere"), "nowhere 29 0", "t 29 0")
	w.allow(kmsg.ACLResourceTypeTopic, "t", kmsg.ACLOperationRead, kmsg.ACLPermissionTypeAllow)
	same(metadata(), "t 0 1")
	same(metadata("t", "u", "nowhere"), "nowhere 29 0", "t 0 1", "u 29 0")
	w.losePower("boot-2")
	same(metadata(), "t 0 1")
	w.allow(kmsg.ACLResourceTypeTopic, "*", kmsg.ACLOperationAll, kmsg.ACLPermissionTypeDeny)
	same(metadata())

	describe := kmsg.NewPtrDescribeACLsRequest()
	describe.Version = 3
	describe.ResourceType, describe.ResourcePatternType, describe.Operation, describe.PermissionType = 1, 1, 1, 1 // any
	if got := ask[*kmsg.DescribeACLsResponse](w, describe).Resources; len(got) != 2 || got[1].ACLs[0].Principal != "User:eve" {
		t.Errorf("described as %+v", got)
	}
	drop := kmsg.NewPtrDeleteACLsRequest()
	drop.Version = 3
	f := kmsg.NewDeleteACLsRequestFilter()
	f.ResourceType, f.ResourcePatternType, f.Operation, f.PermissionType = 1, 1, 1, kmsg.ACLPermissionTypeDeny
	drop.Filters = append(drop.Filters, f)
	if got := ask[*kmsg.DeleteACLsResponse](w, drop).Results[0]; got.ErrorCode != 0 || len(got.MatchingACLs) != 1 {
		t.Errorf("deleted %+v", got)
	}
	same(metadata(), "t 0 1")
	w.restart()
	same(metadata(), "t 0 1")

	admin := eve()
	admin.principal = "User:admin"
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	if got := askAs[*kmsg.MetadataResponse](w, admin, req).Topics; len(got) != 2 {
		t.Errorf("the super user sees %+v", got)
	}
	f.ResourceType = 0 // unknown
	drop.Filters = []kmsg.DeleteACLsRequestFilter{f}
	w.want(ask[*kmsg.DeleteACLsResponse](w, drop).Results[0].ErrorCode, kerr.InvalidRequest)
	bad := kmsg.NewPtrCreateACLsRequest()
	bad.Version = 3
	bad.Creations = append(bad.Creations, kmsg.NewCreateACLsRequestCreation())
	w.want(ask[*kmsg.CreateACLsResponse](w, bad).Results[0].ErrorCode, kerr.InvalidRequest)

	open := newWorkbench(t)
	open.want(ask[*kmsg.DescribeACLsResponse](open, describe).ErrorCode, kerr.SecurityDisabled)
	open.want(ask[*kmsg.CreateACLsResponse](open, bad).Results[0].ErrorCode, kerr.SecurityDisabled)
}

// TestClusterActionReadsLeaderEpochs: as with Kafka, who may act for the cluster may ask
// for the ends of epochs of every topic.
func TestClusterActionReadsLeaderEpochs(t *testing.T) {
	w := newSecured(t)
	w.topic("t", 1)
	asked := func() int16 {
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		req.Version = 4
		et := kmsg.NewOffsetForLeaderEpochRequestTopic()
		et.Topic = "t"
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.CurrentLeaderEpoch = -1
		et.Partitions = append(et.Partitions, p)
		req.Topics = append(req.Topics, et)
		return askAs[*kmsg.OffsetForLeaderEpochResponse](w, eve(), req).Topics[0].Partitions[0].ErrorCode
	}
	w.want(asked(), kerr.TopicAuthorizationFailed)
	w.allow(kmsg.ACLResourceTypeCluster, acl.Cluster, kmsg.ACLOperationClusterAction, kmsg.ACLPermissionTypeAllow)
	w.want(asked(), nil)
}

// TestSomeTopicsOfARequest: what a client may, it gets; the rest is refused.
func TestSomeTopicsOfARequest(t *testing.T) {
	w := newSecured(t)
	w.topic("t", 1)
	w.topic("u", 1)
	w.allow(kmsg.ACLResourceTypeTopic, "t", kmsg.ACLOperationWrite, kmsg.ACLPermissionTypeAllow)
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks = 11, -1
	for _, topic := range []string{"u", "t"} {
		pt := kmsg.NewProduceRequestTopic()
		pt.Topic = topic
		p := kmsg.NewProduceRequestTopicPartition()
		p.Records = oneRecord(-1, -1, -1, false, "v")
		pt.Partitions = append(pt.Partitions, p)
		req.Topics = append(req.Topics, pt)
	}
	got := map[string]int16{}
	for _, rt := range askAs[*kmsg.ProduceResponse](w, eve(), req).Topics {
		got[rt.Topic] = rt.Partitions[0].ErrorCode
	}
	if diff := cmp.Diff(map[string]int16{"t": 0, "u": kerr.TopicAuthorizationFailed.Code}, got); diff != "" {
		t.Error(diff)
	}
	if end := w.topics.byName("u").parts()[0].log.End(); end != 0 {
		t.Errorf("%d records written where none may be", end)
	}
	init := kmsg.NewPtrInitProducerIDRequest() // who writes somewhere may be idempotent
	init.Version = 4
	w.want(askAs[*kmsg.InitProducerIDResponse](w, eve(), init).ErrorCode, nil)
}

// TestUsersAreKept: credentials are set, shown without what is secret, and deleted.
func TestUsersAreKept(t *testing.T) {
	w := newWorkbench(t)
	alter := func(change func(*kmsg.AlterUserSCRAMCredentialsRequest)) []int16 {
		req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
		change(req)
		var out []int16
		for _, r := range ask[*kmsg.AlterUserSCRAMCredentialsResponse](w, req).Results {
			out = append(out, r.ErrorCode)
		}
		return out
	}
	set := func(user string, mechanism int8, iterations int32) func(*kmsg.AlterUserSCRAMCredentialsRequest) {
		return func(r *kmsg.AlterUserSCRAMCredentialsRequest) {
			u := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
			u.Name, u.Mechanism, u.Iterations, u.Salt, u.SaltedPassword = user, mechanism, iterations, []byte("salt"), []byte("salted")
			r.Upsertions = append(r.Upsertions, u)
		}
	}
	drop := func(user string, mechanism int8) func(*kmsg.AlterUserSCRAMCredentialsRequest) {
		return func(r *kmsg.AlterUserSCRAMCredentialsRequest) {
			d := kmsg.NewAlterUserSCRAMCredentialsRequestDeletion()
			d.Name, d.Mechanism = user, mechanism
			r.Deletions = append(r.Deletions, d)
		}
	}
	for name, test := range map[string]struct {
		change func(*kmsg.AlterUserSCRAMCredentialsRequest)
		want   *kerr.Error
	}{
		"few iterations": {set("x", 1, 4095), kerr.UnacceptableCredential}, "many": {set("x", 1, 16385), kerr.UnacceptableCredential},
		"no name": {set("", 1, 4096), kerr.UnacceptableCredential}, "mechanism": {set("x", 3, 4096), kerr.UnsupportedSaslMechanism},
		"nobody": {drop("x", 1), kerr.ResourceNotFound},
		"twice":  {func(r *kmsg.AlterUserSCRAMCredentialsRequest) { set("x", 1, 4096)(r); drop("x", 1)(r) }, kerr.ResourceNotFound},
		"same":   {func(r *kmsg.AlterUserSCRAMCredentialsRequest) { set("x", 1, 4096)(r); set("x", 1, 4096)(r) }, kerr.DuplicateResource},
	} {
		if got := alter(test.change); len(got) != 1 || got[0] != test.want.Code {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	w.want(alter(set("ann", 1, 4096))[0], nil)
	w.want(alter(set("ann", 2, 8192))[0], nil)
	w.losePower("boot-2")
	describe := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	got := ask[*kmsg.DescribeUserSCRAMCredentialsResponse](w, describe).Results
	if len(got) != 1 || got[0].User != "ann" || len(got[0].CredentialInfos) != 2 || got[0].CredentialInfos[1].Iterations != 8192 {
		t.Errorf("described as %+v", got)
	}
	describe.Users = []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: "bob"}, {Name: "ann"}, {Name: "ann"}}
	got = ask[*kmsg.DescribeUserSCRAMCredentialsResponse](w, describe).Results
	w.want(got[0].ErrorCode, kerr.ResourceNotFound)
	w.want(got[1].ErrorCode, kerr.DuplicateResource)
	w.want(alter(drop("ann", 1))[0], nil)
	w.restart()
	if got := w.describeUser("ann"); len(got) != 1 || got[0].Mechanism != 2 {
		t.Errorf("left with %+v", got)
	}
}

// TestUsersOfTheConfiguration: they are not changed by requests, which would have no
// effect; the answer says what has.
func TestUsersOfTheConfiguration(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	w.cfg.Security.Users = map[string]Password{"ann": "secret"}
	w.open()
	before := w.describeUser("ann")
	for _, mechanism := range scramMechanisms { // as a user that does not exist seems to have
		if c, ok := w.security.credential(mechanism, "ann"); !ok || c.Iterations != sasl.DefaultIterations || len(c.Salt) != sasl.DefaultSaltBytes {
			t.Errorf("%s: %v with a salt of %d bytes", mechanism, c, len(c.Salt))
		}
	}
	for _, user := range []string{"ann", "bob"} {
		set, drop := kmsg.NewPtrAlterUserSCRAMCredentialsRequest(), kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
		u := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
		u.Name, u.Mechanism, u.Iterations, u.Salt, u.SaltedPassword = user, 1, 8192, []byte("salt"), []byte("salted")
		set.Upsertions = append(set.Upsertions, u)
		d := kmsg.NewAlterUserSCRAMCredentialsRequestDeletion()
		d.Name, d.Mechanism = user, 1
		drop.Deletions = append(drop.Deletions, d)
		for _, req := range []*kmsg.AlterUserSCRAMCredentialsRequest{set, drop} {
			got := ask[*kmsg.AlterUserSCRAMCredentialsResponse](w, req).Results[0]
			if user == "bob" {
				w.want(got.ErrorCode, nil)
				continue
			}
			w.want(got.ErrorCode, kerr.UnacceptableCredential)
			if !strings.Contains(deref(got.ErrorMessage), "--users") {
				t.Errorf("told %q", deref(got.ErrorMessage))
			}
		}
	}
	if after := w.describeUser("ann"); !reflect.DeepEqual(before, after) || len(w.security.users) > 0 {
		t.Errorf("%d users kept, ann is changed: %+v", len(w.security.users), after)
	}
}

func (w *workbench) setQuota(entity map[string]*string, key string, value float64) int16 {
	w.t.Helper()
	req := kmsg.NewPtrAlterClientQuotasRequest()
	e := kmsg.NewAlterClientQuotasRequestEntry()
	for kind, n := range entity {
		e.Entity = append(e.Entity, kmsg.AlterClientQuotasRequestEntryEntity{Type: kind, Name: n})
	}
	op := kmsg.NewAlterClientQuotasRequestEntryOp()
	op.Key, op.Value, op.Remove = key, value, value == 0
	e.Ops = append(e.Ops, op)
	req.Entries = append(req.Entries, e)
	return ask[*kmsg.AlterClientQuotasResponse](w, req).Entries[0].ErrorCode
}

// TestQuotasAreKept: limits are set, found by filters, and removed.
func TestQuotasAreKept(t *testing.T) {
	w := newWorkbench(t)
	ann, app := "ann", "app"
	w.want(w.setQuota(map[string]*string{"user": &ann}, quota.ProducerBytes, 1000), nil)
	w.want(w.setQuota(map[string]*string{"user": &ann, "client-id": &app}, quota.ConsumerBytes, 2000), nil)
	w.want(w.setQuota(map[string]*string{"user": nil}, quota.RequestTime, 50), nil)
	w.want(w.setQuota(map[string]*string{"ip": nil}, quota.Connections, 5), nil)
	w.want(w.setQuota(map[string]*string{"ip": nil}, quota.ProducerBytes, 5), kerr.InvalidRequest)
	w.want(w.setQuota(map[string]*string{"ip": &ann}, quota.Connections, 5), kerr.InvalidRequest) // not an address
	w.want(w.setQuota(map[string]*string{"colour": &ann}, quota.ProducerBytes, 5), kerr.InvalidRequest)
	w.want(w.setQuota(map[string]*string{"user": &ann}, "speed", 5), kerr.InvalidRequest)
	w.losePower("boot-2")
	find := func(strict bool, components ...kmsg.DescribeClientQuotasRequestComponent) (out []string) {
		req := kmsg.NewPtrDescribeClientQuotasRequest()
		req.Components, req.Strict = components, strict
		resp := ask[*kmsg.DescribeClientQuotasResponse](w, req)
		w.want(resp.ErrorCode, nil)
		if resp.Entries == nil {
			t.Error("the entries are null")
		}
		for _, e := range resp.Entries {
			out = append(out, e.Values[0].Key)
		}
		slices.Sort(out)
		return out
	}
	user := func(match kmsg.QuotasMatchType, name *string) kmsg.DescribeClientQuotasRequestComponent {
		return kmsg.DescribeClientQuotasRequestComponent{EntityType: "user", MatchType: match, Match: name}
	}
	for name, test := range map[string]struct{ got, want []string }{
		"all":     {find(false), []string{quota.Connections, quota.ConsumerBytes, quota.ProducerBytes, quota.RequestTime}},
		"ann":     {find(false, user(kmsg.QuotasMatchTypeExact, &ann)), []string{quota.ConsumerBytes, quota.ProducerBytes}},
		"strict":  {find(true, user(kmsg.QuotasMatchTypeExact, &ann)), []string{quota.ProducerBytes}},
		"default": {find(false, user(kmsg.QuotasMatchTypeDefault, nil)), []string{quota.RequestTime}},
		"any":     {find(true, user(kmsg.QuotasMatchTypeAny, nil)), []string{quota.ProducerBytes, quota.RequestTime}},
		"nobody":  {find(false, user(kmsg.QuotasMatchTypeExact, &app)), nil},
	} {
		if !slices.Equal(test.got, test.want) {
			t.Errorf("%s: %q, want %q", name, test.got, test.want)
		}
	}
	w.want(w.setQuota(map[string]*string{"user": &ann}, quota.ProducerBytes, 0), nil)
	w.restart()
	if got := find(true, user(kmsg.QuotasMatchTypeExact, &ann)); len(got) > 0 {
		t.Errorf("left with %q", got)
	}
}

// TestAChangeIsAnsweredWithoutALock: whoever is told of one change may make the next.
func TestAChangeIsAnsweredWithoutALock(t *testing.T) {
	w := newWorkbench(t)
	for _, req := range []kmsg.Request{
		kmsg.NewPtrCreateACLsRequest(), kmsg.NewPtrDeleteACLsRequest(), kmsg.NewPtrAlterClientQuotasRequest(), kmsg.NewPtrAlterUserSCRAMCredentialsRequest(),
	} {
		req.SetVersion(req.MaxVersion())
		w.Handle(NewConn("test", "/test"), req, func(kmsg.Response) {
			if !w.security.edit.TryLock() {
				t.Errorf("%s is answered with the lock held", kmsg.NameForKey(req.Key()))
				return
			}
			w.security.edit.Unlock()
		})
	}
}

// TestMutationsAreLimited: who creates more partitions than it may is refused, or
// told to wait where it cannot be.
func TestMutationsAreLimited(t *testing.T) {
	w := newWorkbench(t)
	w.want(w.setQuota(map[string]*string{"user": nil}, quota.Mutations, 2), nil)
	create := func(version int16, name string) *kmsg.CreateTopicsResponse {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version = version
		ct := kmsg.NewCreateTopicsRequestTopic()
		ct.Topic, ct.NumPartitions, ct.ReplicationFactor = name, 30, 1
		req.Topics = append(req.Topics, ct)
		var out *kmsg.CreateTopicsResponse
		w.Handle(eve(), req, func(r kmsg.Response) { out = r.(*kmsg.CreateTopicsResponse) })
		return out
	}
	if got := create(7, "a"); got.Topics[0].ErrorCode != 0 {
		t.Errorf("the first: %+v", got)
	}
	if got := create(7, "b"); got.Topics[0].ErrorCode != kerr.ThrottlingQuotaExceeded.Code || got.ThrottleMillis < 1000 {
		t.Errorf("the second: %+v", got)
	}
	if got := create(5, "c"); got.Topics[0].ErrorCode != 0 || got.ThrottleMillis < 1000 {
		t.Errorf("of an old client: %+v", got)
	}
	w.pass(time.Minute)
	if got := create(7, "b"); got.Topics[0].ErrorCode != 0 {
		t.Errorf("a minute later: %+v", got)
	}
}

// TestTopicsMadeByNameAreLimited: a topic that is created because somebody asks for it
// counts as any other; to who is over its limit it stays unknown, for now.
func TestTopicsMadeByNameAreLimited(t *testing.T) {
	w := newWorkbench(t)
	w.cfg.AutoCreateTopics, w.cfg.DefaultPartitions = true, 30
	w.restart()
	w.want(w.setQuota(map[string]*string{"user": nil}, quota.Mutations, 2), nil)
	asked := func(conn *Conn, names ...string) (*kmsg.MetadataResponse, []int16) {
		req := kmsg.NewPtrMetadataRequest()
		req.Version, req.AllowAutoTopicCreation = 9, true
		for _, n := range names {
			mt := kmsg.NewMetadataRequestTopic()
			mt.Topic = &n
			req.Topics = append(req.Topics, mt)
		}
		var resp *kmsg.MetadataResponse
		w.Handle(conn, req, func(r kmsg.Response) { resp = r.(*kmsg.MetadataResponse) })
		var codes []int16
		for _, mt := range resp.Topics {
			codes = append(codes, mt.ErrorCode)
		}
		return resp, codes
	}
	c := eve()
	unknown := kerr.UnknownTopicOrPartition.Code
	resp, codes := asked(c, "a", "b", "a")
	if !slices.Equal(codes, []int16{0, unknown}) || resp.ThrottleMillis < 1000 || c.mutedFor(w.now) < time.Second {
		t.Errorf("codes %d, told to wait %d ms, muted for %v", codes, resp.ThrottleMillis, c.mutedFor(w.now))
	}
	if w.topics.byName("b") != nil {
		t.Error("a topic over the limit exists")
	}
	if resp, codes := asked(eve(), "a"); !slices.Equal(codes, []int16{0}) || resp.ThrottleMillis != 0 {
		t.Errorf("for a topic that exists: codes %d, told to wait %d ms", codes, resp.ThrottleMillis)
	}
	w.pass(time.Minute)
	if _, codes := asked(eve(), "b"); !slices.Equal(codes, []int16{0}) {
		t.Errorf("a minute later: codes %d", codes)
	}
}
