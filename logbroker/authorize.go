package logbroker

import (
	"reflect"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/acl"
)

// guard looks at a request before it is handled. It returns the answer to a
// request that is refused whole; or takes out of it what is refused, and returns
// how to put that into the answer to the rest; or neither.
type guard func(w who, req kmsg.Request) (refusal kmsg.Response, amend func(kmsg.Response))

// guards say for every request what it takes to be served. A request without one
// is not served to anybody who is not a super user: see the table's test.
func guards() map[int16]guard {
	return map[int16]guard{
		// Anybody may ask for these.
		int16(kmsg.ApiVersions):               free,
		int16(kmsg.SASLHandshake):             free,
		int16(kmsg.SASLAuthenticate):          free,
		int16(kmsg.DescribeCluster):           free, // brokers, as metadata tells them
		int16(kmsg.GetTelemetrySubscriptions): free,
		int16(kmsg.PushTelemetry):             free,
		int16(kmsg.CreateDelegationToken):     free, // nobody is given one
		int16(kmsg.RenewDelegationToken):      free,
		int16(kmsg.ExpireDelegationToken):     free,
		int16(kmsg.DescribeDelegationToken):   free,

		int16(kmsg.Produce):              guardProduce,
		int16(kmsg.Fetch):                guardFetch,
		int16(kmsg.ListOffsets):          guardListOffsets,
		int16(kmsg.Metadata):             guardMetadata,
		int16(kmsg.OffsetForLeaderEpoch): guardLeaderEpoch,
		int16(kmsg.DeleteRecords):        guardDeleteRecords,
		int16(kmsg.DescribeProducers):    guardDescribeProducers,

		int16(kmsg.InitProducerID):       guardInitProducerID,
		int16(kmsg.AddPartitionsToTxn):   guardAddPartitions,
		int16(kmsg.AddOffsetsToTxn):      guardAddOffsets,
		int16(kmsg.EndTxn):               guardEndTxn,
		int16(kmsg.TxnOffsetCommit):      guardTxnOffsets,
		int16(kmsg.WriteTxnMarkers):      guardMarkers,
		int16(kmsg.DescribeTransactions): guardDescribeTransactions,
		int16(kmsg.ListTransactions):     guardListTransactions,

		int16(kmsg.FindCoordinator):        guardFindCoordinator,
		int16(kmsg.OffsetCommit):           guardOffsetCommit,
		int16(kmsg.OffsetFetch):            guardOffsetFetch,
		int16(kmsg.OffsetDelete):           guardOffsetDelete,
		int16(kmsg.JoinGroup):              guardMember,
		int16(kmsg.SyncGroup):              guardMember,
		int16(kmsg.Heartbeat):              guardMember,
		int16(kmsg.LeaveGroup):             guardMember,
		int16(kmsg.ConsumerGroupHeartbeat): guardConsumerHeartbeat,
		int16(kmsg.DescribeGroups):         guardDescribeGroups,
		int16(kmsg.ConsumerGroupDescribe):  guardConsumerDescribe,
		int16(kmsg.ListGroups):             guardListGroups,
		int16(kmsg.DeleteGroups):           guardDeleteGroups,

		int16(kmsg.CreateTopics):               guardCreateTopics,
		int16(kmsg.DeleteTopics):               guardDeleteTopics,
		int16(kmsg.CreatePartitions):           guardCreatePartitions,
		int16(kmsg.DescribeTopicPartitions):    guardDescribeTopics,
		int16(kmsg.DescribeConfigs):            guardDescribeConfigs,
		int16(kmsg.AlterConfigs):               guardAlterConfigs,
		int16(kmsg.IncrementalAlterConfigs):    guardIncrementalAlter,
		int16(kmsg.ListConfigResources):        onCluster(kmsg.ACLOperationDescribeConfigs),
		int16(kmsg.AlterReplicaLogDirs):        guardAlterDirs,
		int16(kmsg.DescribeLogDirs):            onCluster(kmsg.ACLOperationDescribe),
		int16(kmsg.ElectLeaders):               guardElectLeaders,
		int16(kmsg.AlterPartitionAssignments):  onCluster(kmsg.ACLOperationAlter),
		int16(kmsg.ListPartitionReassignments): onCluster(kmsg.ACLOperationDescribe),
		int16(kmsg.DescribeQuorum):             onCluster(kmsg.ACLOperationDescribe),
		int16(kmsg.UpdateFeatures):             onCluster(kmsg.ACLOperationAlter),

		int16(kmsg.DescribeACLs):                 onCluster(kmsg.ACLOperationDescribe),
		int16(kmsg.CreateACLs):                   guardCreateACLs,
		int16(kmsg.DeleteACLs):                   guardDeleteACLs,
		int16(kmsg.DescribeClientQuotas):         onCluster(kmsg.ACLOperationDescribeConfigs),
		int16(kmsg.AlterClientQuotas):            guardAlterQuotas,
		int16(kmsg.DescribeUserSCRAMCredentials): onCluster(kmsg.ACLOperationDescribe),
		int16(kmsg.AlterUserSCRAMCredentials):    guardAlterCredentials,
	}
}

