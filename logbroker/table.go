package logbroker

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// handler is one row of the request table.
type handler struct {
	key kmsg.Key
	// min and max are the versions advertised; below served answers with
	// UNSUPPORTED_VERSION what is advertised only because a client insists.
	min, max int16
	serve    func(b *Broker, r *request)
}

// served is a row with the shape of its requests, and how one is made to read into.
type served struct {
	handler
	empty    func() kmsg.Request
	flexible int16
	fields   []field
}

// requestTable lists every request served, by key. The group requests are in
// groups.go.
func requestTable() []handler {
	return append(groupHandlers(),
		handler{kmsg.Produce, 0, 13, (*Broker).handleProduce},
		handler{kmsg.Fetch, 4, 18, (*Broker).handleFetch},
		handler{kmsg.ListOffsets, 1, 11, (*Broker).handleListOffsets},
		handler{kmsg.Metadata, 0, 13, (*Broker).handleMetadata},
		handler{kmsg.FindCoordinator, 0, 6, (*Broker).handleFindCoordinator},
		handler{kmsg.ApiVersions, 0, 5, (*Broker).handleApiVersions},
		handler{kmsg.CreateTopics, 2, 7, (*Broker).handleCreateTopics},
		handler{kmsg.DeleteTopics, 1, 6, (*Broker).handleDeleteTopics},
		handler{kmsg.DeleteRecords, 0, 2, (*Broker).handleDeleteRecords},
		handler{kmsg.InitProducerID, 0, 5, (*Broker).handleInitProducerID},
		handler{kmsg.OffsetForLeaderEpoch, 2, 4, (*Broker).handleOffsetForLeaderEpoch},
		handler{kmsg.AddPartitionsToTxn, 0, 5, (*Broker).handleAddPartitionsToTxn},
		handler{kmsg.AddOffsetsToTxn, 0, 4, (*Broker).handleAddOffsetsToTxn},
		handler{kmsg.EndTxn, 0, 5, (*Broker).handleEndTxn},
		handler{kmsg.WriteTxnMarkers, 1, 2, (*Broker).handleWriteTxnMarkers},
		handler{kmsg.TxnOffsetCommit, 0, 6, (*Broker).handleTxnOffsetCommit},
		handler{kmsg.DescribeConfigs, 1, 4, (*Broker).handleDescribeConfigs},
		handler{kmsg.AlterConfigs, 0, 2, (*Broker).handleAlterConfigs},
		handler{kmsg.AlterReplicaLogDirs, 1, 2, (*Broker).handleAlterReplicaLogDirs},
		handler{kmsg.DescribeLogDirs, 1, 5, (*Broker).handleDescribeLogDirs},
		handler{kmsg.DescribeProducers, 0, 0, (*Broker).handleDescribeProducers},
		handler{kmsg.DescribeTransactions, 0, 0, (*Broker).handleDescribeTransactions},
		handler{kmsg.ListTransactions, 0, 2, (*Broker).handleListTransactions},
		handler{kmsg.IncrementalAlterConfigs, 0, 1, (*Broker).handleIncrementalAlterConfigs},
		handler{kmsg.CreatePartitions, 0, 3, (*Broker).handleCreatePartitions},
		handler{kmsg.SASLHandshake, 0, 1, (*Broker).handleSASLHandshake},
		handler{kmsg.SASLAuthenticate, 0, 2, (*Broker).handleSASLAuthenticate},
		handler{kmsg.CreateDelegationToken, 1, 3, (*Broker).handleDelegationToken},
		handler{kmsg.RenewDelegationToken, 1, 2, (*Broker).handleDelegationToken},
		handler{kmsg.ExpireDelegationToken, 1, 2, (*Broker).handleDelegationToken},
		handler{kmsg.DescribeDelegationToken, 1, 3, (*Broker).handleDelegationToken},
		handler{kmsg.DescribeACLs, 1, 3, (*Broker).handleDescribeACLs},
		handler{kmsg.CreateACLs, 1, 3, (*Broker).handleCreateACLs},
		handler{kmsg.DeleteACLs, 1, 3, (*Broker).handleDeleteACLs},
		handler{kmsg.DescribeClientQuotas, 0, 1, (*Broker).handleDescribeClientQuotas},
		handler{kmsg.AlterClientQuotas, 0, 1, (*Broker).handleAlterClientQuotas},
		handler{kmsg.DescribeUserSCRAMCredentials, 0, 0, (*Broker).handleDescribeUserSCRAMCredentials},
		handler{kmsg.AlterUserSCRAMCredentials, 0, 0, (*Broker).handleAlterUserSCRAMCredentials},
		handler{kmsg.ElectLeaders, 0, 2, (*Broker).handleElectLeaders},
		handler{kmsg.AlterPartitionAssignments, 0, 1, (*Broker).handleAlterPartitionReassignments},
		handler{kmsg.ListPartitionReassignments, 0, 0, (*Broker).handleListPartitionReassignments},
		handler{kmsg.DescribeQuorum, 0, 2, (*Broker).handleDescribeQuorum},
		handler{kmsg.UpdateFeatures, 0, 2, (*Broker).handleUpdateFeatures},
		handler{kmsg.DescribeCluster, 0, 2, (*Broker).handleDescribeCluster},
		handler{kmsg.GetTelemetrySubscriptions, 0, 0, (*Broker).handleGetTelemetrySubscriptions},
		handler{kmsg.PushTelemetry, 0, 0, (*Broker).handlePushTelemetry},
		handler{kmsg.ListConfigResources, 0, 1, (*Broker).handleListConfigResources},
		handler{kmsg.DescribeTopicPartitions, 0, 0, (*Broker).handleDescribeTopicPartitions},
	)
}

// request is one request on its way through the broker.
type request struct {
	// conn is whose request it is; valid inside the handler only.
	conn *Conn
	msg  kmsg.Request
	// client is what the client called itself with this request: conn's changes when
	// the next one is read.
	client string
	// respond answers, exactly once. nil stands for no answer, which only a
	// produce without acks has.
	respond func(kmsg.Response)
	// usage is what it uses of its client's limits; nil of a produce, which is counted in
	// parts, and of a caller in this process.
	usage *usage
	// throttle is how long the client is to wait for what it did.
	throttle time.Duration
}
