package logbroker

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestConfigsOfNamesThatCannotBe: an empty list of names is all configs, as null is,
// and what cannot have configs is refused with Kafka's codes.
func TestConfigsOfNamesThatCannotBe(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	describe := func(kind kmsg.ConfigResourceType, name string, names []string) kmsg.DescribeConfigsResponseResource {
		req := kmsg.NewPtrDescribeConfigsRequest()
		req.Version = 4
		req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name, ConfigNames: names}}
		return ask[*kmsg.DescribeConfigsResponse](w, req).Resources[0]
	}
	all := len(describe(kmsg.ConfigResourceTypeTopic, "t", nil).Configs)
	if n := len(describe(kmsg.ConfigResourceTypeTopic, "t", []string{}).Configs); n != all || n == 0 {
		t.Errorf("an empty list of names tells %d configs, and null %d", n, all)
	}
	for _, test := range []struct {
		kind          kmsg.ConfigResourceType
		name          string
		describe, set *kerr.Error
	}{
		{kind: kmsg.ConfigResourceTypeTopic, name: "nowhere", describe: kerr.UnknownTopicOrPartition, set: kerr.UnknownTopicOrPartition},
		{kind: kmsg.ConfigResourceTypeTopic, name: "a/b", describe: kerr.InvalidTopicException, set: kerr.InvalidTopicException},
		{kind: kmsg.ConfigResourceTypeTopic, name: "", describe: kerr.InvalidTopicException, set: kerr.InvalidRequest},
		{kind: kmsg.ConfigResourceTypeGroupConfig, name: "", describe: kerr.InvalidRequest, set: kerr.InvalidRequest},
		{kind: kmsg.ConfigResourceTypeBrokerLogger, name: "77", describe: kerr.InvalidRequest, set: kerr.InvalidRequest},
		{kind: kmsg.ConfigResourceTypeBroker, name: "77", describe: kerr.InvalidRequest, set: kerr.InvalidRequest},
		{kind: kmsg.ConfigResourceTypeClientMetrics, name: "", describe: kerr.InvalidRequest, set: kerr.InvalidRequest},
		{kind: 99, name: "x", describe: kerr.InvalidRequest, set: kerr.InvalidRequest},
	} {
		if got := describe(test.kind, test.name, nil); got.ErrorCode != test.describe.Code || got.ErrorMessage == nil {
			t.Errorf("DescribeConfigs %d %q: %v", test.kind, test.name, kerr.ErrorForCode(got.ErrorCode))
		}
		for _, value := range []string{"1", "x"} {
			req := kmsg.NewPtrIncrementalAlterConfigsRequest()
			req.Version, req.ValidateOnly = 1, true
			req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
				ResourceType: test.kind, ResourceName: test.name,
				Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: &value}},
			}}
			want := test.set
			if want == kerr.UnknownTopicOrPartition && value == "x" {
				want = kerr.InvalidConfig // is said first
			}
			w.want(ask[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources[0].ErrorCode, want)
		}
	}
	req := kmsg.NewPtrAlterConfigsRequest()
	req.Version = 2
	req.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms"}}}}
	w.want(ask[*kmsg.AlterConfigsResponse](w, req).Resources[0].ErrorCode, kerr.InvalidRequest)
}

// TestCursors: a cursor that is at no place in the request refuses its topics, and
// does not end the connection; who asks for no partitions gets one at a time.
func TestCursors(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 3)
	w.topic("u", 1)
	for _, test := range []struct {
		topic     string
		partition int32
		limit     int32
		want      int // partitions; -1 is refused
	}{
		{"", 0, 2000, 4},
		{"", 0, 0, 1},
		{"", 0, -1, 1},
		{"t", 2, 2000, 2},
		{"t", 9, 2000, 1},
		{"t", -1, 2000, -1},
		{"tt", 0, 2000, -1},
	} {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "t"}, {Topic: "u"}}
		req.ResponsePartitionLimit = test.limit
		if test.topic != "" {
			req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: test.topic, Partition: test.partition}
		}
		resp := ask[*kmsg.DescribeTopicPartitionsResponse](w, req)
		n, refused := 0, 0
		for _, topic := range resp.Topics {
			n += len(topic.Partitions)
			if topic.ErrorCode == kerr.InvalidRequest.Code && topic.Partitions != nil {
				refused++
			}
		}
		if test.want < 0 && refused != 2 || test.want >= 0 && (n != test.want || refused != 0) {
			t.Errorf("%+v: %d partitions, %d topics are refused", test, n, refused)
		}
	}
}

