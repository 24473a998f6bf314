package differential

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (w *world) commit(rng *rand.Rand, group, topic string, partition int32) operation {
	offset := int64(rng.IntN(5))
	member, generation := pick(rng, "", "", "", "nobody"), pick(rng, int32(-1), -1, -1, 3)
	metadata := strings.Repeat("m", pick(rng, 0, 3, 5000))
	version := pick(rng, int16(8), 9)
	if w.right {
		member, generation, metadata = "", -1, "m"
	}
	text := fmt.Sprintf("OffsetCommit v%d %s %s-%d to %d as %q generation %d, metadata %d", version, group, topic, partition, offset, member, generation, len(metadata))
	return operation{text: text, do: func(b *broker) string {
		return settle(func() string {
			req := kmsg.NewPtrOffsetCommitRequest()
			req.Version, req.Group, req.MemberID, req.Generation = version, group, member, generation
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic = topic
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = partition, offset, -1, &metadata
			t.Partitions = append(t.Partitions, p)
			req.Topics = append(req.Topics, t)
			return codeName(b.ask(req).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
		}, kerr.NotCoordinator.Message, kerr.CoordinatorLoadInProgress.Message, kerr.CoordinatorNotAvailable.Message)
	}}
}

func (w *world) offsets(group, topic string, partition int32) operation {
	return operation{reads: true, text: fmt.Sprintf("OffsetFetch %s %s-%d", group, topic, partition), do: func(b *broker) string {
		return settle(func() string {
			req := kmsg.NewPtrOffsetFetchRequest()
			req.Version = 8
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group = group
			t := kmsg.NewOffsetFetchRequestGroupTopic()
			t.Topic, t.Partitions = topic, []int32{partition}
			g.Topics = append(g.Topics, t)
			req.Groups = append(req.Groups, g)
			got := b.ask(req).(*kmsg.OffsetFetchResponse).Groups[0]
			if got.ErrorCode != 0 {
				return codeName(got.ErrorCode)
			}
			p := got.Topics[0].Partitions[0]
			metadata := ""
			if p.Metadata != nil {
				metadata = *p.Metadata
			}
			return fmt.Sprint(codeName(p.ErrorCode), " ", p.Offset, " ", p.LeaderEpoch, " ", len(metadata))
		}, kerr.NotCoordinator.Message, kerr.CoordinatorLoadInProgress.Message, kerr.UnstableOffsetCommit.Message)
	}}
}

func (w *world) describeGroup(group string) operation {
	return operation{reads: true, text: "DescribeGroups " + group, do: func(b *broker) string {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Version, req.Groups = 5, []string{group}
		got := b.ask(req).(*kmsg.DescribeGroupsResponse).Groups[0]
		return fmt.Sprint(codeName(got.ErrorCode), " ", got.State, " ", len(got.Members))
	}}
}

func (w *world) deleteGroup(group string) operation {
	return operation{text: "DeleteGroups " + group, do: func(b *broker) string {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Version, req.Groups = 2, []string{group}
		return codeName(b.ask(req).(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode)
	}}
}

func (w *world) coordinator(rng *rand.Rand, key string) operation {
	kind := pick(rng, int8(0), 1, 7)
	if rng.IntN(3) == 0 {
		key = ""
	}
	return operation{text: fmt.Sprintf("FindCoordinator %q type %d", key, kind), do: func(b *broker) string {
		return settle(func() string {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.Version, req.CoordinatorKeys, req.CoordinatorType = 4, []string{key}, kind
			return codeName(b.ask(req).(*kmsg.FindCoordinatorResponse).Coordinators[0].ErrorCode)
		}, kerr.CoordinatorNotAvailable.Message)
	}}
}

// groupErrors are requests of members that do not exist, or ask for what cannot be.
func (w *world) groupErrors(rng *rand.Rand, group string) operation {
	name := group
	if rng.IntN(6) == 0 {
		name = ""
	}
	kind := rng.IntN(6)
	return operation{text: fmt.Sprintf("group request %d of %q", kind, name), do: func(b *broker) string {
		switch kind {
		case 0:
			req := kmsg.NewPtrHeartbeatRequest()
			req.Version, req.Group, req.MemberID, req.Generation = 4, name, "nobody", 1
			return codeName(b.ask(req).(*kmsg.HeartbeatResponse).ErrorCode)
		case 1:
			req := kmsg.NewPtrSyncGroupRequest()
			req.Version, req.Group, req.MemberID, req.Generation = 3, name, "nobody", 1
			return codeName(b.ask(req).(*kmsg.SyncGroupResponse).ErrorCode)
		case 2:
			req := kmsg.NewPtrLeaveGroupRequest()
			req.Version, req.Group = 4, name
			m := kmsg.NewLeaveGroupRequestMember()
			m.MemberID = "nobody"
			req.Members = append(req.Members, m)
			got := b.ask(req).(*kmsg.LeaveGroupResponse)
			out := codeName(got.ErrorCode)
			for _, m := range got.Members {
				out += " " + codeName(m.ErrorCode)
			}
			return out
		case 3:
			req := kmsg.NewPtrJoinGroupRequest()
			req.Version, req.Group, req.MemberID, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 7, name, "nobody", "consumer", 10_000, 10_000
			req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
			return codeName(b.ask(req).(*kmsg.JoinGroupResponse).ErrorCode)
		case 4:
			req := kmsg.NewPtrJoinGroupRequest()
			req.Version, req.Group, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 7, name, "consumer", 1, 10_000
			req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
			return codeName(b.ask(req).(*kmsg.JoinGroupResponse).ErrorCode)
		}
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = name
		t := kmsg.NewOffsetDeleteRequestTopic()
		t.Topic = w.topics[0]
		t.Partitions = []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}
		req.Topics = append(req.Topics, t)
		got := b.ask(req).(*kmsg.OffsetDeleteResponse)
		out := codeName(got.ErrorCode)
		if got.ErrorCode == 0 {
			out += " " + codeName(got.Topics[0].Partitions[0].ErrorCode)
		}
		return out
	}}
}
