package logbroker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleCreateTopics answers CreateTopics, versions 2 to 7: 4 takes -1 for the
// defaults, 5 answers with the configs, 7 with the topic id.
func (b *Broker) handleCreateTopics(r *request) {
	req := r.msg.(*kmsg.CreateTopicsRequest)
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	b.spawn(func() {
		seen := map[string]int{}
		for _, t := range req.Topics {
			seen[t.Topic]++
		}
		tooMany := b.checkNewPartitions(req.Topics, seen)
		late := hasNoTime(req.TimeoutMillis, seen)
		var made []string
		for _, t := range req.Topics {
			if seen[t.Topic] == 0 && late == nil {
				continue // was named twice, and answered once
			}
			rt := kmsg.NewCreateTopicsResponseTopic()
			rt.Topic, rt.NumPartitions, rt.ReplicationFactor = t.Topic, -1, -1
			rt.Configs = []kmsg.CreateTopicsResponseTopicConfig{}
			err := fmt.Errorf("%w: topic %q is named twice", kerr.InvalidRequest, t.Topic)
			switch {
			case late != nil:
				err = late
			case seen[t.Topic] > 1:
			case tooMany != nil:
				err = tooMany
			default:
				err = b.createTopic(r, &rt, t, req, made)
			}
			seen[t.Topic] = 0
			if err == nil {
				made = append(made, t.Topic)
			} else {
				rt.ErrorCode = errorCode(err)
				text := errorMessage(err)
				rt.ErrorMessage = &text
			}
			resp.Topics = append(resp.Topics, rt)
		}
		r.conn.throttle(resp, r.throttle, b.now())
		r.respond(resp)
	})
}

// hasNoTime refuses a request that leaves no time for what it asks, as Kafka's controller
// does before it looks at any of it: if it names something once.
func hasNoTime(timeoutMillis int32, seen map[string]int) error {
	if timeoutMillis > 0 {
		return nil
	}
	for _, n := range seen {
		if n == 1 {
			return fmt.Errorf("%w: the request's time-out is %d ms, give it more", kerr.RequestTimedOut, timeoutMillis)
		}
	}
	return nil
}

// checkNewPartitions refuses a request whose topics, which are each named once, have more
// partitions than fit into one batch of Kafka's controller.
func (b *Broker) checkNewPartitions(topics []kmsg.CreateTopicsRequestTopic, seen map[string]int) error {
	total := 0
	for _, t := range topics {
		switch {
		case seen[t.Topic] > 1:
		case len(t.ReplicaAssignment) > 0:
			total += len(t.ReplicaAssignment)
		case t.NumPartitions == -1:
			total += int(b.cfg.DefaultPartitions)
		default:
			total += int(t.NumPartitions)
		}
	}
	if total > maxNewPartitions {
		return fmt.Errorf("%w: %d partitions in one request, at most %d can be", kerr.PolicyViolation, total, maxNewPartitions)
	}
	return nil
}

func (b *Broker) createTopic(r *request, rt *kmsg.CreateTopicsResponseTopic, t kmsg.CreateTopicsRequestTopic, req *kmsg.CreateTopicsRequest, made []string) error {
	if err := checkTopicName(t.Topic); err != nil {
		return fmt.Errorf("topic %q: %w", t.Topic, err)
	}
	if b.topics.byName(t.Topic) != nil { // said before all else, as Kafka does
		return fmt.Errorf("topic %q: %w: it exists already", t.Topic, kerr.TopicAlreadyExists)
	}
	if err := b.topics.checkCollision(t.Topic, made); err != nil {
		return err
	}
	configs := map[string]string{}
	for _, c := range t.Configs {
		if c.Value == nil {
			return fmt.Errorf("%w: config %q has no value: leave it out, or name one", kerr.InvalidConfig, c.Name)
		}
		if err := checkConfigSize(c.Name, *c.Value); err != nil {
			return err
		}
		configs[c.Name] = *c.Value
	}
	if err := b.checkConfigs(configs); err != nil {
		return err
	}
	partitions := t.NumPartitions
	switch {
	case len(t.ReplicaAssignment) > 0:
		if err := b.checkAssignment(t); err != nil {
			return err
		}
		partitions = int32(len(t.ReplicaAssignment))
	case partitions == -1:
		partitions = b.cfg.DefaultPartitions
	}
	if partitions < 1 {
		return fmt.Errorf("%w: %d partitions, at least 1 is needed", kerr.InvalidPartitions, partitions)
	}
	if t.ReplicationFactor != -1 && t.ReplicationFactor != 1 {
		return fmt.Errorf("%w: %d, but there is one broker: use 1 or -1", kerr.InvalidReplicationFactor, t.ReplicationFactor)
	}
	if !req.ValidateOnly && !b.mutate(r, int(max(partitions, 1)), req.Version >= 6) {
		return kerr.ThrottlingQuotaExceeded
	}
	row, err := b.topics.create(t.Topic, partitions, configs, req.ValidateOnly, made...)
	if err != nil {
		return fmt.Errorf("topic %q: %w", t.Topic, err)
	}
	rt.TopicID, rt.NumPartitions, rt.ReplicationFactor = row.ID, partitions, 1
	for _, c := range b.describeConfigs(configs) {
		rc := kmsg.NewCreateTopicsResponseTopicConfig()
		rc.Name, rc.Value, rc.Source = c.name, &c.value, int8(c.source)
		rt.Configs = append(rt.Configs, rc)
	}
	return nil
}

// checkAssignment refuses the assignment of a new topic if this broker alone cannot
// have its replicas, or if its partitions are not numbered from 0 on.
func (b *Broker) checkAssignment(t kmsg.CreateTopicsRequestTopic) error {
	if t.NumPartitions != -1 || t.ReplicationFactor != -1 {
		return fmt.Errorf("%w: give either an assignment or a number of partitions", kerr.InvalidRequest)
	}
	seen := map[int32]bool{}
	for _, a := range t.ReplicaAssignment {
		switch {
		case seen[a.Partition]:
			return fmt.Errorf("%w: partition %d is assigned twice", kerr.InvalidReplicaAssignment, a.Partition)
		case len(a.Replicas) != 1 || a.Replicas[0] != b.cfg.NodeID:
			return fmt.Errorf("%w: replicas %v, but the only broker is %d", kerr.InvalidReplicaAssignment, a.Replicas, b.cfg.NodeID)
		case a.Partition < 0 || int(a.Partition) >= len(t.ReplicaAssignment):
			return fmt.Errorf("%w: partition %d of %d, which are numbered from 0 on", kerr.InvalidReplicaAssignment, a.Partition, len(t.ReplicaAssignment))
		}
		seen[a.Partition] = true
	}
	return nil
}
