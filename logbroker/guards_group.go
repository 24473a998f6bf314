package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Guards of requests about groups and their offsets.

func guardFindCoordinator(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.FindCoordinatorRequest)
	code := kerr.GroupAuthorizationFailed
	may := func(key *string) bool { return w.mayGroup(kmsg.ACLOperationDescribe, *key) }
	if req.CoordinatorType == txnCoordinatorType {
		code = kerr.TransactionalIDAuthorizationFailed
		may = func(key *string) bool { return w.mayTxn(kmsg.ACLOperationDescribe, *key) }
	}
	if req.Version < 4 {
		if may(&req.CoordinatorKey) {
			return nil, nil
		}
		resp := refused(req, code).(*kmsg.FindCoordinatorResponse)
		resp.NodeID, resp.Port = -1, -1
		return resp, nil
	}
	pass, held := split(req.CoordinatorKeys, may)
	if len(held) == 0 {
		return nil, nil
	}
	req.CoordinatorKeys = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.FindCoordinatorResponse)
		for _, key := range held {
			c := kmsg.NewFindCoordinatorResponseCoordinator()
			c.Key, c.ErrorCode, c.NodeID, c.Port = key, code.Code, -1, -1
			resp.Coordinators = append(resp.Coordinators, c)
		}
	}
}

// guardMember is the guard of what members of a classic group ask for.
func guardMember(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	var group string
	switch req := r.(type) {
	case *kmsg.JoinGroupRequest:
		group = req.Group
	case *kmsg.SyncGroupRequest:
		group = req.Group
	case *kmsg.HeartbeatRequest:
		group = req.Group
	case *kmsg.LeaveGroupRequest:
		group = req.Group
	}
	if w.mayGroup(kmsg.ACLOperationRead, group) {
		return nil, nil
	}
	return refused(r, kerr.GroupAuthorizationFailed), nil
}

func guardConsumerHeartbeat(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.ConsumerGroupHeartbeatRequest)
	if !w.mayGroup(kmsg.ACLOperationRead, req.Group) {
		return refused(req, kerr.GroupAuthorizationFailed), nil
	}
	for _, name := range req.SubscribedTopicNames {
		if !w.mayTopic(kmsg.ACLOperationDescribe, name) {
			return refused(req, kerr.TopicAuthorizationFailed), nil
		}
	}
	return nil, nil
}

func guardOffsetCommit(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.OffsetCommitRequest)
	if !w.mayGroup(kmsg.ACLOperationRead, req.Group) { // of whose members nothing is to be known
		resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
		refuseCommits(resp, req.Topics, kerr.GroupAuthorizationFailed)
		return resp, nil
	}
	pass, held := split(req.Topics, func(t *kmsg.OffsetCommitRequestTopic) bool {
		return w.mayNamed(kmsg.ACLOperationRead, req.Version >= 10, t.Topic, t.TopicID)
	})
	if len(held) == 0 {
		return nil, nil
	}
	req.Topics = pass
	return nil, func(r kmsg.Response) {
		refuseCommits(r.(*kmsg.OffsetCommitResponse), held, kerr.TopicAuthorizationFailed)
	}
}

// refuseCommits adds topics of which no offset is committed.
func refuseCommits(resp *kmsg.OffsetCommitResponse, held []kmsg.OffsetCommitRequestTopic, err *kerr.Error) {
	for _, t := range held {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, err.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
}

func guardOffsetFetch(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.OffsetFetchRequest)
	see := func(topic string) bool { return w.mayTopic(kmsg.ACLOperationDescribe, topic) }
	if req.Version < 8 {
		if !w.mayGroup(kmsg.ACLOperationDescribe, req.Group) {
			return refuseOffsets(req), nil
		}
		return nil, func(r kmsg.Response) {
			resp := r.(*kmsg.OffsetFetchResponse)
			if req.Topics == nil {
				resp.Topics, _ = split(resp.Topics, func(t *kmsg.OffsetFetchResponseTopic) bool { return see(t.Topic) })
			}
			for i := range resp.Topics {
				for j := range resp.Topics[i].Partitions {
					if p := &resp.Topics[i].Partitions[j]; !see(resp.Topics[i].Topic) {
						p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode = -1, -1, new(string), kerr.TopicAuthorizationFailed.Code
					}
				}
			}
		}
	}
	pass, held := split(req.Groups, func(g *kmsg.OffsetFetchRequestGroup) bool { return w.mayGroup(kmsg.ACLOperationDescribe, g.Group) })
	req.Groups = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.OffsetFetchResponse)
		for i := range resp.Groups {
			g := &resp.Groups[i]
			may := func(t *kmsg.OffsetFetchResponseGroupTopic) bool {
				name, unknown := w.b.topicName(req.Version >= 10, t.Topic, t.TopicID)
				return unknown || see(name)
			}
			if req.Groups[i].Topics == nil { // all, of which the others are left out
				g.Topics, _ = split(g.Topics, may)
			}
			for j := range g.Topics {
				if may(&g.Topics[j]) {
					continue
				}
				for k := range g.Topics[j].Partitions {
					p := &g.Topics[j].Partitions[k]
					p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode = -1, -1, new(string), kerr.TopicAuthorizationFailed.Code
				}
			}
		}
		for _, g := range held {
			rg := kmsg.NewOffsetFetchResponseGroup()
			rg.Group, rg.ErrorCode = g.Group, kerr.GroupAuthorizationFailed.Code
			resp.Groups = append(resp.Groups, rg)
		}
	}
}

