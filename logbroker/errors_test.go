package logbroker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestZombiesAreFenced: whatever a producer sends under an epoch that another has
// taken over is refused, in every version, in the words that the version knows: its
// client must give up.
func TestZombiesAreFenced(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	pid, old := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, old, 0, true, "aborted")).ErrorCode, nil)
	_, epoch := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "open")).ErrorCode, nil)
	before := w.state()
	// known is the first version that knows PRODUCER_FENCED.
	for _, test := range []struct {
		key      kmsg.Key
		known    int16
		from, to int16
		send     func(version int16) int16
	}{
		{kmsg.Produce, 99, 3, 13, func(v int16) int16 {
			return w.produce(v, &id, 0, oneRecord(pid, old, 1, true, "zombie")).ErrorCode
		}},
		{kmsg.AddPartitionsToTxn, 2, 0, 3, func(v int16) int16 {
			req := kmsg.NewPtrAddPartitionsToTxnRequest()
			req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = v, id, pid, old
			req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "t", Partitions: []int32{0}}}
			return ask[*kmsg.AddPartitionsToTxnResponse](w, req).Topics[0].Partitions[0].ErrorCode
		}},
		{kmsg.AddOffsetsToTxn, 2, 0, 4, func(v int16) int16 {
			req := kmsg.NewPtrAddOffsetsToTxnRequest()
			req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = v, id, pid, old, "g"
			return ask[*kmsg.AddOffsetsToTxnResponse](w, req).ErrorCode
		}},
		{kmsg.TxnOffsetCommit, 99, 0, 5, func(v int16) int16 {
			req := kmsg.NewPtrTxnOffsetCommitRequest()
			req.Version, req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = v, id, "g", pid, old, -1
			p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p}}}
			return ask[*kmsg.TxnOffsetCommitResponse](w, req).Topics[0].Partitions[0].ErrorCode
		}},
		{kmsg.EndTxn, 2, 0, 5, func(v int16) int16 { return w.endTxn(v, id, pid, old, true).ErrorCode }},
		{kmsg.InitProducerID, 4, 3, 5, func(v int16) int16 {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.Version, req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = v, &id, 60_000, pid, old
			return ask[*kmsg.InitProducerIDResponse](w, req).ErrorCode
		}},
	} {
		for v := test.from; v <= test.to; v++ {
			want := kerr.ProducerFenced
			if v < test.known {
				want = kerr.InvalidProducerEpoch
			}
			if got := test.send(v); got != want.Code {
				t.Errorf("%s version %d: %v, want %v", kmsg.NameForKey(int16(test.key)), v, kerr.ErrorForCode(got), want)
			}
		}
	}
	if after := w.state(); after != before {
		t.Errorf("the zombie changed something:\n%s\nwas\n%s", after, before)
	}
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
	w.wantValues(0, "open")
}

// TestUnknownGroupsHaveNoOffsets: what nobody committed is offset -1, and no error,
// in every version; librdkafka takes nothing else.
func TestUnknownGroupsHaveNoOffsets(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.want(w.commitAs("", -1), nil) // by group g
	for version := int16(1); version <= 10; version++ {
		for _, group := range []string{"g", "nobody"} {
			req := kmsg.NewPtrOffsetFetchRequest()
			req.Version, req.Group, req.RequireStable = version, group, true
			// A partition and a topic that there are not, beside those that there are.
			req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0, 9}}, {Topic: "nowhere", Partitions: []int32{0}}}
			rg := kmsg.NewOffsetFetchRequestGroup()
			rg.Group = group
			rg.Topics = []kmsg.OffsetFetchRequestGroupTopic{
				{Topic: "t", TopicID: w.topics.byName("t").id, Partitions: []int32{0, 9}}, {Topic: "nowhere", Partitions: []int32{0}},
			}
			req.Groups = []kmsg.OffsetFetchRequestGroup{rg}
			resp := ask[*kmsg.OffsetFetchResponse](w, req)
			var got []string
			code := resp.ErrorCode
			for _, topic := range resp.Topics {
				for _, p := range topic.Partitions {
					got = append(got, fmt.Sprint(p.Offset, " ", p.ErrorCode, " ", deref(p.Metadata)))
				}
			}
			for _, g := range resp.Groups {
				code = g.ErrorCode
				for _, topic := range g.Topics {
					for _, p := range topic.Partitions {
						got = append(got, fmt.Sprint(p.Offset, " ", p.ErrorCode, " ", deref(p.Metadata)))
					}
				}
			}
			want := []string{"-1 0 ", "-1 0 ", "-1 0 "}
			if group == "g" {
				want[0] = "1 0 "
			}
			if version >= 10 { // an id, too, is unknown
				want[2] = fmt.Sprint("-1 ", kerr.UnknownTopicID.Code, " ")
			}
			if code != 0 || !slices.Equal(got, want) {
				t.Errorf("version %d, group %s: error %d, %q, want %q", version, group, code, got, want)
			}
		}
	}
}

// TestConfigsThatAreRefused: INVALID_CONFIG for each kind of wrong value, in each
// request that sets one, also where nothing is to be done.
func TestConfigsThatAreRefused(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	before := w.state()
	for _, bad := range []string{
		"nonsense=1", "retention.ms=soon", "retention.ms=-2", "retention.ms=", "cleanup.policy=shred", "cleanup.policy=COMPACT", "cleanup.policy=compact,,delete", "cleanup.policy=compact,", "remote.storage.enable=true", "compression.gzip.level=0",
		"min.cleanable.dirty.ratio=1.5", "segment.bytes=1048575", "segment.bytes=2147483648", "internal.segment.bytes=much", "max.message.bytes=-1", "compression.type=rar", "message.timestamp.type=Now",
		"preallocate=maybe", "max.compaction.lag.ms=0", "min.compaction.lag.ms=99999999999999999999",
	} {
		name, value, _ := strings.Cut(bad, "=")
		for _, validate := range []bool{true, false} {
			create := kmsg.NewPtrCreateTopicsRequest()
			create.Version, create.ValidateOnly = 7, validate
			ct := kmsg.NewCreateTopicsRequestTopic()
			ct.Topic, ct.NumPartitions, ct.ReplicationFactor = "new", 1, 1
			ct.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: name, Value: &value}}
			create.Topics = append(create.Topics, ct)
			alter := kmsg.NewPtrAlterConfigsRequest()
			alter.Version, alter.ValidateOnly = 2, validate
			alter.Resources = []kmsg.AlterConfigsRequestResource{{
				ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: name, Value: &value}},
			}}
			set := kmsg.NewPtrIncrementalAlterConfigsRequest()
			set.Version, set.ValidateOnly = 1, validate
			set.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
				ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t",
				Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: name, Value: &value}},
			}}
			for what, code := range map[string]int16{
				"CreateTopics":            ask[*kmsg.CreateTopicsResponse](w, create).Topics[0].ErrorCode,
				"AlterConfigs":            ask[*kmsg.AlterConfigsResponse](w, alter).Resources[0].ErrorCode,
				"IncrementalAlterConfigs": ask[*kmsg.IncrementalAlterConfigsResponse](w, set).Resources[0].ErrorCode,
			} {
				if code != kerr.InvalidConfig.Code {
					t.Errorf("%s of %s, validate only %v: %v", what, bad, validate, kerr.ErrorForCode(code))
				}
			}
		}
	}
	if after := w.state(); after != before {
		t.Errorf("something changed:\n%s\nwas\n%s", after, before)
	}
}
