package logbroker

import (
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