// refuseOffsets refuses an OffsetFetch of one group. Version 1 has no place for an
// error but at each partition.
func refuseOffsets(req *kmsg.OffsetFetchRequest) kmsg.Response {
	resp := refused(req, kerr.GroupAuthorizationFailed).(*kmsg.OffsetFetchResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.Topic
		for _, n := range t.Partitions {
			rp := kmsg.NewOffsetFetchResponseTopicPartition()
			rp.Partition, rp.Offset, rp.Metadata, rp.ErrorCode = n, -1, new(string), kerr.GroupAuthorizationFailed.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func guardOffsetDelete(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.OffsetDeleteRequest)
	if !w.mayGroup(kmsg.ACLOperationDelete, req.Group) {
		return refused(req, kerr.GroupAuthorizationFailed), nil
	}
	pass, held := split(req.Topics, func(t *kmsg.OffsetDeleteRequestTopic) bool { return w.mayTopic(kmsg.ACLOperationRead, t.Topic) })
	if len(held) == 0 {
		return nil, nil
	}
	req.Topics = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.OffsetDeleteResponse)
		for _, t := range held {
			rt := kmsg.NewOffsetDeleteResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetDeleteResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
	}
}

func guardDescribeGroups(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.DescribeGroupsRequest)
	pass, held := split(req.Groups, func(id *string) bool { return w.mayGroup(kmsg.ACLOperationDescribe, *id) })
	if len(held) == 0 {
		return nil, nil
	}
	req.Groups = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.DescribeGroupsResponse)
		for _, id := range held {
			g := kmsg.NewDescribeGroupsResponseGroup()
			g.Group, g.ErrorCode = id, kerr.GroupAuthorizationFailed.Code
			resp.Groups = append(resp.Groups, g)
		}
	}
}

// guardConsumerDescribe refuses a group, too, whose members read a topic that the
// client must not see.
func guardConsumerDescribe(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.ConsumerGroupDescribeRequest)
	pass, held := split(req.Groups, func(id *string) bool { return w.mayGroup(kmsg.ACLOperationDescribe, *id) })
	req.Groups = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.ConsumerGroupDescribeResponse)
		for i := range resp.Groups {
			g := &resp.Groups[i]
			for _, m := range g.Members {
				for _, t := range append(m.Assignment.TopicPartitions, m.TargetAssignment.TopicPartitions...) {
					if !w.mayTopic(kmsg.ACLOperationDescribe, t.Topic) {
						g.ErrorCode, g.ErrorMessage, g.Members = kerr.TopicAuthorizationFailed.Code, &kerr.TopicAuthorizationFailed.Description, nil
					}
				}
			}
		}
		for _, id := range held {
			g := kmsg.NewConsumerGroupDescribeResponseGroup()
			g.Group, g.ErrorCode, g.AuthorizedOperations = id, kerr.GroupAuthorizationFailed.Code, -1<<31
			resp.Groups = append(resp.Groups, g)
		}
	}
}

func guardListGroups(w who, _ kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	if w.mayCluster(kmsg.ACLOperationDescribe) {
		return nil, nil
	}
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.ListGroupsResponse)
		resp.Groups, _ = split(resp.Groups, func(g *kmsg.ListGroupsResponseGroup) bool { return w.mayGroup(kmsg.ACLOperationDescribe, g.Group) })
	}
}

func guardDeleteGroups(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.DeleteGroupsRequest)
	pass, held := split(req.Groups, func(id *string) bool { return w.mayGroup(kmsg.ACLOperationDelete, *id) })
	if len(held) == 0 {
		return nil, nil
	}
	req.Groups = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.DeleteGroupsResponse)
		for _, id := range held {
			g := kmsg.NewDeleteGroupsResponseGroup()
			g.Group, g.ErrorCode = id, kerr.GroupAuthorizationFailed.Code
			resp.Groups = append(resp.Groups, g)
		}
	}
}
