package logbroker

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// repeat returns n copies.
func repeat[T any](n int, v T) (out []T) {
	for range n {
		out = append(out, v)
	}
	return out
}

// describeMany are requests that name one thing n times, of which there is much to tell.
func describeMany(n int, id [16]byte) map[string]kmsg.Request {
	out := map[string]kmsg.Request{}
	add := func(name string, version int16, req kmsg.Request) {
		req.SetVersion(version)
		out[name] = req
	}
	byName, byID := kmsg.NewPtrMetadataRequest(), kmsg.NewPtrMetadataRequest()
	topic := "t"
	byName.Topics = repeat(n, kmsg.MetadataRequestTopic{Topic: &topic})
	byID.Topics = repeat(n, kmsg.MetadataRequestTopic{TopicID: id})
	add("metadata", 11, byName)
	add("metadata by id", 12, byID)
	groups := kmsg.NewPtrDescribeGroupsRequest()
	groups.Groups = repeat(n, "g")
	add("groups", 5, groups)
	consumers := kmsg.NewPtrConsumerGroupDescribeRequest()
	consumers.Groups = repeat(n, "c")
	add("consumer groups", 1, consumers)
	txns := kmsg.NewPtrDescribeTransactionsRequest()
	txns.TransactionalIDs = repeat(n, "id")
	add("transactions", 0, txns)
	producers := kmsg.NewPtrDescribeProducersRequest()
	producers.Topics = repeat(n/2, kmsg.DescribeProducersRequestTopic{Topic: "t", Partitions: []int32{0, 0}})
	add("producers", 0, producers)
	configs := kmsg.NewPtrDescribeConfigsRequest()
	configs.Resources = repeat(n, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t"})
	add("configs", 4, configs)
	all, some, old := kmsg.NewPtrOffsetFetchRequest(), kmsg.NewPtrOffsetFetchRequest(), kmsg.NewPtrOffsetFetchRequest()
	all.Groups = repeat(n, kmsg.OffsetFetchRequestGroup{Group: "g", MemberEpoch: -1})
	add("all offsets", 8, all)
	some.Groups = repeat(n/2, kmsg.OffsetFetchRequestGroup{Group: "g", MemberEpoch: -1, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{0, 0}}}})
	add("offsets", 8, some)
	old.Group, old.Topics = "g", repeat(n/2, kmsg.OffsetFetchRequestTopic{Topic: "t", Partitions: []int32{0, 0}})
	add("offsets of one group", 7, old)
	return out
}

// TestWhatIsNamedAgainIsToldAgain: but an answer does not grow without a bound with how
// often a request names one thing, of which there is much to tell.
func TestWhatIsNamedAgainIsToldAgain(t *testing.T) {
	const often = 20_000
	w := newWorkbench(t)
	w.topic("t", 100)
	id := "id"
	pid, epoch := w.initID(id)
	for n := range int32(100) {
		w.want(w.produce(13, &id, n, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
	}
	m := w.joinClassic("")
	w.want(m.ErrorCode, nil)
	w.syncClassic(m.MemberID, m.Generation, map[string][]int32{m.MemberID: {0}})
	w.want(w.heart("m", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "c" }).ErrorCode, nil)
	text := strings.Repeat("m", maxOffsetMetadata)
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version, commit.Group, commit.Generation, commit.MemberID = 8, "g", m.Generation, m.MemberID
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 1, Metadata: &text}}}}
	w.want(ask[*kmsg.OffsetCommitResponse](w, commit).Topics[0].Partitions[0].ErrorCode, nil)

	topic := w.topics.byName("t").id
	size := func(n int, what string) int {
		var got []int16
		resp := ask[kmsg.Response](w, describeMany(n, topic)[what])
		if codes(reflect.ValueOf(resp), &got); len(got) > 0 {
			t.Errorf("%s: codes %v", what, got)
		}
		return len(resp.AppendTo(nil))
	}
	for what := range describeMany(2, topic) {
		two, four, six, many := size(2, what), size(4, what), size(6, what), size(often, what)
		if strings.HasPrefix(what, "metadata") {
			if two != four || two != many {
				t.Errorf("%s: named twice it has %d bytes, then %d, then %d", what, two, four, many)
			}
			continue
		}
		if six-four != four-two || four < two*3/2 {
			t.Errorf("%s: named twice it has %d bytes, then %d, then %d", what, two, four, six)
		}
		// Beyond the room what is left of each time it is named is a name.
		if limit := two + often*16 + int(maxRoom); many > limit || many < int(maxRoom)/4 {
			t.Errorf("%s: %d bytes, and %d when it is named twice", what, many, two)
		}
	}
	// Parts that are named are told where they are named.
	configs := kmsg.NewPtrDescribeConfigsRequest()
	configs.Version = 4
	for _, name := range []string{"retention.ms", "segment.bytes"} {
		configs.Resources = append(configs.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t", ConfigNames: []string{name}})
	}
	if got := ask[*kmsg.DescribeConfigsResponse](w, configs).Resources; len(got) != 2 || got[0].Configs[0].Name == got[1].Configs[0].Name {
		t.Errorf("configs of one topic, named one by one: %+v", got)
	}
}

