package logbroker

import (
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/txn"
)

// handleDescribeTransactions answers DescribeTransactions, version 0 (KIP-664).
func (b *Broker) handleDescribeTransactions(r *request) {
	req := r.msg.(*kmsg.DescribeTransactionsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
	left := maxRoom
	repeats := repeatsIn[string, kmsg.DescribeTransactionsResponseTransactionState](&left)
	for _, id := range req.TransactionalIDs {
		resp.TransactionStates = repeats.add(resp.TransactionStates, id, func() kmsg.DescribeTransactionsResponseTransactionState {
			rs := kmsg.NewDescribeTransactionsResponseTransactionState()
			rs.TransactionalID = id
			switch e := b.txns.find(id); {
			case id == "":
				rs.ErrorCode = kerr.InvalidRequest.Code
			case e == nil:
				rs.ErrorCode = kerr.TransactionalIDNotFound.Code
			default:
				b.describeTxn(&rs, e.look())
			}
			return rs
		})
	}
	r.respond(resp)
}

// look is the state as it is between two events.
func (e *txnEntry) look() txn.State {
	e.gate.RLock()
	defer e.gate.RUnlock()
	return e.state
}

// startedMs is when a transaction began, as clients are told.
func startedMs(s txn.State) int64 {
	if s.Started.IsZero() {
		return -1
	}
	return s.Started.UnixMilli()
}

func (b *Broker) describeTxn(rs *kmsg.DescribeTransactionsResponseTransactionState, s txn.State) {
	rs.State, rs.TimeoutMillis = s.Phase.String(), int32(s.Timeout.Milliseconds())
	rs.ProducerID, rs.ProducerEpoch = s.Producer.ID, s.Producer.Epoch
	rs.StartTimestamp = startedMs(s)
	byTopic := map[string][]int32{}
	for p := range s.Partitions {
		if t := b.topics.byID(p.Topic); t != nil { // otherwise it was deleted
			byTopic[t.name] = append(byTopic[t.name], p.Index)
		}
	}
	for name, partitions := range byTopic {
		slices.Sort(partitions)
		t := kmsg.NewDescribeTransactionsResponseTransactionStateTopic()
		t.Topic, t.Partitions = name, partitions
		rs.Topics = append(rs.Topics, t)
	}
	slices.SortFunc(rs.Topics, func(a, b kmsg.DescribeTransactionsResponseTransactionStateTopic) int {
		return cmp.Compare(a.Topic, b.Topic)
	})
}
