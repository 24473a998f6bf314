package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Guards of requests for records, offsets and topics' metadata.

func guardProduce(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.ProduceRequest)
	code := kerr.TopicAuthorizationFailed.Code
	pass, held := split(req.Topics, func(t *kmsg.ProduceRequestTopic) bool {
		return w.mayNamed(kmsg.ACLOperationWrite, req.Version >= 13, t.Topic, t.TopicID)
	})
	if req.TransactionID != nil && !w.mayTxn(kmsg.ACLOperationWrite, *req.TransactionID) {
		pass, held, code = nil, req.Topics, kerr.TransactionalIDAuthorizationFailed.Code
	}
	if len(held) == 0 {
		return nil, nil
	}
	req.Topics = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.ProduceResponse)
		for _, t := range held {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode, rp.BaseOffset, rp.LogAppendTime, rp.LogStartOffset = p.Partition, code, -1, -1, -1
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
	}
}

// guardFetch lets every fetch pass: what is read is checked partition by partition
// each time, for a session goes on and a fetch can wait while rules change.
func guardFetch(who, kmsg.Request) (kmsg.Response, func(kmsg.Response)) { return nil, nil }

func guardListOffsets(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.ListOffsetsRequest)
	pass, held := split(req.Topics, func(t *kmsg.ListOffsetsRequestTopic) bool { return w.mayTopic(kmsg.ACLOperationDescribe, t.Topic) })
	if len(held) == 0 {
		return nil, nil
	}
	req.Topics = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.ListOffsetsResponse)
		for _, t := range held {
			rt := kmsg.NewListOffsetsResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewListOffsetsResponseTopicPartition()
				rp.Partition, rp.ErrorCode, rp.Offset, rp.Timestamp = p.Partition, kerr.TopicAuthorizationFailed.Code, -1, -1
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
	}
}

// guardMetadata hides topics that the client must not see: those it names are
// refused alike whether they exist or not. Ids are no secret, as with Kafka.
func guardMetadata(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.MetadataRequest)
	if req.Topics == nil || req.Version == 0 && len(req.Topics) == 0 {
		return nil, func(r kmsg.Response) {
			resp := r.(*kmsg.MetadataResponse)
			resp.Topics, _ = split(resp.Topics, func(t *kmsg.MetadataResponseTopic) bool {
				return w.mayTopic(kmsg.ACLOperationDescribe, deref(t.Topic))
			})
		}
	}
	create := w.b.cfg.AutoCreateTopics && (req.Version < 4 || req.AllowAutoTopicCreation) && !w.mayCluster(kmsg.ACLOperationCreate)
	pass, held := split(req.Topics, func(t *kmsg.MetadataRequestTopic) bool {
		if t.Topic == nil {
			found := w.b.topics.byID(t.TopicID)
			return found == nil || w.mayTopic(kmsg.ACLOperationDescribe, found.name)
		}
		return w.mayTopic(kmsg.ACLOperationDescribe, *t.Topic) &&
			(!create || w.b.topics.byName(*t.Topic) != nil || w.mayTopic(kmsg.ACLOperationCreate, *t.Topic))
	})
	if len(held) == 0 {
		return nil, nil
	}
	amend := func(r kmsg.Response) {
		resp := r.(*kmsg.MetadataResponse)
		for _, t := range held {
			rt := kmsg.NewMetadataResponseTopic()
			rt.Topic, rt.TopicID, rt.AuthorizedOperations = t.Topic, t.TopicID, -1<<31
			rt.ErrorCode = kerr.TopicAuthorizationFailed.Code
			resp.Topics = append(resp.Topics, rt)
		}
	}
	if req.Topics = pass; len(pass) > 0 {
		return nil, amend
	}
	resp := req.ResponseKind().(*kmsg.MetadataResponse) // no topics would be all in version 0
	w.b.describeNode(w.conn, req, resp)
	amend(resp)
	return resp, nil
}

func guardLeaderEpoch(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	if w.mayCluster(kmsg.ACLOperationClusterAction) { // as another broker may
		return nil, nil
	}
	req := r.(*kmsg.OffsetForLeaderEpochRequest)
	pass, held := split(req.Topics, func(t *kmsg.OffsetForLeaderEpochRequestTopic) bool {
		return w.mayTopic(kmsg.ACLOperationDescribe, t.Topic)
	})
	if len(held) == 0 {
		return nil, nil
	}
	req.Topics = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.OffsetForLeaderEpochResponse)
		for _, t := range held {
			rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				rp.Partition, rp.ErrorCode, rp.LeaderEpoch, rp.EndOffset = p.Partition, kerr.TopicAuthorizationFailed.Code, -1, -1
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
	}
}

func guardDeleteRecords(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.DeleteRecordsRequest)
	pass, held := split(req.Topics, func(t *kmsg.DeleteRecordsRequestTopic) bool { return w.mayTopic(kmsg.ACLOperationDelete, t.Topic) })
	if len(held) == 0 {
		return nil, nil
	}
	req.Topics = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.DeleteRecordsResponse)
		for _, t := range held {
			rt := kmsg.NewDeleteRecordsResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewDeleteRecordsResponseTopicPartition()
				rp.Partition, rp.ErrorCode, rp.LowWatermark = p.Partition, kerr.TopicAuthorizationFailed.Code, -1
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
	}
}

func guardDescribeProducers(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.DescribeProducersRequest)
	pass, held := split(req.Topics, func(t *kmsg.DescribeProducersRequestTopic) bool { return w.mayTopic(kmsg.ACLOperationRead, t.Topic) })
	if len(held) == 0 {
		return nil, nil
	}
	req.Topics = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.DescribeProducersResponse)
		for _, t := range held {
			rt := kmsg.NewDescribeProducersResponseTopic()
			rt.Topic = t.Topic
			for _, n := range t.Partitions {
				rp := kmsg.NewDescribeProducersResponseTopicPartition()
				rp.Partition, rp.ErrorCode = n, kerr.TopicAuthorizationFailed.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
	}
}
