package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/acl"
)

// Types of endpoints of DescribeCluster (KIP-919): controllers' are not the listeners.
const (
	brokerEndpoint     = 1
	controllerEndpoint = 2
)

// handleDescribeCluster answers DescribeCluster, versions 0 to 2.
func (b *Broker) handleDescribeCluster(r *request) {
	req := r.msg.(*kmsg.DescribeClusterRequest)
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	switch req.EndpointType {
	case brokerEndpoint:
	case controllerEndpoint:
		resp.ErrorCode = kerr.MismatchedEndpointType.Code
	default:
		resp.ErrorCode = kerr.UnsupportedEndpointType.Code
	}
	if resp.ErrorCode != 0 {
		r.respond(resp)
		return
	}
	host, port := b.advertised(r.conn)
	rb := kmsg.NewDescribeClusterResponseBroker()
	rb.NodeID, rb.Host, rb.Port = b.cfg.NodeID, host, port
	resp.ClusterID, resp.ControllerID, resp.EndpointType = b.cfg.ClusterID, b.cfg.NodeID, brokerEndpoint
	resp.Brokers = append(resp.Brokers, rb)
	resp.ClusterAuthorizedOperations = who{b, r.conn}.operations(req.IncludeClusterAuthorizedOperations, kmsg.ACLResourceTypeCluster, acl.Cluster)
	r.respond(resp)
}
