package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Types of coordinators: of groups and of transactions.
const (
	groupCoordinatorType = 0
	txnCoordinatorType   = 1
)

// handleFindCoordinator answers FindCoordinator, versions 0 to 6: 1 has
// transactions, 4 several keys. It is always this broker.
func (b *Broker) handleFindCoordinator(r *request) {
	req := r.msg.(*kmsg.FindCoordinatorRequest)
	resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	keys := req.CoordinatorKeys
	if req.Version < 4 {
		keys = []string{req.CoordinatorKey}
	}
	host, port := b.advertised(r.conn)
	for _, key := range keys {
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key, c.NodeID, c.Host, c.Port = key, b.cfg.NodeID, host, port
		if req.CoordinatorType != groupCoordinatorType && req.CoordinatorType != txnCoordinatorType {
			c.ErrorCode, c.NodeID, c.Host, c.Port = kerr.InvalidRequest.Code, -1, "", -1
		}
		resp.Coordinators = append(resp.Coordinators, c)
	}
	if req.Version < 4 {
		c := resp.Coordinators[0]
		resp.ErrorCode, resp.NodeID, resp.Host, resp.Port = c.ErrorCode, c.NodeID, c.Host, c.Port
		resp.Coordinators = nil
	}
	r.respond(resp)
}
