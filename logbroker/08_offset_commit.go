package logbroker

import (
	"errors"
	"time"

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
	now := b.now()
	c := offsetCommit{group: req.Group}
	known := false // one of the partitions
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
			case len(deref(p.Metadata)) > maxOffsetMetadata:
				rp.ErrorCode, known = kerr.OffsetMetadataTooLarge.Code, true
			default:
				known = true
				c.offsets = append(c.offsets, topicOffset{topic, meta.Offset{
					Topic: topic.name, Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch,
					Metadata: deref(p.Metadata), CommittedMs: now.UnixMilli(),
				}})
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		if len(rt.Partitions) > 0 { // Kafka leaves out those of which nothing is asked
			resp.Topics = append(resp.Topics, rt)
		}
	}
	c.done = func(err error) {
		if err != nil {
			failCommit(resp, kerr.NotCoordinator) // which clients retry
		}
		r.respond(resp)
	}
	if !known { // no group hears of it
		r.respond(resp)
		return
	}
	refused := b.coordinator().commitOffsets(c, req.Generation, func(e *groupEntry) error { return checkCommit(e, req, c.offsets, now) })
	switch {
	case errors.Is(refused, errNoGroup) && req.Version >= 9:
		failCommit(resp, kerr.GroupIDNotFound)
	case refused != nil:
		failCommit(resp, refused)
	case len(c.offsets) > 0:
		return // done answers
	}
	r.respond(resp)
}

// checkCommit tells whether a member may commit. As in Kafka, who may not commit one of the
// offsets commits none.
func checkCommit(e *groupEntry, req *kmsg.OffsetCommitRequest, offsets []topicOffset, now time.Time) error {
	if req.Version < 9 && e.consumer != nil && e.consumer.OfConsumerProtocol(req.MemberID) {
		return kerr.UnsupportedVersion // whatever its epoch, as in Kafka
	}
	if err := e.check(req.MemberID, group.InstanceOf(req.InstanceID), req.Generation, false, offsets); err != nil {
		return err
	}
	e.seen(now, req.MemberID)
	return nil
}

// offsetTopic finds a topic by its name, or by its id where requests have ids.
func (b *Broker) offsetTopic(byID bool, name string, id [16]byte) (*topic, int16) {
	if byID {
		return b.topics.byID(id), kerr.UnknownTopicID.Code
	}
	return b.topics.byName(name), kerr.UnknownTopicOrPartition.Code
}

// failCommit refuses what the topics would allow: it is not stored. Who may not
// commit is told that and not that its text is too long.
func failCommit(resp *kmsg.OffsetCommitResponse, err error) {
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			if p := &resp.Topics[i].Partitions[j]; p.ErrorCode == 0 || p.ErrorCode == kerr.OffsetMetadataTooLarge.Code {
				p.ErrorCode = groupCode(err)
			}
		}
	}
}
