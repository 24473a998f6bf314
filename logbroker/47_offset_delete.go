package logbroker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

// handleOffsetDelete answers OffsetDelete, version 0 (KIP-496). What a member
// subscribes to stays.
func (b *Broker) handleOffsetDelete(r *request) {
	req := r.msg.(*kmsg.OffsetDeleteRequest)
	b.spawn(func() { r.respond(b.deleteOffsets(req)) })
}

func (b *Broker) deleteOffsets(req *kmsg.OffsetDeleteRequest) *kmsg.OffsetDeleteResponse {
	resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
	if req.Group == "" {
		resp.ErrorCode = kerr.InvalidGroupID.Code
		return resp
	}
	g := b.coordinator()
	g.persist.Lock()
	defer g.persist.Unlock()
	g.mu.Lock()
	e := g.find(req.Group, false)
	members, subscribed := 0, map[string]bool{}
	if e != nil {
		members = e.members()
		subscribed = subscriptions(e)
	}
	g.mu.Unlock()
	switch {
	case e == nil:
		resp.ErrorCode = kerr.GroupIDNotFound.Code
		return resp
	case members > 0 && subscribed == nil:
		resp.ErrorCode = kerr.NonEmptyGroup.Code
		return resp
	}
	batch := b.meta.NewBatch()
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetDeleteResponseTopic()
		rt.Topic = t.Topic
		topic := b.topics.byName(t.Topic)
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetDeleteResponseTopicPartition()
			rp.Partition = p.Partition
			switch {
			case topic == nil || p.Partition < 0 || int(p.Partition) >= len(topic.parts()):
				rp.ErrorCode = kerr.UnknownTopicOrPartition.Code
			case subscribed[t.Topic]:
				rp.ErrorCode = kerr.GroupSubscribedToTopic.Code
			default:
				batch.DeleteOffset(req.Group, t.Topic, p.Partition)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if b.commit(batch) != nil {
		resp.ErrorCode, resp.Topics = kerr.NotCoordinator.Code, nil
	}
	return resp
}

// subscriptions are the topics that members of a consumer group read; nil if
// that cannot be told.
func subscriptions(e *groupEntry) map[string]bool {
	out := map[string]bool{}
	if e.consumer != nil {
		for _, name := range e.consumer.Subscribed() {
			out[name] = true
		}
		return out
	}
	gr := e.classic
	for _, m := range gr.Members {
		if gr.ProtocolType != "consumer" || len(m.Protocols) == 0 {
			return nil
		}
		i := max(slices.IndexFunc(m.Protocols, func(p group.Protocol) bool { return p.Name == gr.Protocol }), 0)
		var meta kmsg.ConsumerMemberMetadata
		// As in Kafka: topics are read as of version 0, all others have them there, too.
		raw := slices.Clone(m.Protocols[i].Metadata)
		if len(raw) < 2 {
			return nil
		}
		raw[0], raw[1] = 0, 0
		if meta.ReadFrom(raw) != nil {
			return nil
		}
		for _, t := range meta.Topics {
			out[t] = true
		}
	}
	return out
}