// who is the client that a request comes from.
type who struct {
	b    *Broker
	conn *Conn
}

// guarded serves a request as far as its client may ask for it.
func (b *Broker) guarded(h served, r *request) {
	w := who{b, r.conn}
	if w.all() {
		h.serve(b, r)
		return
	}
	check := b.guards[int16(h.key)]
	refusal, amend := check(w, r.msg)
	switch {
	case refusal != nil:
		r.respond(refusal)
		return
	case amend != nil:
		respond := r.respond
		r.respond = func(resp kmsg.Response) {
			if resp != nil {
				amend(resp)
			}
			respond(resp)
		}
	}
	h.serve(b, r)
}

// all tells whether the client may do everything.
func (w who) all() bool {
	return w.conn.internal || !w.b.cfg.Security.Authorize || w.b.security.super[w.conn.principal]
}

// may tells whether the client may do something.
func (w who) may(op acl.Operation, kind acl.ResourceType, name string) bool {
	return w.all() || w.b.security.rules.Load().Allows(acl.Request{
		Principal: w.conn.principal, Host: w.conn.address(), Operation: op, Type: kind, Name: name,
	})
}

func (w who) mayTopic(op acl.Operation, name string) bool {
	return w.may(op, kmsg.ACLResourceTypeTopic, name)
}

func (w who) mayGroup(op acl.Operation, name string) bool {
	return w.may(op, kmsg.ACLResourceTypeGroup, name)
}

func (w who) mayTxn(op acl.Operation, name string) bool {
	return w.may(op, kmsg.ACLResourceTypeTransactionalId, name)
}

func (w who) mayCluster(op acl.Operation) bool {
	return w.may(op, kmsg.ACLResourceTypeCluster, acl.Cluster)
}

// maySome tells whether there is a topic on which the client may do something.
func (w who) maySome(op acl.Operation) bool {
	return w.all() || w.b.security.rules.Load().AllowsSome(acl.Request{
		Principal: w.conn.principal, Host: w.conn.address(), Operation: op, Type: kmsg.ACLResourceTypeTopic,
	})
}

// noOperations is what is told instead of them where nobody asked.
const noOperations = -1 << 31

// operations is the set of what the client may do to a resource, as a bit for
// each operation (KIP-430); noOperations if nobody asked.
func (w who) operations(asked bool, kind acl.ResourceType, name string) int32 {
	if !asked {
		return noOperations
	}
	bits := int32(0)
	if !w.may(kmsg.ACLOperationDescribe, kind, name) {
		return bits // as with Kafka, who may not see it is not told
	}
	for _, op := range acl.Operations(kind) {
		if w.may(op, kind, name) {
			bits |= 1 << op
		}
	}
	return bits
}

func free(who, kmsg.Request) (kmsg.Response, func(kmsg.Response)) { return nil, nil }

// onCluster is the guard of requests about the cluster as a whole.
func onCluster(op acl.Operation) guard {
	return func(w who, req kmsg.Request) (kmsg.Response, func(kmsg.Response)) {
		if w.mayCluster(op) {
			return nil, nil
		}
		return refused(req, kerr.ClusterAuthorizationFailed), nil
	}
}

// refused is the answer to a request that is refused whole, where the answer has
// a place for one error.
func refused(req kmsg.Request, err *kerr.Error) kmsg.Response {
	resp := req.ResponseKind()
	v := reflect.ValueOf(resp).Elem()
	v.FieldByName("ErrorCode").SetInt(int64(err.Code))
	if message := v.FieldByName("ErrorMessage"); message.IsValid() {
		message.Set(reflect.ValueOf(&err.Description))
	}
	return resp
}

// split divides a list into what may pass and what may not.
func split[T any](list []T, may func(*T) bool) (pass, held []T) {
	for i := range list {
		if may(&list[i]) {
			pass = append(pass, list[i])
		} else {
			held = append(held, list[i])
		}
	}
	return pass, held
}

// topicName is the name of a topic that a request names, or of which it gives the
// id; unknown tells that there is none of the id.
func (b *Broker) topicName(byID bool, name string, id [16]byte) (out string, unknown bool) {
	if !byID {
		return name, false
	}
	t := b.topics.byID(id)
	if t == nil {
		return "", true
	}
	return t.name, false
}

// mayNamed tells whether the client may do something to a topic that is named, or
// given by its id. One that does not exist passes: its handler says so.
func (w who) mayNamed(op acl.Operation, byID bool, name string, id [16]byte) bool {
	found, unknown := w.b.topicName(byID, name, id)
	return unknown || w.mayTopic(op, found)
}
