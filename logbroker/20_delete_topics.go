package logbroker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleDeleteTopics answers DeleteTopics, versions 1 to 6: 6 names topics by
// id, too.
func (b *Broker) handleDeleteTopics(r *request) {
	req := r.msg.(*kmsg.DeleteTopicsRequest)
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	topics := req.Topics
	if req.Version < 6 {
		topics = nil
		for _, name := range req.TopicNames {
			t := kmsg.NewDeleteTopicsRequestTopic()
			t.Topic = &name
			topics = append(topics, t)
		}
	}
	b.spawn(func() {
		if late := hasNoTime(req.TimeoutMillis, timesNamed(topics)); late != nil {
			resp.Topics, topics = refuseDeletions(topics, late), nil
		} else {
			topics, resp.Topics = b.nameOnce(topics)
		}
		for _, t := range topics {
			rt := kmsg.NewDeleteTopicsResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			found, unknown := b.offsetTopic(t.Topic == nil, deref(t.Topic), t.TopicID)
			switch {
			case found == nil:
				rt.ErrorCode = unknown
			case !b.mutate(r, len(found.parts()), req.Version >= 5):
				rt.ErrorCode, rt.ErrorMessage = alterError(kerr.ThrottlingQuotaExceeded)
			default:
				rt.Topic, rt.TopicID = &found.name, found.id
				if err := b.topics.delete(found); err != nil {
					b.log.Error("topic was not deleted", "topic", found.name, "error", err)
					rt.ErrorCode = errorCode(err)
					text := errorMessage(kerr.ErrorForCode(rt.ErrorCode))
					rt.ErrorMessage = &text
				}
			}
			resp.Topics = append(resp.Topics, rt)
		}
		r.conn.throttle(resp, r.throttle, b.now())
		r.respond(resp)
	})
}

// timesNamed is how often a request names each topic, by its name or by its id.
func timesNamed(topics []kmsg.DeleteTopicsRequestTopic) map[string]int {
	n := map[string]int{}
	for _, t := range topics {
		switch {
		case t.TopicID == [16]byte{} && t.Topic != nil:
			n["name "+*t.Topic]++
		case t.TopicID != [16]byte{} && t.Topic == nil:
			n["id "+string(t.TopicID[:])]++
		}
	}
	return n
}

func refuseDeletions(topics []kmsg.DeleteTopicsRequestTopic, err error) (refused []kmsg.DeleteTopicsResponseTopic) {
	for _, t := range topics {
		rt := kmsg.NewDeleteTopicsResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		rt.ErrorCode, rt.ErrorMessage = alterError(err)
		refused = append(refused, rt)
	}
	return refused
}

// nameOnce gives the topics that a request names once, and refuses the others as Kafka
// does: those that it names twice, also once by name and once by id, and what names none.
func (b *Broker) nameOnce(topics []kmsg.DeleteTopicsRequestTopic) (rest []kmsg.DeleteTopicsRequestTopic, refused []kmsg.DeleteTopicsResponseTopic) {
	refuse := func(name *string, id [16]byte, why string) {
		rt := kmsg.NewDeleteTopicsResponseTopic()
		rt.Topic, rt.TopicID = name, id
		rt.ErrorCode, rt.ErrorMessage = alterError(fmt.Errorf("%w: %s", kerr.InvalidRequest, why))
		refused = append(refused, rt)
	}
	names, ids := map[string]int{}, map[[16]byte]int{}
	for _, t := range topics {
		switch {
		case t.Topic == nil:
			ids[t.TopicID]++
		case t.TopicID == [16]byte{}:
			names[*t.Topic]++
		}
	}
	toldName, toldID := map[string]bool{}, map[[16]byte]bool{}
	for _, t := range topics {
		switch {
		case t.Topic != nil && t.TopicID != [16]byte{}:
			refuse(t.Topic, t.TopicID, "give the topic's name or its id, not both")
		case t.Topic == nil && t.TopicID == [16]byte{}:
			refuse(nil, t.TopicID, "give the topic's name or its id")
		case t.Topic == nil:
			if toldID[t.TopicID] {
				continue
			}
			toldID[t.TopicID] = true
			if ids[t.TopicID] > 1 {
				refuse(nil, t.TopicID, "the id is given twice")
			} else if found := b.topics.byID(t.TopicID); found == nil || names[found.name] != 1 {
				rest = append(rest, t)
			} // otherwise it is refused by its name
		case !toldName[*t.Topic]:
			toldName[*t.Topic] = true
			if names[*t.Topic] > 1 {
				refuse(t.Topic, t.TopicID, "the name is given twice")
			} else if found := b.topics.byName(*t.Topic); found != nil && ids[found.id] > 0 {
				refuse(t.Topic, found.id, "the topic is given by its name and by its id")
			} else {
				rest = append(rest, t)
			}
		}
	}
	return rest, refused
}
