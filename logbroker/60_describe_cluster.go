package logbroker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/acl"
)

// What DescribeCluster can be about (KIP-919).
const (
	brokerEndpoints     = 1
	controllerEndpoints = 2
)

// handleDescribeCluster answers DescribeCluster, versions 0 to 2.
func (b *Broker) handleDescribeCluster(r *request) {
	req := r.msg.(*kmsg.DescribeClusterRequest)
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	switch resp.EndpointType = brokerEndpoints; req.EndpointType {
	case brokerEndpoints:
	case controllerEndpoints:
		resp.ErrorCode, resp.ErrorMessage = alterError(fmt.Errorf("%w: this is a broker, ask a controller", kerr.MismatchedEndpointType))
	default:
		resp.ErrorCode, resp.ErrorMessage = alterError(fmt.Errorf("%w: there are no endpoints of type %d", kerr.UnsupportedEndpointType, req.EndpointType))
	}
	if resp.ErrorCode != 0 {
		r.respond(resp)
		return
	}
	host, port := b.advertised(r.conn)
	rb := kmsg.NewDescribeClusterResponseBroker()
	rb.NodeID, rb.Host, rb.Port = b.cfg.NodeID, host, port
	resp.ClusterID, resp.ControllerID = b.cfg.ClusterID, b.cfg.NodeID
	resp.Brokers = append(resp.Brokers, rb)
	resp.ClusterAuthorizedOperations = who{b, r.conn}.operations(req.IncludeClusterAuthorizedOperations, kmsg.ACLResourceTypeCluster, acl.Cluster)
	r.respond(resp)
}
