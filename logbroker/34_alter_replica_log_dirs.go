package logbroker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleAlterReplicaLogDirs answers AlterReplicaLogDirs, versions 1 and 2
// (KIP-113). There is one directory: partitions are where they are to go, or the
// directory does not exist.
func (b *Broker) handleAlterReplicaLogDirs(r *request) {
	req := r.msg.(*kmsg.AlterReplicaLogDirsRequest)
	r.respond(alterDirs(req, func(dir, name string, index int32) int16 {
		if dir != b.cfg.Dir {
			return kerr.LogDirNotFound.Code
		}
		_, err := b.topics.partition(b.topics.byName(name), index)
		return groupCode(err)
	}))
}

// alterDirs is the answer with the code of every partition; a topic that is named
// for several directories is answered once.
func alterDirs(req *kmsg.AlterReplicaLogDirsRequest, code func(dir, name string, index int32) int16) *kmsg.AlterReplicaLogDirsResponse {
	resp := req.ResponseKind().(*kmsg.AlterReplicaLogDirsResponse)
	at := map[string]int{}
	for _, d := range req.Dirs {
		for _, t := range d.Topics {
			if _, ok := at[t.Topic]; !ok {
				at[t.Topic] = len(resp.Topics)
				rt := kmsg.NewAlterReplicaLogDirsResponseTopic()
				rt.Topic = t.Topic
				resp.Topics = append(resp.Topics, rt)
			}
			rt := &resp.Topics[at[t.Topic]]
			for _, n := range t.Partitions {
				rp := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
				rp.Partition, rp.ErrorCode = n, code(d.Dir, t.Topic, n)
				rt.Partitions = append(rt.Partitions, rp)
			}
		}
	}
	return resp
}

func guardAlterDirs(w who, r kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
	if w.mayCluster(kmsg.ACLOperationAlter) {
		return nil, nil
	}
	return alterDirs(r.(*kmsg.AlterReplicaLogDirsRequest), func(string, string, int32) int16 { return kerr.ClusterAuthorizationFailed.Code }), nil
}
