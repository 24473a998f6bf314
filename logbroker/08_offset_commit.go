package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
	"github.com/levada/levada/logbroker/meta"
)

// maxOffsetMetadata bounds the text kept with an offset, as Kafka's
// offset.metadata.max.bytes.
const maxOffsetMetadata = 4096

// handleOffsetCommit answers OffsetCommit, versions 2 to 10: 6 has leader
// epochs, 7 static members, 9 member epochs (KIP-848), 10 topic ids. It answers when the offsets are on
// disk.
func (b *Broker) handleOffsetCommit(r *request) {
	req := r.msg.(*kmsg.OffsetCommitRequest)
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	g := b.coordinator()
	now := b.now()
	var refused error
	if req.Group == "" {
		refused = kerr.InvalidGroupID
	}
	known := req.Group != "" && g.do(req.Group, false, nil, func(e *groupEntry, _ group.RequestID) []group.Answer {
		refused = e.check(req.MemberID, deref(req.InstanceID), req.Generation, false)
		if refused == nil && req.Version < 9 && e.consumer != nil && e.consumer.OfConsumerProtocol(req.MemberID) {
			refused = kerr.UnsupportedVersion
		}
		if refused == nil {
			e.seen(now, req.MemberID)
		}
		return nil
	})
	if !known && refused == nil && req.Generation >= 0 {
		refused = b.noSuchMember(req)
	}
	c := offsetCommit{group: req.Group}
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		topic, unknown := b.offsetTopic(req.Version >= 10, t.Topic, t.TopicID)
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition = p.Partition
			switch {
			case topic == nil: // said first, as Kafka does
				rp.ErrorCode = unknown
			case p.Partition < 0 || int(p.Partition) >= len(topic.parts()):
				rp.ErrorCode = kerr.UnknownTopicOrPartition.Code
			case refused != nil:
				rp.ErrorCode = groupCode(refused)
			case len(deref(p.Metadata)) > maxOffsetMetadata:
				rp.ErrorCode = kerr.OffsetMetadataTooLarge.Code
			default:
				c.offsets = append(c.offsets, topicOffset{topic, meta.Offset{
					Topic: topic.name, Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch,
					Metadata: deref(p.Metadata), CommittedMs: now.UnixMilli(),
				}})
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if len(c.offsets) == 0 {
		r.respond(resp)
		return
	}
	c.done = func(err error) {
		if err != nil {
			failCommit(resp)
		}
		r.respond(resp)
	}
	g.commitOffsets(c)
}

// noSuchMember is what a member is told whose group has no members: it may have
// offsets, or not exist.
func (b *Broker) noSuchMember(req *kmsg.OffsetCommitRequest) error {
	offsets, err := b.meta.Offsets(req.Group)
	switch {
	case err != nil:
		return kerr.CoordinatorNotAvailable // which clients retry
	case len(offsets) > 0 || b.meta.HasPending(req.Group):
		return kerr.UnknownMemberID
	case req.Version >= 9:
		return kerr.GroupIDNotFound
	}
	return kerr.IllegalGeneration
}

// offsetTopic finds a topic by its name, or by its id where requests have ids.
func (b *Broker) offsetTopic(byID bool, name string, id [16]byte) (*topic, int16) {
	if byID {
		return b.topics.byID(id), kerr.UnknownTopicID.Code
	}
	return b.topics.byName(name), kerr.UnknownTopicOrPartition.Code
}

// failCommit refuses what was accepted: it could not be stored.
func failCommit(resp *kmsg.OffsetCommitResponse) {
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			if p := &resp.Topics[i].Partitions[j]; p.ErrorCode == 0 {
				p.ErrorCode = kerr.CoordinatorNotAvailable.Code // which clients retry
			}
		}
	}
}