// TestRulesAreToldAgain: to every filter of a request that selects them, but not without a
// bound.
func TestRulesAreToldAgain(t *testing.T) {
	const often = 40_000
	w := newSecured(t)
	filter := func(host *string) kmsg.DeleteACLsRequestFilter {
		return kmsg.DeleteACLsRequestFilter{
			ResourceType: kmsg.ACLResourceTypeTopic, ResourceName: new("t"), ResourcePatternType: kmsg.ACLResourcePatternTypeAny,
			Operation: kmsg.ACLOperationAny, PermissionType: kmsg.ACLPermissionTypeAny, Host: host,
		}
	}
	for _, same := range []bool{true, false} {
		w.allow(kmsg.ACLResourceTypeTopic, "t", kmsg.ACLOperationRead, kmsg.ACLPermissionTypeAllow)
		w.allow(kmsg.ACLResourceTypeTopic, "t", kmsg.ACLOperationWrite, kmsg.ACLPermissionTypeAllow)
		drop := kmsg.NewPtrDeleteACLsRequest()
		drop.Version, drop.Filters = 3, repeat(often, filter(nil))
		if !same {
			drop.Filters[1] = filter(new("*"))
		}
		resp := ask[*kmsg.DeleteACLsResponse](w, drop)
		for _, r := range resp.Results[:3] {
			if r.ErrorCode != 0 || len(r.MatchingACLs) != 2 {
				t.Errorf("same filter %v: told %+v", same, r)
			}
		}
		if size := len(resp.AppendTo(nil)); size > often*8+int(maxRoom) || size < int(maxRoom)/4 {
			t.Errorf("same filter %v: %d bytes", same, size)
		}
		if n := len(w.security.rules.Load().Rules()); n != 0 {
			t.Errorf("same filter %v: %d rules are left", same, n)
		}
	}
}

