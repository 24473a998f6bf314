package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Guards of requests about transactions.

func guardInitProducerID(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.InitProducerIDRequest)
	code := kerr.ClusterAuthorizationFailed
	switch {
	case req.TransactionalID != nil:
		if w.mayTxn(kmsg.ACLOperationWrite, *req.TransactionalID) {
			return nil, nil
		}
		code = kerr.TransactionalIDAuthorizationFailed
	case w.mayCluster(kmsg.ACLOperationIdempotentWrite), w.maySome(kmsg.ACLOperationWrite):
		return nil, nil
	}
	resp := refused(req, code).(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	return resp, nil
}

// guardAddPartitions refuses all partitions if one is refused, as the handler does
// with one that does not exist.
func guardAddPartitions(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.AddPartitionsToTxnRequest)
	resp := req.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
	if req.Version >= 4 { // from brokers
		if w.mayCluster(kmsg.ACLOperationClusterAction) {
			return nil, nil
		}
		return refused(req, kerr.ClusterAuthorizationFailed), nil
	}
	txn := w.mayTxn(kmsg.ACLOperationWrite, req.TransactionalID)
	denied := !txn
	for _, t := range req.Topics {
		may := w.mayTopic(kmsg.ACLOperationWrite, t.Topic)
		denied = denied || !may
		rt := kmsg.NewAddPartitionsToTxnResponseTopic()
		rt.Topic = t.Topic
		for _, n := range t.Partitions {
			rp := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
			rp.Partition, rp.ErrorCode = n, kerr.OperationNotAttempted.Code
			switch {
			case !txn:
				rp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
			case !may:
				rp.ErrorCode = kerr.TopicAuthorizationFailed.Code
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if !denied {
		return nil, nil
	}
	return resp, nil
}

func guardAddOffsets(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.AddOffsetsToTxnRequest)
	switch {
	case !w.mayTxn(kmsg.ACLOperationWrite, req.TransactionalID):
		return refused(req, kerr.TransactionalIDAuthorizationFailed), nil
	case !w.mayGroup(kmsg.ACLOperationRead, req.Group):
		return refused(req, kerr.GroupAuthorizationFailed), nil
	}
	return nil, nil
}

func guardEndTxn(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.EndTxnRequest)
	if w.mayTxn(kmsg.ACLOperationWrite, req.TransactionalID) {
		return nil, nil
	}
	resp := refused(req, kerr.TransactionalIDAuthorizationFailed).(*kmsg.EndTxnResponse)
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	return resp, nil
}

func guardTxnOffsets(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.TxnOffsetCommitRequest)
	refuse := func(resp *kmsg.TxnOffsetCommitResponse, held []kmsg.TxnOffsetCommitRequestTopic, err *kerr.Error) *kmsg.TxnOffsetCommitResponse {
		for _, t := range held {
			rt := kmsg.NewTxnOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, err.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	}
	none := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
	switch {
	case !w.mayTxn(kmsg.ACLOperationWrite, req.TransactionalID):
		return refuse(none, req.Topics, kerr.TransactionalIDAuthorizationFailed), nil
	case !w.mayGroup(kmsg.ACLOperationRead, req.Group):
		return refuse(none, req.Topics, kerr.GroupAuthorizationFailed), nil
	}
	pass, held := split(req.Topics, func(t *kmsg.TxnOffsetCommitRequestTopic) bool {
		return w.mayNamed(kmsg.ACLOperationRead, req.Version >= 6, t.Topic, t.TopicID)
	})
	if len(held) == 0 {
		return nil, nil
	}
	req.Topics = pass
	return nil, func(r kmsg.Response) { refuse(r.(*kmsg.TxnOffsetCommitResponse), held, kerr.TopicAuthorizationFailed) }
}

func guardMarkers(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.WriteTxnMarkersRequest)
	if w.mayCluster(kmsg.ACLOperationClusterAction) || w.mayCluster(kmsg.ACLOperationAlter) {
		return nil, nil
	}
	resp := req.ResponseKind().(*kmsg.WriteTxnMarkersResponse)
	for _, m := range req.Markers {
		rm := kmsg.NewWriteTxnMarkersResponseMarker()
		rm.ProducerID = m.ProducerID
		for _, t := range m.Topics {
			rt := kmsg.NewWriteTxnMarkersResponseMarkerTopic()
			rt.Topic = t.Topic
			for _, n := range t.Partitions {
				rp := kmsg.NewWriteTxnMarkersResponseMarkerTopicPartition()
				rp.Partition, rp.ErrorCode = n, kerr.ClusterAuthorizationFailed.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			rm.Topics = append(rm.Topics, rt)
		}
		resp.Markers = append(resp.Markers, rm)
	}
	return resp, nil
}

func guardDescribeTransactions(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	req := r.(*kmsg.DescribeTransactionsRequest)
	pass, held := split(req.TransactionalIDs, func(id *string) bool { return w.mayTxn(kmsg.ACLOperationDescribe, *id) })
	req.TransactionalIDs = pass
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.DescribeTransactionsResponse)
		for i := range resp.TransactionStates { // topics that the client must not see
			s := &resp.TransactionStates[i]
			s.Topics, _ = split(s.Topics, func(t *kmsg.DescribeTransactionsResponseTransactionStateTopic) bool {
				return w.mayTopic(kmsg.ACLOperationDescribe, t.Topic)
			})
		}
		for _, id := range held {
			s := kmsg.NewDescribeTransactionsResponseTransactionState()
			s.TransactionalID, s.ErrorCode, s.StartTimestamp, s.ProducerID, s.ProducerEpoch = id, kerr.TransactionalIDAuthorizationFailed.Code, -1, -1, -1
			resp.TransactionStates = append(resp.TransactionStates, s)
		}
	}
}

func guardListTransactions(w who, _ kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	return nil, func(r kmsg.Response) {
		resp := r.(*kmsg.ListTransactionsResponse)
		resp.TransactionStates, _ = split(resp.TransactionStates, func(s *kmsg.ListTransactionsResponseTransactionState) bool {
			return w.mayTxn(kmsg.ACLOperationDescribe, s.TransactionalID)
		})
	}
}