// TestQuotaFilters: questions and changes that no entity can be meant by have Kafka's
// codes.
func TestQuotaFilters(t *testing.T) {
	w := newWorkbench(t)
	name := kmsg.StringPtr
	type filter = kmsg.DescribeClientQuotasRequestComponent
	for _, test := range []struct {
		filters []filter
		want    *kerr.Error
	}{
		{nil, nil},
		{[]filter{{EntityType: "user", Match: name("ann")}}, nil},
		{[]filter{{EntityType: "user", MatchType: kmsg.QuotasMatchTypeAny}, {EntityType: "client-id", MatchType: kmsg.QuotasMatchTypeDefault}}, nil},
		{[]filter{{EntityType: "user"}}, kerr.InvalidRequest},
		{[]filter{{EntityType: "user", MatchType: kmsg.QuotasMatchTypeDefault, Match: name("ann")}}, kerr.InvalidRequest},
		{[]filter{{EntityType: "user", MatchType: kmsg.QuotasMatchTypeAny, Match: name("ann")}}, kerr.InvalidRequest},
		{[]filter{{EntityType: "user", MatchType: 3}}, kerr.InvalidRequest},
		{[]filter{{EntityType: "", Match: name("ann")}}, kerr.InvalidRequest},
		{[]filter{{EntityType: "colour", Match: name("red")}}, kerr.UnsupportedVersion},
		{[]filter{{EntityType: "user", Match: name("ann")}, {EntityType: "user", Match: name("bob")}}, kerr.InvalidRequest},
		{[]filter{{EntityType: "user", Match: name("ann")}, {EntityType: "ip", Match: name("10.0.0.1")}}, kerr.InvalidRequest},
	} {
		req := kmsg.NewPtrDescribeClientQuotasRequest()
		req.Version, req.Components = 1, test.filters
		resp := ask[*kmsg.DescribeClientQuotasResponse](w, req)
		w.want(resp.ErrorCode, test.want)
		if (test.want == nil) != (resp.Entries != nil) {
			t.Errorf("%v: entries %v", test.filters, resp.Entries)
		}
	}
	type op = kmsg.AlterClientQuotasRequestEntryOp
	alter := func(users []string, ops ...op) []kmsg.AlterClientQuotasResponseEntry {
		req := kmsg.NewPtrAlterClientQuotasRequest()
		req.Version = 1
		for _, user := range users {
			req.Entries = append(req.Entries, kmsg.AlterClientQuotasRequestEntry{Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "user", Name: &user}}, Ops: ops})
		}
		return ask[*kmsg.AlterClientQuotasResponse](w, req).Entries
	}
	rate := op{Key: "producer_byte_rate", Value: 1000}
	w.want(alter([]string{""}, rate)[0].ErrorCode, kerr.InvalidRequest)
	w.want(alter([]string{"ann"}, rate, rate)[0].ErrorCode, kerr.InvalidRequest)
	w.want(alter([]string{"ann"}, op{Key: "colour", Remove: true})[0].ErrorCode, nil)
	w.want(alter([]string{"ann"}, op{Key: "colour", Value: 1})[0].ErrorCode, kerr.InvalidRequest)
	if got := alter([]string{"ann", "bob", "ann"}, rate); len(got) != 2 || got[0].ErrorCode != kerr.InvalidRequest.Code || got[1].ErrorCode != 0 {
		t.Errorf("an entity that is named twice: %+v", got)
	}
	if n := len(w.security.quotas.Limits()); n != 2 { // as with Kafka the first counts
		t.Errorf("%d entities have limits, want 2", n)
	}
}