// TestLongFilters: a filter may be as long as a request, and what it is held against as
// much as a broker has; neither is gone through for each of the other.
func TestLongFilters(t *testing.T) {
	const many = 40_000
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "id-0"
	w.initID(id)
	w.want(w.joinClassic("").ErrorCode, nil)
	g := w.coordinator()
	g.mu.Lock()
	for i := range many {
		g.byID[fmt.Sprint("full-", i)] = &groupEntry{classic: g.byID["g"].classic}
	}
	g.mu.Unlock()
	w.txns.mu.Lock()
	for i := 1; i < many; i++ {
		e := &txnEntry{id: fmt.Sprint("id-", i), state: w.txns.byID[id].state}
		w.txns.byID[e.id] = e
	}
	w.txns.mu.Unlock()
	groups := kmsg.NewPtrListGroupsRequest()
	groups.Version, groups.StatesFilter = 5, repeat(maxElements-1, "dead")
	txns, byPID := kmsg.NewPtrListTransactionsRequest(), kmsg.NewPtrListTransactionsRequest()
	txns.StateFilters, byPID.ProducerIDFilters = repeat(maxElements, "Dead"), repeat(maxElements, int64(-5))
	start := time.Now()
	if n := len(ask[*kmsg.ListGroupsResponse](w, groups).Groups); n > 0 {
		t.Errorf("%d groups are dead", n)
	}
	for _, req := range []*kmsg.ListTransactionsRequest{txns, byPID} {
		if n := len(ask[*kmsg.ListTransactionsResponse](w, req).TransactionStates); n > 0 {
			t.Errorf("%d transactions are listed", n)
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("three lists took %v", took)
	}
}

// TestAPartitionIsFetchedOnce: of one that a fetch names again and again the last
// counts, and it is waited for once, with a session and without.
func TestAPartitionIsFetchedOnce(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	for i := range 3 {
		w.want(w.produce(11, nil, 0, oneRecord(-1, -1, -1, false, fmt.Sprint(i))).ErrorCode, nil)
	}
	fetch := func(id, epoch int32, offset int64, names int) *kmsg.FetchRequest {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.MaxBytes, req.MinBytes, req.MaxWaitMillis, req.SessionID, req.SessionEpoch = 12, 1<<20, 1, 1000, id, epoch
		for i := range names {
			p := kmsg.NewFetchRequestTopicPartition()
			p.FetchOffset, p.PartitionMaxBytes = offset-int64(names-1-i), 1<<20
			req.Topics = append(req.Topics, kmsg.FetchRequestTopic{Topic: "t", Partitions: []kmsg.FetchRequestTopicPartition{p}})
		}
		return req
	}
	conn := NewConn("c", "/c")
	var resp *kmsg.FetchResponse
	send := func(req *kmsg.FetchRequest) {
		t.Helper()
		resp = nil
		w.Handle(conn, req, func(r kmsg.Response) { resp = r.(*kmsg.FetchResponse) })
		watchers := 0
		if ws := w.topics.byName("t").parts()[0].watchers.Load(); ws != nil {
			watchers = len(*ws)
		}
		if resp != nil || watchers != 1 {
			t.Errorf("waits for %d partitions, want 1", watchers)
		}
		w.want(w.produce(11, nil, 0, oneRecord(-1, -1, -1, false, "next")).ErrorCode, nil)
		w.pass(0)
		if resp == nil || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			t.Fatalf("answered with %+v", resp)
		}
		w.want(resp.ErrorCode, nil)
		if n := w.countBatches(resp.Topics[0].Partitions[0].RecordBatches); n != 1 {
			t.Errorf("%d records, want that after the last offset named", n)
		}
	}
	send(fetch(0, noSessionEpoch, 3, 3))
	send(fetch(0, newSessionEpoch, 4, 3))
	send(fetch(resp.SessionID, 1, 5, 3))
	if kept := len(w.sessions.byID[resp.SessionID].parts); kept != 1 {
		t.Errorf("the session has %d partitions", kept)
	}
}

// TestRightsOfWhatIsNamedAgain: what is left out for lack of room does not put the rights of
// another group in its place.
func TestRightsOfWhatIsNamedAgain(t *testing.T) {
	w := newSecured(t)
	w.topic("seen", 1)
	w.topic("hidden", 1)
	w.allow(kmsg.ACLResourceTypeTopic, "seen", kmsg.ACLOperationDescribe, kmsg.ACLPermissionTypeAllow)
	text := strings.Repeat("m", maxOffsetMetadata)
	for _, g := range []string{"large", "named", "all"} {
		w.allow(kmsg.ACLResourceTypeGroup, g, kmsg.ACLOperationDescribe, kmsg.ACLPermissionTypeAllow)
		commit := kmsg.NewPtrOffsetCommitRequest()
		commit.Version, commit.Group, commit.Generation = 8, g, -1
		for _, name := range []string{"seen", "hidden"} {
			commit.Topics = append(commit.Topics, kmsg.OffsetCommitRequestTopic{Topic: name, Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 1, Metadata: &text}}})
		}
		w.want(ask[*kmsg.OffsetCommitResponse](w, commit).Topics[0].Partitions[0].ErrorCode, nil)
	}
	const often = 500 // more than there is room for
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = 8
	add := func(g string, topics []kmsg.OffsetFetchRequestGroupTopic) {
		rg := kmsg.NewOffsetFetchRequestGroup()
		rg.Group, rg.Topics = g, topics
		req.Groups = append(req.Groups, rg)
	}
	for range often {
		add("large", nil)
	}
	for range often {
		add("named", []kmsg.OffsetFetchRequestGroupTopic{})
	}
	add("all", nil)
	groups := askAs[*kmsg.OffsetFetchResponse](w, eve(), req).Groups
	if n := len(groups); n < often+2 || n >= 2*often || groups[n-1].Group != "all" {
		t.Fatalf("%d groups are told of", n)
	}
	for _, g := range groups {
		if g.Group != "named" && (len(g.Topics) != 1 || g.Topics[0].Topic != "seen") {
			t.Fatalf("of group %q eve is told of %d topics", g.Group, len(g.Topics))
		}
	}
}
