package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Types of elections: of the preferred leader, and of any (KIP-460).
const (
	preferredElection = 0
	uncleanElection   = 1
)

// handleElectLeaders answers ElectLeaders, versions 0 to 2 (KIP-460): of one
// broker every partition has its leader already. Topics that are null are all,
// and of them only those that need an election are told.
func (b *Broker) handleElectLeaders(r *request) {
	req := r.msg.(*kmsg.ElectLeadersRequest)
	if req.ElectionType != preferredElection && req.ElectionType != uncleanElection {
		resp := elect(req, func(string, int32) int16 { return kerr.InvalidRequest.Code })
		resp.ErrorCode = kerr.InvalidRequest.Code
		r.respond(resp)
		return
	}
	r.respond(elect(req, func(topic string, index int32) int16 {
		if _, err := b.topics.partition(b.topics.byName(topic), index); err != nil {
			return errorCode(err)
		}
		return kerr.ElectionNotNeeded.Code
	}))
}

// elect is the answer with the code of every partition.
func elect(req *kmsg.ElectLeadersRequest, code func(topic string, index int32) int16) *kmsg.ElectLeadersResponse {
	resp := req.ResponseKind().(*kmsg.ElectLeadersResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewElectLeadersResponseTopic()
		rt.Topic = t.Topic
		for _, n := range t.Partitions {
			rp := kmsg.NewElectLeadersResponseTopicPartition()
			rp.Partition, rp.ErrorCode = n, code(t.Topic, n)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// guardElectLeaders refuses every partition, too: version 0 has no other place for an
// error.
func guardElectLeaders(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	if w.mayCluster(kmsg.ACLOperationAlter) {
		return nil, nil
	}
	resp := elect(r.(*kmsg.ElectLeadersRequest), func(string, int32) int16 { return kerr.ClusterAuthorizationFailed.Code })
	resp.ErrorCode = kerr.ClusterAuthorizationFailed.Code
	return resp, nil
}
