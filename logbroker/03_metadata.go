package logbroker

import (
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/acl"
)

// handleMetadata answers Metadata, versions 0 to 13: 4 may forbid the creation
// of topics, 10 has topic ids, 12 asks by id. A topic that is named twice is told once.
func (b *Broker) handleMetadata(r *request) {
	req := r.msg.(*kmsg.MetadataRequest)
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	b.describeNode(r.conn, req, resp)
	w := who{b, r.conn}
	all := req.Topics == nil || req.Version == 0 && len(req.Topics) == 0
	if all {
		for _, t := range b.topics.sorted() {
			resp.Topics = append(resp.Topics, b.topicMetadata(w, t, req.IncludeTopicAuthorizedOperations))
		}
		r.respond(resp)
		return
	}
	type key struct {
		byID bool
		name string
		id   [16]byte
	}
	if hasID := func(t kmsg.MetadataRequestTopic) bool { return t.TopicID != [16]byte{} }; slices.ContainsFunc(req.Topics, hasID) {
		// As with Kafka, names do not count beside an id.
		req.Topics = slices.DeleteFunc(req.Topics, func(t kmsg.MetadataRequestTopic) bool { return !hasID(t) })
		for i := range req.Topics {
			req.Topics[i].Topic = nil
		}
		if req.Version < 12 { // which has ids, but Kafka does not serve them
			refuseTopics(req, resp, kerr.InvalidRequest)
			r.respond(resp)
			return
		}
	} else if slices.ContainsFunc(req.Topics, func(t kmsg.MetadataRequestTopic) bool { return t.Topic == nil }) {
		refuseTopics(req, resp, kerr.UnknownServerError) // what names nothing is a request that Kafka cannot serve
		r.respond(resp)
		return
	}
	req.Topics = once(req.Topics, func(t *kmsg.MetadataRequestTopic) key { return key{t.Topic == nil, deref(t.Topic), t.TopicID} })
	var create *autoTopics
	if b.cfg.AutoCreateTopics && (req.Version < 4 || req.AllowAutoTopicCreation) {
		create = &autoTopics{}
	}
	answer := func() {
		for _, t := range req.Topics {
			resp.Topics = append(resp.Topics, b.askedTopic(r, t, create, req.IncludeTopicAuthorizedOperations))
		}
		r.conn.throttle(resp, r.throttle, b.now())
		r.respond(resp)
	}
	if create != nil {
		b.spawn(answer)
		return
	}
	answer()
}

// refuseTopics answers for all topics alike.
func refuseTopics(req *kmsg.MetadataRequest, resp *kmsg.MetadataResponse, err *kerr.Error) {
	for _, t := range req.Topics {
		out := kmsg.NewMetadataResponseTopic()
		out.Topic, out.TopicID, out.ErrorCode = t.Topic, t.TopicID, err.Code
		resp.Topics = append(resp.Topics, out)
	}
}

// describeNode fills in what metadata tells beside the topics.
func (b *Broker) describeNode(c *Conn, req *kmsg.MetadataRequest, resp *kmsg.MetadataResponse) {
	host, port := b.advertised(c)
	rb := kmsg.NewMetadataResponseBroker()
	rb.NodeID, rb.Host, rb.Port = b.cfg.NodeID, host, port
	resp.Brokers = append(resp.Brokers, rb)
	resp.ClusterID, resp.ControllerID = &b.cfg.ClusterID, b.cfg.NodeID
	resp.AuthorizedOperations = who{b, c}.operations(req.IncludeClusterAuthorizedOperations, kmsg.ACLResourceTypeCluster, acl.Cluster)
}

// autoTopics are the topics that a request for metadata has made.
type autoTopics struct{ made []string }

// askedTopic answers for one topic, by name or by id; create, unless it is nil, makes it.
// To who has created more than it may, and where its name collides, it stays unknown, as
// with Kafka: clients ask again for those, and no version of Metadata has an error for
// limits.
func (b *Broker) askedTopic(r *request, t kmsg.MetadataRequestTopic, create *autoTopics, operations bool) kmsg.MetadataResponseTopic {
	w := who{b, r.conn}
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID = t.Topic, t.TopicID
	if t.Topic == nil {
		if found := b.topics.byID(t.TopicID); found != nil {
			return b.topicMetadata(w, found, operations)
		}
		out.ErrorCode = kerr.UnknownTopicID.Code
		return out
	}
	if err := checkTopicName(*t.Topic); err != nil {
		out.ErrorCode = groupCode(err)
		return out
	}
	if b.topics.byName(*t.Topic) == nil && create != nil {
		if err := b.autoCreate(r, *t.Topic, create); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			out.ErrorCode = errorCode(err)
			return out
		}
	}
	found := b.topics.byName(*t.Topic)
	if found == nil {
		out.ErrorCode = kerr.UnknownTopicOrPartition.Code
		out.AuthorizedOperations = w.operations(operations, kmsg.ACLResourceTypeTopic, *t.Topic)
		return out
	}
	return b.topicMetadata(w, found, operations)
}

func (b *Broker) autoCreate(r *request, topic string, auto *autoTopics) error {
	if b.topics.checkCollision(topic, auto.made) != nil { // before it counts
		return kerr.UnknownTopicOrPartition
	}
	if !b.mutate(r, int(b.cfg.DefaultPartitions), true) {
		return kerr.UnknownTopicOrPartition
	}
	_, err := b.topics.create(topic, b.cfg.DefaultPartitions, map[string]string{}, false, auto.made...)
	switch {
	case err == nil:
		auto.made = append(auto.made, topic)
	case errors.Is(err, kerr.InvalidTopicException): // another that collides was made meanwhile
		return kerr.UnknownTopicOrPartition
	}
	return err
}

func (b *Broker) topicMetadata(w who, t *topic, operations bool) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID = &t.name, t.id
	out.AuthorizedOperations = w.operations(operations, kmsg.ACLResourceTypeTopic, t.name)
	for _, p := range t.parts() {
		rp := kmsg.NewMetadataResponseTopicPartition()
		rp.Partition, rp.Leader, rp.LeaderEpoch = p.index, b.cfg.NodeID, b.epoch
		rp.Replicas, rp.ISR, rp.OfflineReplicas = []int32{b.cfg.NodeID}, []int32{b.cfg.NodeID}, []int32{}
		if p.damage != nil {
			rp.ErrorCode = kerr.KafkaStorageError.Code
			rp.ISR, rp.OfflineReplicas = []int32{}, []int32{b.cfg.NodeID}
		}
		out.Partitions = append(out.Partitions, rp)
	}
	return out
}

// advertised is where a client is told to connect.
func (b *Broker) advertised(c *Conn) (host string, port int32) {
	if c.listener != nil {
		return c.listener.nodes.host, c.listener.nodes.port
	}
	b.run.mu.Lock()
	defer b.run.mu.Unlock()
	return b.run.nodes.host, b.run.nodes.port
}
