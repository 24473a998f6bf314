package logbroker

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/acl"
)

// rename replaces a text in all strings below v, in those of topics only if they are
// asked for, and tells whether there is one.
func rename(v reflect.Value, from, to string, topicsOnly, inTopic bool) (found bool) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "UnknownTags" && rename(v.Field(i), from, to, topicsOnly, inTopic || strings.Contains(v.Type().Field(i).Name, "Topic")) {
				found = true
			}
		}
	case reflect.Slice:
		for i := 0; i < v.Len() && v.Type().Elem().Kind() != reflect.Uint8; i++ {
			found = rename(v.Index(i), from, to, topicsOnly, inTopic) || found
		}
	case reflect.Pointer:
		if v.IsNil() {
			return false
		}
		if v.Elem().Kind() == reflect.String { // another of the same name may share it
			fresh := reflect.New(v.Type().Elem())
			fresh.Elem().Set(v.Elem())
			v.Set(fresh)
		}
		return rename(v.Elem(), from, to, topicsOnly, inTopic)
	case reflect.String:
		if found = strings.Contains(v.String(), from) && (inTopic || !topicsOnly); found {
			v.SetString(strings.ReplaceAll(v.String(), from, to))
		}
	}
	return found
}

// TestNoNameIsBetrayed: whatever a client asks about a topic, a group or a
// transactional id that it must not see, it is told the same whether there is one or
// not. The second time it may everything but see topics.
func TestNoNameIsBetrayed(t *testing.T) {
	const there, nowhere = "secret", "absent"
	w := newSecured(t)
	w.topic(there, 1)
	w.topic("t", 1)
	id := there
	pid, epoch := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
	w.want(w.heart("m", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		r.Group, r.SubscribedTopicNames = there, []string{there}
	}).ErrorCode, nil)
	for _, topicsOnly := range []bool{false, true} {
		if topicsOnly {
			for _, kind := range []acl.ResourceType{kmsg.ACLResourceTypeGroup, kmsg.ACLResourceTypeTransactionalId} {
				w.allow(kind, "*", kmsg.ACLOperationAll, kmsg.ACLPermissionTypeAllow)
			}
		}
		compared := map[string]bool{}
		for key, h := range w.handlers {
			for v := max(h.min, map[bool]int16{true: 3}[kmsg.Key(key) == kmsg.Produce]); v <= h.max; v++ {
				for seed := range uint64(5) {
					ask := func(name string) ([]byte, bool) {
						req := kmsg.RequestForKey(key)
						req.SetVersion(v)
						filled(rand.New(rand.NewPCG(seed, uint64(key))), req)
						if !rename(reflect.ValueOf(req).Elem(), "t", name, topicsOnly, false) {
							return nil, false
						}
						resp := askAs[kmsg.Response](w, eve(), req)
						rename(reflect.ValueOf(resp).Elem(), nowhere, there, false, false)
						return resp.AppendTo(nil), true
					}
					got, any := ask(there)
					want, _ := ask(nowhere)
					if !bytes.Equal(got, want) {
						t.Errorf("%s version %d: %q, and where there is none %q (topics only: %t)", kmsg.NameForKey(key), v, got, want, topicsOnly)
					}
					compared[kmsg.NameForKey(key)] = compared[kmsg.NameForKey(key)] || any
				}
			}
		}
		for _, key := range []kmsg.Key{kmsg.Fetch, kmsg.Produce, kmsg.Metadata, kmsg.OffsetFetch, kmsg.DescribeTopicPartitions, kmsg.ConsumerGroupHeartbeat} {
			if !compared[key.Name()] {
				t.Errorf("%s was not asked", key.Name())
			}
		}
	}
}

// filled fills a request with names, such that it is answered.
func filled(rng *rand.Rand, req kmsg.Request) {
	name(rng, reflect.ValueOf(req).Elem(), [16]byte{1})
	switch req := req.(type) {
	case *kmsg.ProduceRequest:
		req.Acks = -1
	case *kmsg.FetchRequest:
		req.SessionID, req.SessionEpoch, req.ForgottenTopics = 0, noSessionEpoch, nil
	}
}

// TestOffsetsDoNotBetrayTopics: who may see a group and not the topics whose offsets it
// has is not told their names, however it asks.
func TestOffsetsDoNotBetrayTopics(t *testing.T) {
	w := newSecured(t)
	w.topic("t", 1)
	w.topic("mine", 1)
	w.want(w.commitAs("", -1, 0), nil)
	w.allow(kmsg.ACLResourceTypeGroup, "g", kmsg.ACLOperationDescribe, kmsg.ACLPermissionTypeAllow)
	w.allow(kmsg.ACLResourceTypeTopic, "mine", kmsg.ACLOperationDescribe, kmsg.ACLPermissionTypeAllow)
	all := kmsg.OffsetFetchRequestGroup{Group: "g", MemberEpoch: -1}
	some := all
	some.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: "mine", Partitions: []int32{0}}}
	another := all
	another.Group = "h"
	w.allow(kmsg.ACLResourceTypeGroup, "h", kmsg.ACLOperationDescribe, kmsg.ACLPermissionTypeAllow)
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version, commit.Group, commit.Generation = 8, "h", -1
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 1}}}}
	w.want(ask[*kmsg.OffsetCommitResponse](w, commit).Topics[0].Partitions[0].ErrorCode, nil)
	for what, groups := range map[string][]kmsg.OffsetFetchRequestGroup{
		"all": {all}, "all, then one": {all, some}, "one, then all": {some, all}, "all twice": {all, all},
		"more than there is room for": append(append(repeat(20_000, all), repeat(20_000, some)...), another),
	} {
		for v := int16(8); v <= 10; v++ {
			req := kmsg.NewPtrOffsetFetchRequest()
			req.Version, req.Groups = v, append([]kmsg.OffsetFetchRequestGroup{}, groups...)
			for _, g := range askAs[*kmsg.OffsetFetchResponse](w, eve(), req).Groups {
				for _, gt := range g.Topics {
					if gt.Topic == "t" || gt.TopicID == w.topics.byName("t").id {
						t.Errorf("%s, version %d: told %+v", what, v, gt)
					}
				}
			}
		}
	}
}

