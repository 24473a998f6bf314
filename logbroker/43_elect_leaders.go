package logbroker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleElectLeaders answers ElectLeaders, versions 0 to 2 (KIP-460): of one
// broker every partition has its leader already. Topics that are null are all,
// and of their partitions only those that need an election are told.
func (b *Broker) handleElectLeaders(r *request) {
	req := r.msg.(*kmsg.ElectLeadersRequest)
	if req.Version > 0 && (req.ElectionType < 0 || req.ElectionType > uncleanElection) {
		err := fmt.Errorf("%w: there is no election of type %d", kerr.InvalidRequest, req.ElectionType)
		resp := elect(req, func(string, int32) error { return err })
		resp.ErrorCode = errorCode(err)
		r.respond(resp)
		return
	}
	resp := elect(req, func(topic string, index int32) error {
		if _, err := b.topics.partition(b.topics.byName(topic), index); err != nil {
			return err
		}
		return kerr.ElectionNotNeeded
	})
	if req.Topics == nil {
		for _, t := range b.topics.sorted() {
			rt := kmsg.NewElectLeadersResponseTopic()
			rt.Topic = t.name
			resp.Topics = append(resp.Topics, rt)
		}
	}
	r.respond(resp)
}

// uncleanElection is the last of the types of elections.
const uncleanElection = 1

// elect is the answer with what is said of every partition.
func elect(req *kmsg.ElectLeadersRequest, of func(topic string, index int32) error) *kmsg.ElectLeadersResponse {
	resp := req.ResponseKind().(*kmsg.ElectLeadersResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewElectLeadersResponseTopic()
		rt.Topic = t.Topic
		for _, n := range t.Partitions {
			rp := kmsg.NewElectLeadersResponseTopicPartition()
			rp.Partition = n
			rp.ErrorCode, rp.ErrorMessage = alterError(of(t.Topic, n))
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
	resp := elect(r.(*kmsg.ElectLeadersRequest), func(string, int32) error { return kerr.ClusterAuthorizationFailed })
	resp.ErrorCode = kerr.ClusterAuthorizationFailed.Code
	return resp, nil
}
