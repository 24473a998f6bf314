package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/acl"
)

// Guards of requests that change or describe topics, configs, rules and users.

// guardCreateTopics also hides the configs of new topics from who must not see
// them.
func guardCreateTopics(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.CreateTopicsRequest)
	cluster := w.mayCluster(kmsg.ACLOperationCreate)
	pass, held := split(req.Topics, func(t *kmsg.CreateTopicsRequestTopic) bool {
		return cluster || w.mayTopic(kmsg.ACLOperationCreate, t.Topic)
	})
	req.Topics = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.CreateTopicsResponse)
		for i := range resp.Topics {
			if t := &resp.Topics[i]; t.ErrorCode == 0 && !w.mayTopic(kmsg.ACLOperationDescribeConfigs, t.Topic) {
				t.ConfigErrorCode, t.Configs = kerr.TopicAuthorizationFailed.Code, []kmsg.CreateTopicsResponseTopicConfig{}
				t.NumPartitions, t.ReplicationFactor = -1, -1
			}
		}
		for _, t := range held {
			rt := kmsg.NewCreateTopicsResponseTopic()
			rt.Topic, rt.ErrorCode, rt.NumPartitions, rt.ReplicationFactor = t.Topic, kerr.TopicAuthorizationFailed.Code, -1, -1
			rt.Configs = []kmsg.CreateTopicsResponseTopicConfig{}
			resp.Topics = append(resp.Topics, rt)
		}
	}
}

// guardDeleteTopics does not tell the name of a topic, given by its id, to who must
// not see it.
func guardDeleteTopics(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.DeleteTopicsRequest)
	refuse := func(resp *kmsg.DeleteTopicsResponse, name *string, id [16]byte) {
		rt := kmsg.NewDeleteTopicsResponseTopic()
		rt.Topic, rt.TopicID, rt.ErrorCode = name, id, kerr.TopicAuthorizationFailed.Code
		resp.Topics = append(resp.Topics, rt)
	}
	names, heldNames := split(req.TopicNames, func(name *string) bool { return w.mayTopic(kmsg.ACLOperationDelete, *name) })
	topics, heldTopics := split(req.Topics, func(t *kmsg.DeleteTopicsRequestTopic) bool {
		return w.mayNamed(kmsg.ACLOperationDelete, t.Topic == nil, deref(t.Topic), t.TopicID)
	})
	if len(heldNames)+len(heldTopics) == 0 {
		return nil, nil
	}
	req.TopicNames, req.Topics = names, topics
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.DeleteTopicsResponse)
		for _, name := range heldNames {
			refuse(resp, &name, [16]byte{})
		}
		for _, t := range heldTopics {
			name := t.Topic
			if found := w.b.topics.byID(t.TopicID); name == nil && found != nil && w.mayTopic(kmsg.ACLOperationDescribe, found.name) {
				name = &found.name
			}
			refuse(resp, name, t.TopicID)
		}
	}
}

func guardCreatePartitions(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.CreatePartitionsRequest)
	pass, held := split(req.Topics, func(t *kmsg.CreatePartitionsRequestTopic) bool { return w.mayTopic(kmsg.ACLOperationAlter, t.Topic) })
	if len(held) == 0 {
		return nil, nil
	}
	req.Topics = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.CreatePartitionsResponse)
		for _, t := range held {
			rt := kmsg.NewCreatePartitionsResponseTopic()
			rt.Topic, rt.ErrorCode = t.Topic, kerr.TopicAuthorizationFailed.Code
			resp.Topics = append(resp.Topics, rt)
		}
	}
}

// guardDescribeTopics asks for the topics that the client may see; of all topics
// the others are left out, of those named they are refused.
func guardDescribeTopics(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.DescribeTopicPartitionsRequest)
	all := len(req.Topics) == 0
	asked := req.Topics
	if all {
		for _, t := range w.b.topics.sorted() {
			asked = append(asked, kmsg.DescribeTopicPartitionsRequestTopic{Topic: t.name})
		}
	}
	pass, held := split(asked, func(t *kmsg.DescribeTopicPartitionsRequestTopic) bool {
		return w.mayTopic(kmsg.ACLOperationDescribe, t.Topic)
	})
	var denied []kmsg.DescribeTopicPartitionsResponseTopic
	for _, t := range held {
		rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
		rt.Topic, rt.ErrorCode, rt.AuthorizedOperations = &t.Topic, kerr.TopicAuthorizationFailed.Code, -1<<31
		rt.Partitions = []kmsg.DescribeTopicPartitionsResponseTopicPartition{}
		denied = append(denied, rt)
	}
	if all {
		denied = nil
	}
	if req.Topics = pass; len(pass) == 0 {
		resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
		resp.Topics = append([]kmsg.DescribeTopicPartitionsResponseTopic{}, denied...)
		return resp, nil
	}
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.DescribeTopicPartitionsResponse)
		resp.Topics = append(resp.Topics, denied...)
	}
}