// TestRefusedCommitsAreNoSignOfLife: a commit to a group that a client must not read
// does not keep a member there that has gone.
func TestRefusedCommitsAreNoSignOfLife(t *testing.T) {
	w := newSecured(t)
	w.topic("t", 1)
	w.allow(kmsg.ACLResourceTypeTopic, "t", kmsg.ACLOperationAll, kmsg.ACLPermissionTypeAllow)
	m := w.joinClassic("")
	w.syncClassic(m.MemberID, m.Generation, map[string][]int32{m.MemberID: {0}})
	for range 8 {
		w.now = w.now.Add(10 * time.Second)
		w.Tick(w.now)
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group, req.MemberID, req.Generation = 8, "g", m.MemberID, m.Generation
		req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 1}}}}
		var resp *kmsg.OffsetCommitResponse
		w.Handle(eve(), req, func(r kmsg.Response) { resp = r.(*kmsg.OffsetCommitResponse) })
		w.want(resp.Topics[0].Partitions[0].ErrorCode, kerr.GroupAuthorizationFailed)
	}
	if code := w.heartClassic(m.MemberID, m.Generation); code == 0 {
		t.Error("the member is still there")
	}
}

// TestRulesApplyToFetchesThatWait: what is written after a client has lost its right is
// not told to a fetch that it sent before.
func TestRulesApplyToFetchesThatWait(t *testing.T) {
	w := newSecured(t)
	w.topic("t", 1)
	w.grant(onTopic(opRead)...)
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.MinBytes, req.MaxWaitMillis, req.SessionEpoch = 11, 1<<20, 1, 60_000, noSessionEpoch
	req.Topics = []kmsg.FetchRequestTopic{{Topic: "t", Partitions: []kmsg.FetchRequestTopicPartition{{PartitionMaxBytes: 1 << 20, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1}}}}
	var resp *fetchAnswer
	w.Handle(eve(), req, func(r kmsg.Response) { resp = r.(*fetchAnswer) })
	if resp != nil {
		t.Fatalf("answered with %+v", resp.FetchResponse)
	}
	w.grant()
	w.want(w.produce(11, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
	w.pass(0)
	if resp == nil {
		t.Fatal("still waits")
	}
	if w.want(resp.Topics[0].Partitions[0].ErrorCode, kerr.TopicAuthorizationFailed); fetchedBytes(resp) > 0 {
		t.Errorf("told %d bytes", fetchedBytes(resp))
	}
}

// TestIdsAreNoSecret: a topic that is given by its id is refused as with Kafka, and its
// name is told to who may see it only.
func TestIdsAreNoSecret(t *testing.T) {
	w := newSecured(t)
	w.topic("t", 1)
	id := w.topics.byName("t").id
	metadata := func() kmsg.MetadataResponseTopic {
		req := kmsg.NewPtrMetadataRequest()
		req.Version, req.Topics = 12, []kmsg.MetadataRequestTopic{{TopicID: id}}
		return askAs[*kmsg.MetadataResponse](w, eve(), req).Topics[0]
	}
	remove := func() kmsg.DeleteTopicsResponseTopic {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version, req.Topics = 6, []kmsg.DeleteTopicsRequestTopic{{TopicID: id}}
		return askAs[*kmsg.DeleteTopicsResponse](w, eve(), req).Topics[0]
	}
	seen, dropped := metadata(), remove()
	w.want(seen.ErrorCode, kerr.TopicAuthorizationFailed)
	w.want(dropped.ErrorCode, kerr.TopicAuthorizationFailed)
	if seen.Topic != nil || dropped.Topic != nil || seen.TopicID != id || dropped.TopicID != id {
		t.Errorf("told %+v and %+v", seen, dropped)
	}
	w.grant(onTopic(opDescribe)...)
	w.want(metadata().ErrorCode, nil)
	if dropped = remove(); deref(dropped.Topic) != "t" || dropped.ErrorCode != kerr.TopicAuthorizationFailed.Code {
		t.Errorf("told %+v", dropped)
	}
}

// TestOperationsAreToldToWhoMaySee: what a client may do to the cluster it is told if it
// may see it.
func TestOperationsAreToldToWhoMaySee(t *testing.T) {
	w := newSecured(t)
	for _, test := range []struct {
		rights []right
		want   int32
	}{
		{ofCluster(opCreate), 0},
		{ofCluster(opAlter), 1<<opAlter | 1<<opDescribe},
		{anyOf(ofCluster(opCreate), ofCluster(opDescribe)), 1<<opCreate | 1<<opDescribe},
	} {
		w.grant(test.rights...)
		cluster, metadata := kmsg.NewPtrDescribeClusterRequest(), kmsg.NewPtrMetadataRequest()
		cluster.IncludeClusterAuthorizedOperations = true
		metadata.Version, metadata.IncludeClusterAuthorizedOperations = 8, true
		one := askAs[*kmsg.DescribeClusterResponse](w, eve(), cluster).ClusterAuthorizedOperations
		other := askAs[*kmsg.MetadataResponse](w, eve(), metadata).AuthorizedOperations
		if one != test.want || other != test.want {
			t.Errorf("with %v told %b and %b, want %b", test.rights, one, other, test.want)
		}
	}
}
