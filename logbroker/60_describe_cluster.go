package logbroker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/acl"
)

// handleDescribeCluster answers DescribeCluster, versions 0 to 2.
func (b *Broker) handleDescribeCluster(r *request) {
	req := r.msg.(*kmsg.DescribeClusterRequest)
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	host, port := b.advertised(r.conn)
	rb := kmsg.NewDescribeClusterResponseBroker()
	rb.NodeID, rb.Host, rb.Port = b.cfg.NodeID, host, port
	resp.ClusterID, resp.ControllerID, resp.EndpointType = b.cfg.ClusterID, b.cfg.NodeID, 1
	resp.Brokers = append(resp.Brokers, rb)
	resp.ClusterAuthorizedOperations = who{b, r.conn}.operations(req.IncludeClusterAuthorizedOperations, kmsg.ACLResourceTypeCluster, acl.Cluster)
	r.respond(resp)
}