// TestAdminErrorCodes: what rarely is asked for, and wrongly, has Kafka's codes.
func TestAdminErrorCodes(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	for kind, want := range map[int8]*kerr.Error{1: nil, 2: kerr.MismatchedEndpointType, 9: kerr.UnsupportedEndpointType} {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version, req.EndpointType = 2, kind
		resp := ask[*kmsg.DescribeClusterResponse](w, req)
		if w.want(resp.ErrorCode, want); (want == nil) != (len(resp.Brokers) == 1) {
			t.Errorf("endpoints of type %d: %d brokers", kind, len(resp.Brokers))
		}
	}
	elect := func(version int16, kind int8, topics []kmsg.ElectLeadersRequestTopic) *kmsg.ElectLeadersResponse {
		req := kmsg.NewPtrElectLeadersRequest()
		req.Version, req.ElectionType, req.Topics = version, kind, topics
		return ask[*kmsg.ElectLeadersResponse](w, req)
	}
	one := []kmsg.ElectLeadersRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	w.want(elect(0, 7, one).Topics[0].Partitions[0].ErrorCode, kerr.ElectionNotNeeded) // version 0 has no types
	w.want(elect(2, 1, one).Topics[0].Partitions[0].ErrorCode, kerr.ElectionNotNeeded)
	refused := elect(2, 7, one)
	w.want(refused.ErrorCode, kerr.InvalidRequest)
	w.want(refused.Topics[0].Partitions[0].ErrorCode, kerr.InvalidRequest)
	if all := elect(2, 0, nil).Topics; len(all) != 1 || len(all[0].Partitions) != 0 {
		t.Errorf("all elections: %v", all)
	}

	features := kmsg.NewPtrUpdateFeaturesRequest()
	features.Version = 1
	features.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: "group.version", MaxVersionLevel: 1, UpgradeType: 1}, {Feature: "colour", MaxVersionLevel: 1, UpgradeType: 1}}
	resp := ask[*kmsg.UpdateFeaturesResponse](w, features)
	if w.want(resp.ErrorCode, kerr.InvalidUpdateVersion); len(resp.Results) != 0 {
		t.Errorf("results of a refused update: %v", resp.Results)
	}
	features.FeatureUpdates[1].Feature = "transaction.version"
	w.want(ask[*kmsg.UpdateFeaturesResponse](w, features).ErrorCode, kerr.InvalidUpdateVersion)
	features.FeatureUpdates = features.FeatureUpdates[:1]
	if resp = ask[*kmsg.UpdateFeaturesResponse](w, features); resp.ErrorCode != 0 || len(resp.Results) != 1 {
		t.Errorf("a level in force: %+v", resp)
	}
	features.FeatureUpdates[0].UpgradeType = 0
	w.want(ask[*kmsg.UpdateFeaturesResponse](w, features).ErrorCode, kerr.InvalidUpdateVersion)
}

// TestNamesThatAreEmpty: no group, transaction or topic has an empty name, or one that
// cannot be, and each request says so with Kafka's code.
func TestNamesThatAreEmpty(t *testing.T) {
	w := newWorkbench(t)
	groups := kmsg.NewPtrDeleteGroupsRequest()
	groups.Version, groups.Groups = 2, []string{""}
	w.want(ask[*kmsg.DeleteGroupsResponse](w, groups).Groups[0].ErrorCode, kerr.GroupIDNotFound)
	described := kmsg.NewPtrConsumerGroupDescribeRequest()
	described.Version, described.Groups = 1, []string{""}
	w.want(ask[*kmsg.ConsumerGroupDescribeResponse](w, described).Groups[0].ErrorCode, kerr.InvalidGroupID)
	txns := kmsg.NewPtrDescribeTransactionsRequest()
	txns.TransactionalIDs = []string{"", "nobody"}
	states := ask[*kmsg.DescribeTransactionsResponse](w, txns).TransactionStates
	w.want(states[0].ErrorCode, kerr.InvalidRequest)
	w.want(states[1].ErrorCode, kerr.TransactionalIDNotFound)
	producers := kmsg.NewPtrDescribeProducersRequest()
	producers.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "a/b", Partitions: []int32{0}}, {Topic: "nowhere", Partitions: []int32{0}}}
	topics := ask[*kmsg.DescribeProducersResponse](w, producers).Topics
	w.want(topics[0].Partitions[0].ErrorCode, kerr.InvalidTopicException)
	w.want(topics[1].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)

	resources := kmsg.NewPtrListConfigResourcesRequest()
	resources.Version = 1
	var kinds []string
	for _, r := range ask[*kmsg.ListConfigResourcesResponse](w, resources).ConfigResources {
		kinds = append(kinds, kmsg.ConfigResourceType(r.Type).String())
	}
	if want := []string{"BROKER", "BROKER_LOGGER"}; !slices.Equal(kinds, want) {
		t.Errorf("resources with configs: %s, want %s", strings.Join(kinds, " "), strings.Join(want, " "))
	}
}
