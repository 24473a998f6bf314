package logbroker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/meta"
)

// handleOffsetFetch answers OffsetFetch, versions 1 to 10: 2 may ask for all
// topics, 7 for stable offsets only (KIP-447), 8 for several groups, 9 as a
// member (KIP-848), 10 has topic ids. A group or a partition without an offset is offset -1 and no
// error. Commits that came before are waited for.
func (b *Broker) handleOffsetFetch(r *request) {
	b.coordinator().afterCommits(func() { b.fetchOffsets(r) })
}

func (b *Broker) fetchOffsets(r *request) {
	req := r.msg.(*kmsg.OffsetFetchRequest)
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	left := maxRoom
	f := offsetFetch{
		b: b, req: req, groups: repeatsIn[string, kmsg.OffsetFetchResponseGroup](&left),
		parts: repeatsIn[offsetPlace, kmsg.OffsetFetchResponseGroupTopicPartition](&left),
	}
	if req.Version >= 8 {
		var answered []kmsg.OffsetFetchRequestGroup
		for _, g := range req.Groups {
			if resp.Groups = f.add(resp.Groups, g); len(resp.Groups) > len(answered) {
				answered = append(answered, g)
			}
		}
		req.Groups = answered // guards hold them against the answers
		r.respond(resp)
		return
	}
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = req.Group
	for _, t := range req.Topics {
		gt := kmsg.NewOffsetFetchRequestGroupTopic()
		gt.Topic, gt.Partitions = t.Topic, t.Partitions
		g.Topics = append(g.Topics, gt)
	}
	if req.Topics != nil && g.Topics == nil {
		g.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	got := f.add(nil, g)[0]
	resp.ErrorCode = got.ErrorCode
	for _, t := range got.Topics {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetFetchResponseTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata, rp.ErrorCode = p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	r.respond(resp)
}

// offsetFetch answers one OffsetFetch.
type offsetFetch struct {
	b      *Broker
	req    *kmsg.OffsetFetchRequest
	groups repeats[string, kmsg.OffsetFetchResponseGroup] // of which all offsets are asked for
	parts  repeats[offsetPlace, kmsg.OffsetFetchResponseGroupTopicPartition]
}

type offsetPlace struct {
	group, topic string
	id           [16]byte
	partition    int32
}

// add appends what is to be told of a group.
func (f *offsetFetch) add(list []kmsg.OffsetFetchResponseGroup, g kmsg.OffsetFetchRequestGroup) []kmsg.OffsetFetchResponseGroup {
	if err := f.b.checkFetch(g); err != nil {
		out := kmsg.NewOffsetFetchResponseGroup()
		out.Group, out.ErrorCode = g.Group, groupCode(err)
		return append(list, out)
	}
	if g.Topics != nil {
		return append(list, f.group(g))
	}
	return f.groups.add(list, g.Group, func() kmsg.OffsetFetchResponseGroup { return f.group(g) })
}

// group reads the offsets of one group; nil topics are all that it has.
func (f *offsetFetch) group(g kmsg.OffsetFetchRequestGroup) kmsg.OffsetFetchResponseGroup {
	b, req := f.b, f.req
	out := kmsg.NewOffsetFetchResponseGroup()
	out.Group = g.Group
	topics := g.Topics
	if topics == nil {
		all, err := b.meta.Offsets(g.Group)
		if err != nil {
			b.log.Error("offsets cannot be read", "group", g.Group, "error", err)
			out.ErrorCode = kerr.UnknownServerError.Code
			return out
		}
		topics = b.topicsOf(all)
	}
	for _, t := range topics {
		rt := kmsg.NewOffsetFetchResponseGroupTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		found, unknown := b.offsetTopic(req.Version >= 10, t.Topic, t.TopicID)
		name := t.Topic
		if found != nil {
			name = found.name
		}
		for _, n := range t.Partitions {
			tell := func() kmsg.OffsetFetchResponseGroupTopicPartition {
				rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
				rp.Partition = n
				if found == nil && req.Version >= 10 {
					rp.Offset, rp.LeaderEpoch, rp.Metadata, rp.ErrorCode = -1, -1, new(string), unknown
				} else {
					b.fillOffset(&rp, g.Group, name, n, req.RequireStable)
				}
				return rp
			}
			if g.Topics == nil {
				rt.Partitions = append(rt.Partitions, tell())
			} else {
				rt.Partitions = f.parts.add(rt.Partitions, offsetPlace{g.Group, t.Topic, t.TopicID, n}, tell)
			}
		}
		out.Topics = append(out.Topics, rt)
	}
	return out
}

// checkFetch refuses a member of the consumer protocol that does not know its
// epoch. Without a member the offsets are anybody's.
func (b *Broker) checkFetch(g kmsg.OffsetFetchRequestGroup) error {
	if g.MemberID == nil && g.MemberEpoch < 0 {
		return nil
	}
	c := b.coordinator()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.find(g.Group, false)
	switch {
	case e == nil || e.consumer == nil: // its offsets, if it has any, are anybody's
		return nil
	case g.MemberID == nil: // Kafka stumbles over an epoch of nobody
		return kerr.UnknownServerError
	}
	return e.consumer.CheckMember(*g.MemberID, g.MemberEpoch)
}

// topicsOf groups offsets by topic.
func (b *Broker) topicsOf(all []meta.Offset) []kmsg.OffsetFetchRequestGroupTopic {
	var out []kmsg.OffsetFetchRequestGroupTopic
	for _, o := range all {
		i := slices.IndexFunc(out, func(t kmsg.OffsetFetchRequestGroupTopic) bool { return t.Topic == o.Topic })
		if i < 0 {
			t := kmsg.NewOffsetFetchRequestGroupTopic()
			t.Topic = o.Topic
			if found := b.topics.byName(o.Topic); found != nil {
				t.TopicID = found.id
			}
			out = append(out, t)
			i = len(out) - 1
		}
		out[i].Partitions = append(out[i].Partitions, o.Partition)
	}
	return out
}

func (b *Broker) fillOffset(rp *kmsg.OffsetFetchResponseGroupTopicPartition, group, topic string, partition int32, stable bool) {
	empty := ""
	rp.Offset, rp.LeaderEpoch, rp.Metadata = -1, -1, &empty
	if stable && b.meta.Unstable(group, topic, partition) {
		rp.ErrorCode = kerr.UnstableOffsetCommit.Code
		return
	}
	o, ok, err := b.meta.Offset(group, topic, partition)
	switch {
	case err != nil:
		b.log.Error("an offset cannot be read", "group", group, "topic", topic, "partition", partition, "error", err)
		rp.ErrorCode = kerr.UnknownServerError.Code
	case ok:
		rp.Offset, rp.LeaderEpoch, rp.Metadata = o.Offset, o.LeaderEpoch, &o.Metadata
	}
}