// mayConfig tells whether the client may do something to the configs of a
// resource, and if not what it is told.
func (w who) mayConfig(op acl.Operation, kind kmsg.ConfigResourceType, name string) (bool, int16) {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		return w.mayTopic(op, name), kerr.TopicAuthorizationFailed.Code
	case kmsg.ConfigResourceTypeGroupConfig:
		return w.mayGroup(op, name), kerr.GroupAuthorizationFailed.Code
	}
	return w.mayCluster(op), kerr.ClusterAuthorizationFailed.Code
}

func guardDescribeConfigs(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.DescribeConfigsRequest)
	pass, held := split(req.Resources, func(res *kmsg.DescribeConfigsRequestResource) bool {
		may, _ := w.mayConfig(kmsg.ACLOperationDescribeConfigs, res.ResourceType, res.ResourceName)
		return may
	})
	if len(held) == 0 {
		return nil, nil
	}
	req.Resources = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.DescribeConfigsResponse)
		for _, res := range held {
			rr := kmsg.NewDescribeConfigsResponseResource()
			rr.ResourceType, rr.ResourceName, rr.Configs = res.ResourceType, res.ResourceName, []kmsg.DescribeConfigsResponseResourceConfig{}
			_, rr.ErrorCode = w.mayConfig(kmsg.ACLOperationDescribeConfigs, res.ResourceType, res.ResourceName)
			resp.Resources = append(resp.Resources, rr)
		}
	}
}

func guardAlterConfigs(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.AlterConfigsRequest)
	pass, held := split(req.Resources, func(res *kmsg.AlterConfigsRequestResource) bool {
		may, _ := w.mayConfig(kmsg.ACLOperationAlterConfigs, res.ResourceType, res.ResourceName)
		return may
	})
	if len(held) == 0 {
		return nil, nil
	}
	req.Resources = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.AlterConfigsResponse)
		for _, res := range held {
			rr := kmsg.NewAlterConfigsResponseResource()
			rr.ResourceType, rr.ResourceName = res.ResourceType, res.ResourceName
			_, rr.ErrorCode = w.mayConfig(kmsg.ACLOperationAlterConfigs, res.ResourceType, res.ResourceName)
			resp.Resources = append(resp.Resources, rr)
		}
	}
}

func guardIncrementalAlter(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.IncrementalAlterConfigsRequest)
	twice := resourcesTwice(req.Resources, incrementalResource) // which are refused as such, as Kafka does, and not changed
	pass, held := split(req.Resources, func(res *kmsg.IncrementalAlterConfigsRequestResource) bool {
		if twice[configResource{res.ResourceType, res.ResourceName}] {
			return true
		}
		may, _ := w.mayConfig(kmsg.ACLOperationAlterConfigs, res.ResourceType, res.ResourceName)
		return may
	})
	if len(held) == 0 {
		return nil, nil
	}
	req.Resources = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.IncrementalAlterConfigsResponse)
		for _, res := range held {
			rr := kmsg.NewIncrementalAlterConfigsResponseResource()
			rr.ResourceType, rr.ResourceName = res.ResourceType, res.ResourceName
			_, rr.ErrorCode = w.mayConfig(kmsg.ACLOperationAlterConfigs, res.ResourceType, res.ResourceName)
			resp.Resources = append(resp.Resources, rr)
		}
	}
}

func guardCreateACLs(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.CreateACLsRequest)
	if w.mayCluster(kmsg.ACLOperationAlter) {
		return nil, nil
	}
	resp := req.ResponseKind().(*kmsg.CreateACLsResponse)
	for range req.Creations {
		rr := kmsg.NewCreateACLsResponseResult()
		rr.ErrorCode = kerr.ClusterAuthorizationFailed.Code
		resp.Results = append(resp.Results, rr)
	}
	return resp, nil
}

func guardDeleteACLs(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.DeleteACLsRequest)
	if w.mayCluster(kmsg.ACLOperationAlter) {
		return nil, nil
	}
	resp := req.ResponseKind().(*kmsg.DeleteACLsResponse)
	for range req.Filters {
		rr := kmsg.NewDeleteACLsResponseResult()
		rr.ErrorCode = kerr.ClusterAuthorizationFailed.Code
		resp.Results = append(resp.Results, rr)
	}
	return resp, nil
}

func guardAlterQuotas(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.AlterClientQuotasRequest)
	if w.mayCluster(kmsg.ACLOperationAlterConfigs) {
		return nil, nil
	}
	resp := req.ResponseKind().(*kmsg.AlterClientQuotasResponse)
	for _, e := range req.Entries {
		resp.Entries = append(resp.Entries, quotaAnswer(e, kerr.ClusterAuthorizationFailed))
	}
	return resp, nil
}

func guardAlterCredentials(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.AlterUserSCRAMCredentialsRequest)
	if w.mayCluster(kmsg.ACLOperationAlter) {
		return nil, nil
	}
	resp := req.ResponseKind().(*kmsg.AlterUserSCRAMCredentialsResponse)
	for _, name := range usersIn(req) {
		rr := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
		rr.User, rr.ErrorCode = name, kerr.ClusterAuthorizationFailed.Code
		resp.Results = append(resp.Results, rr)
	}
	return resp, nil
}
