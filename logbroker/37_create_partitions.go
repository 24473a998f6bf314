package logbroker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleCreatePartitions answers CreatePartitions, versions 0 to 3 (KIP-195):
// topics get more partitions.
func (b *Broker) handleCreatePartitions(r *request) {
	req := r.msg.(*kmsg.CreatePartitionsRequest)
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	b.spawn(func() {
		seen := map[string]int{}
		for _, t := range req.Topics {
			seen[t.Topic]++
		}
		late := hasNoTime(req.TimeoutMillis, seen)
		for _, t := range req.Topics {
			if seen[t.Topic] == 0 && late == nil {
				continue // was named twice, and answered once
			}
			rt := kmsg.NewCreatePartitionsResponseTopic()
			rt.Topic = t.Topic
			err := fmt.Errorf("%w: topic %q is named twice", kerr.InvalidRequest, t.Topic)
			switch {
			case late != nil:
				err = late
			case seen[t.Topic] == 1:
				err = b.createPartitions(r, t, req)
			}
			seen[t.Topic] = 0
			rt.ErrorCode, rt.ErrorMessage = alterError(err)
			resp.Topics = append(resp.Topics, rt)
		}
		r.conn.throttle(resp, r.throttle, b.now())
		r.respond(resp)
	})
}

func (b *Broker) createPartitions(r *request, t kmsg.CreatePartitionsRequestTopic, req *kmsg.CreatePartitionsRequest) error {
	topic := b.topics.byName(t.Topic)
	if topic != nil && t.Assignment != nil && int(t.Count) > len(topic.parts()) {
		if more := int(t.Count) - len(topic.parts()); more != len(t.Assignment) {
			return fmt.Errorf("%w: %d partitions more, and %d assignments", kerr.InvalidReplicaAssignment, more, len(t.Assignment))
		}
		for _, a := range t.Assignment {
			if len(a.Replicas) != 1 || a.Replicas[0] != b.cfg.NodeID {
				return fmt.Errorf("%w: replicas %v, but the only broker is %d", kerr.InvalidReplicaAssignment, a.Replicas, b.cfg.NodeID)
			}
		}
	}
	if more := 0; topic != nil && !req.ValidateOnly {
		if more = int(t.Count) - len(topic.parts()); !b.mutate(r, max(more, 0), req.Version >= 3) {
			return kerr.ThrottlingQuotaExceeded
		}
	}
	return b.topics.grow(t.Topic, t.Count, req.ValidateOnly)
}
