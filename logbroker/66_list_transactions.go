package logbroker

import (
	"cmp"
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
	"github.com/levada/levada/logbroker/txn"
)

// txnStates are the states that clients may filter by. The last two are
// Kafka's own, which no id here is ever in.
var txnStates = []string{
	txn.Empty.String(), txn.Ongoing.String(), txn.PrepareCommit.String(), txn.PrepareAbort.String(),
	txn.CompleteCommit.String(), txn.CompleteAbort.String(), "Dead", "PrepareEpochFence",
}

// handleListTransactions answers ListTransactions, versions 0 to 2: 1 filters by
// duration (KIP-994), which an id without a transaction passes, as with Kafka, 2 by a
// pattern of the whole id (KIP-1152).
func (b *Broker) handleListTransactions(r *request) {
	req := r.msg.(*kmsg.ListTransactionsRequest)
	resp := req.ResponseKind().(*kmsg.ListTransactionsResponse)
	pattern := regexp.MustCompile("")
	if p := req.TransactionalIDPattern; req.Version >= 2 && p != nil && *p != "" {
		var err error
		if pattern, err = group.CompilePattern(*p); err != nil {
			resp.ErrorCode = kerr.InvalidRegularExpression.Code
			r.respond(resp)
			return
		}
	}
	for _, name := range req.StateFilters {
		if !slices.Contains(txnStates, name) {
			resp.UnknownStateFilters = append(resp.UnknownStateFilters, name)
		}
	}
	states, producers := setOf(req.StateFilters), setOf(req.ProducerIDFilters)
	now := b.now().UnixMilli()
	for _, e := range b.txns.all() {
		s := e.look()
		switch {
		case !pattern.MatchString(e.id),
			!listed(states, s.Phase.String()), !listed(producers, s.Producer.ID),
			req.Version >= 1 && req.DurationFilterMillis >= 0 && now-startedMs(s) <= req.DurationFilterMillis:
			continue
		}
		rs := kmsg.NewListTransactionsResponseTransactionState()
		rs.TransactionalID, rs.ProducerID, rs.TransactionState = e.id, s.Producer.ID, s.Phase.String()
		resp.TransactionStates = append(resp.TransactionStates, rs)
	}
	r.respond(resp)
}

func setOf[T comparable](list []T) map[T]bool {
	out := make(map[T]bool, len(list))
	for _, e := range list {
		out[e] = true
	}
	return out
}

// all lists the transactional ids in order.
func (t *transactions) all() []*txnEntry {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]*txnEntry, 0, len(t.byID))
	for _, e := range t.byID {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *txnEntry) int { return cmp.Compare(a.id, b.id) })
	return out
}
