package logbroker

import (
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

func (w *workbench) createPartitions(topic string, count int32, change func(*kmsg.CreatePartitionsRequest)) kmsg.CreatePartitionsResponseTopic {
	w.t.Helper()
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.Version = 3
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = topic, count
	req.Topics = append(req.Topics, t)
	if change != nil {
		change(req)
	}
	resp := ask[*kmsg.CreatePartitionsResponse](w, req)
	if len(resp.Topics) != 1 {
		w.t.Fatalf("%d answers, want 1", len(resp.Topics))
	}
	return resp.Topics[0]
}

// TestPartitionsAreAdded: a topic grows, keeps what it has, and is as large
// after a restart and after a power loss.
func TestPartitionsAreAdded(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.want(w.produce(13, nil, 0, oneRecord(-1, -1, -1, false, "before")).ErrorCode, nil)
	w.want(w.produce(13, nil, 2, oneRecord(-1, -1, -1, false, "nowhere")).ErrorCode, kerr.UnknownTopicOrPartition)

	w.want(w.createPartitions("t", 3, func(r *kmsg.CreatePartitionsRequest) { r.ValidateOnly = true }).ErrorCode, nil)
	w.want(w.produce(13, nil, 2, oneRecord(-1, -1, -1, false, "nowhere")).ErrorCode, kerr.UnknownTopicOrPartition)
	w.want(w.createPartitions("t", 3, nil).ErrorCode, nil)
	w.want(w.produce(13, nil, 2, oneRecord(-1, -1, -1, false, "after")).ErrorCode, nil)
	check := func() {
		t.Helper()
		if n := len(w.topics.byName("t").parts()); n != 3 {
			t.Errorf("%d partitions, want 3", n)
		}
		if got := w.values(0, false); !slices.Equal(got, []string{"before"}) {
			t.Errorf("partition 0 has %q", got)
		}
		if got := w.values(2, false); !slices.Equal(got, []string{"after"}) {
			t.Errorf("partition 2 has %q", got)
		}
	}
	check()
	w.restart()
	check()
	w.losePower("boot-2")
	check()

	own := func(replicas ...[]int32) func(*kmsg.CreatePartitionsRequest) {
		return func(r *kmsg.CreatePartitionsRequest) {
			for _, ids := range replicas {
				r.Topics[0].Assignment = append(r.Topics[0].Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: ids})
			}
		}
	}
	for name, test := range map[string]struct {
		topic  string
		count  int32
		change func(*kmsg.CreatePartitionsRequest)
		want   *kerr.Error
	}{
		"as many":             {"t", 3, nil, kerr.InvalidPartitions},
		"fewer":               {"t", 2, nil, kerr.InvalidPartitions},
		"too many":            {"t", 3 + maxNewPartitions + 1, nil, kerr.UnknownServerError},
		"unknown":             {"u", 2, nil, kerr.UnknownTopicOrPartition},
		"twice":               {"t", 4, func(r *kmsg.CreatePartitionsRequest) { r.Topics = append(r.Topics, r.Topics[0]) }, kerr.InvalidRequest},
		"foreign broker":      {"t", 4, own([]int32{7}), kerr.InvalidReplicaAssignment},
		"too few assignments": {"t", 5, own([]int32{0}), kerr.InvalidReplicaAssignment},
	} {
		got := w.createPartitions(test.topic, test.count, test.change)
		if got.ErrorCode != test.want.Code {
			t.Errorf("%s: %v, want %v", name, kerr.ErrorForCode(got.ErrorCode), test.want)
		}
		if got.ErrorMessage == nil {
			t.Errorf("%s: no message", name)
		}
	}
	w.want(w.createPartitions("t", 4, own([]int32{0})).ErrorCode, nil)
}

// TestTopicsAreDescribedByPages walks all partitions through small pages, and
// sees each once.
func TestTopicsAreDescribedByPages(t *testing.T) {
	w := newWorkbench(t)
	w.topic("a", 3)
	w.topic("b", 1)
	w.topic("c", 4)
	for _, limit := range []int32{1, 2, 3, 4, 5, 100} {
		seen := map[string][]int32{}
		var cursor *kmsg.DescribeTopicPartitionsRequestCursor
		for range 20 {
			req := kmsg.NewPtrDescribeTopicPartitionsRequest()
			req.ResponsePartitionLimit, req.Cursor = limit, cursor
			resp := ask[*kmsg.DescribeTopicPartitionsResponse](w, req)
			n := 0
			for _, topic := range resp.Topics {
				w.want(topic.ErrorCode, nil)
				for _, p := range topic.Partitions {
					seen[*topic.Topic] = append(seen[*topic.Topic], p.Partition)
					n++
					if p.EligibleLeaderReplicas == nil || p.LastKnownELR == nil || p.OfflineReplicas == nil {
						t.Error("an array is null")
					}
				}
			}
			if n > int(limit) {
				t.Errorf("%d partitions in a page of %d", n, limit)
			}
			cursor = nil
			if resp.NextCursor == nil {
				break
			}
			cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
		}
		if diff := cmp.Diff(map[string][]int32{"a": {0, 1, 2}, "b": {0}, "c": {0, 1, 2, 3}}, seen); diff != "" || cursor != nil {
			t.Errorf("limit %d, cursor %v: %s", limit, cursor, diff)
		}
	}
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	for _, name := range []string{"b", "nowhere", "bad name"} {
		req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
	}
	resp := ask[*kmsg.DescribeTopicPartitionsResponse](w, req)
	w.want(resp.Topics[0].ErrorCode, nil) // by name: "b", "bad name", "nowhere"
	w.want(resp.Topics[1].ErrorCode, kerr.InvalidTopicException)
	w.want(resp.Topics[2].ErrorCode, kerr.UnknownTopicOrPartition)
}

// TestHangingTransactionIsAborted: an administrator ends a transaction in one
// partition, and readers go on.
func TestHangingTransactionIsAborted(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	w.initID(id)
	pid, epoch := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "hangs")).ErrorCode, nil)
	w.want(w.produce(13, nil, 0, oneRecord(-1, -1, -1, false, "after")).ErrorCode, nil)
	w.pass(2 * time.Second)
	if got := w.values(0, true); len(got) != 0 {
		t.Fatalf("read %q behind an open transaction", got)
	}
	coordinator := int32(0)
	marker := func(committed bool, epoch int16, partition int32) int16 {
		req := kmsg.NewPtrWriteTxnMarkersRequest()
		req.Version = 1
		m := kmsg.NewWriteTxnMarkersRequestMarker()
		m.ProducerID, m.ProducerEpoch, m.Committed, m.CoordinatorEpoch = pid, epoch, committed, coordinator
		m.Topics = append(m.Topics, kmsg.WriteTxnMarkersRequestMarkerTopic{Topic: "t", Partitions: []int32{partition}})
		req.Markers = append(req.Markers, m)
		return ask[*kmsg.WriteTxnMarkersResponse](w, req).Markers[0].Topics[0].Partitions[0].ErrorCode
	}
	w.want(marker(true, epoch, 0), kerr.InvalidRequest)
	w.want(marker(false, epoch-1, 0), kerr.InvalidProducerEpoch)
	w.want(marker(false, epoch, 1), kerr.UnknownTopicOrPartition)
	w.want(marker(false, epoch, 0), nil)
	if got := w.values(0, true); !slices.Equal(got, []string{"after"}) {
		t.Errorf("read %q after the abort", got)
	}
	end := w.topics.byName("t").parts()[0].log.End()
	w.want(marker(false, epoch, 0), nil) // again: nothing is open
	if got := w.topics.byName("t").parts()[0].log.End(); got != end+1 {
		t.Errorf("the log ends at %d after a marker that stands alone, it was %d", got, end)
	}
	coordinator = 7
	w.want(marker(false, epoch, 0), nil)
	coordinator = 6
	w.want(marker(false, epoch, 0), kerr.TransactionCoordinatorFenced)
	coordinator = math.MaxInt32 // the broker's own markers are written all the same
	w.want(marker(false, epoch, 0), nil)
	ended := w.endTxn(5, id, pid, epoch, true)
	w.want(ended.ErrorCode, nil)
	w.want(w.produce(13, &id, 0, oneRecord(ended.ProducerID, ended.ProducerEpoch, 0, true, "next")).ErrorCode, nil)
	w.want(w.endTxn(5, id, ended.ProducerID, ended.ProducerEpoch, true).ErrorCode, nil)
	if got := w.values(0, true); !slices.Equal(got, []string{"after", "next"}) {
		t.Errorf("read %q", got)
	}
	w.losePower("boot-2")
	if got := w.values(0, true); !slices.Equal(got, []string{"after", "next"}) {
		t.Errorf("read %q after a power loss", got)
	}
}

// TestTransactionsAreVerified: brokers ask whether partitions belong to an open
// transaction, several at a time.
func TestTransactionsAreVerified(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	id := "a"
	pid, epoch := w.initID(id)
	do := func(verify bool, id string, pid int64, partition int32) int16 {
		req := kmsg.NewPtrAddPartitionsToTxnRequest()
		req.Version = 4
		tx := kmsg.NewAddPartitionsToTxnRequestTransaction()
		tx.TransactionalID, tx.ProducerID, tx.ProducerEpoch, tx.VerifyOnly = id, pid, epoch, verify
		tx.Topics = append(tx.Topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: "t", Partitions: []int32{partition}})
		req.Transactions = append(req.Transactions, tx, tx)
		resp := ask[*kmsg.AddPartitionsToTxnResponse](w, req)
		if len(resp.Transactions) != 2 || resp.Transactions[1].TransactionalID != id {
			t.Fatalf("answer %+v", resp)
		}
		return resp.Transactions[1].Topics[0].Partitions[0].ErrorCode
	}
	w.want(do(true, id, pid, 0), kerr.TransactionAbortable)
	w.want(do(false, id, pid, 0), nil)
	w.want(do(true, id, pid, 0), nil)
	w.want(do(true, id, pid, 1), kerr.TransactionAbortable)
	w.want(do(true, "nobody", pid, 0), kerr.InvalidProducerIDMapping)
	w.want(do(false, id, pid, 9), kerr.UnknownTopicOrPartition)
}

// TestGroupConfigs: they are set, refused, listed, and there after a restart.
func TestGroupConfigs(t *testing.T) {
	w := newWorkbench(t)
	set := func(name, value string) int16 {
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Version = 1
		res := kmsg.NewIncrementalAlterConfigsRequestResource()
		res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeGroupConfig, "g"
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Value = name, &value
		if value == "" {
			c.Op = kmsg.IncrementalAlterConfigOpDelete
		}
		res.Configs = append(res.Configs, c)
		req.Resources = append(req.Resources, res)
		return ask[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources[0].ErrorCode
	}
	listed := func() (names []string) {
		req := kmsg.NewPtrListConfigResourcesRequest()
		req.Version, req.ResourceTypes = 1, []int8{int8(kmsg.ConfigResourceTypeGroupConfig), int8(kmsg.ConfigResourceTypeBroker)}
		for _, c := range ask[*kmsg.ListConfigResourcesResponse](w, req).ConfigResources {
			names = append(names, c.Name)
		}
		return names
	}
	w.want(set("consumer.session.timeout.ms", "50000"), nil)
	w.want(set("consumer.session.timeout.ms", "1"), kerr.InvalidConfig)
	w.want(set("retention.ms", "1"), kerr.InvalidConfig)
	w.restart()
	if times := w.groupSettings.times("g"); times != (group.Times{Heartbeat: 5 * time.Second, Session: 50 * time.Second, Assignment: time.Second}) {
		t.Errorf("the group has %+v", times)
	}
	if got := listed(); !slices.Equal(got, []string{"g", "0"}) {
		t.Errorf("listed %q", got)
	}
	w.want(set("consumer.session.timeout.ms", ""), nil)
	if got := listed(); !slices.Equal(got, []string{"0"}) {
		t.Errorf("listed %q", got)
	}
}

// TestOneNodeAnswers: requests that need more than one broker are answered as
// they can be by one.
func TestOneNodeAnswers(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)

	elect := kmsg.NewPtrElectLeadersRequest()
	elect.Version = 2
	elect.Topics = append(elect.Topics, kmsg.ElectLeadersRequestTopic{Topic: "t", Partitions: []int32{0, 1}})
	parts := ask[*kmsg.ElectLeadersResponse](w, elect).Topics[0].Partitions
	w.want(parts[0].ErrorCode, kerr.ElectionNotNeeded)
	w.want(parts[1].ErrorCode, kerr.UnknownTopicOrPartition)

	move := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	mt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	mt.Topic = "t"
	for _, replicas := range [][]int32{{0}, {1}, nil} {
		p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		p.Replicas = replicas
		mt.Partitions = append(mt.Partitions, p)
	}
	move.Topics = append(move.Topics, mt)
	moved := ask[*kmsg.AlterPartitionAssignmentsResponse](w, move).Topics[0].Partitions
	w.want(moved[0].ErrorCode, nil)
	w.want(moved[1].ErrorCode, kerr.InvalidReplicaAssignment)
	w.want(moved[2].ErrorCode, kerr.NoReassignmentInProgress)

	quorum := kmsg.NewPtrDescribeQuorumRequest()
	quorum.Version = 2
	qt := kmsg.NewDescribeQuorumRequestTopic()
	qt.Topic = metadataTopic
	qt.Partitions = append(qt.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	quorum.Topics = append(quorum.Topics, qt)
	q := ask[*kmsg.DescribeQuorumResponse](w, quorum).Topics[0].Partitions[0]
	if q.LeaderID != 0 || len(q.CurrentVoters) != 1 {
		t.Errorf("quorum %+v", q)
	}

	sub := ask[*kmsg.GetTelemetrySubscriptionsResponse](w, kmsg.NewPtrGetTelemetrySubscriptionsRequest())
	if sub.ClientInstanceID == ([16]byte{}) || len(sub.RequestedMetrics) != 0 {
		t.Errorf("telemetry %+v", sub)
	}
	push := kmsg.NewPtrPushTelemetryRequest()
	push.ClientInstanceID, push.SubscriptionID = sub.ClientInstanceID, sub.SubscriptionID
	w.want(ask[*kmsg.PushTelemetryResponse](w, push).ErrorCode, nil)
	push.SubscriptionID = 5
	w.want(ask[*kmsg.PushTelemetryResponse](w, push).ErrorCode, kerr.UnknownSubscriptionID)

	versions := kmsg.NewPtrApiVersionsRequest()
	versions.Version, versions.ClientSoftwareName, versions.ClientSoftwareVersion = 5, "a b", "1"
	w.want(ask[*kmsg.ApiVersionsResponse](w, versions).ErrorCode, kerr.InvalidRequest)
	other := "another-cluster"
	versions.ClientSoftwareName, versions.ClusterID, versions.NodeID = "a-b", &other, 0
	w.want(ask[*kmsg.ApiVersionsResponse](w, versions).ErrorCode, kerr.RebootstrapRequired)
	versions.ClusterID = &w.Broker.cfg.ClusterID
	w.want(ask[*kmsg.ApiVersionsResponse](w, versions).ErrorCode, nil)

	configs := kmsg.NewPtrDescribeConfigsRequest()
	configs.Version = 4
	res := kmsg.NewDescribeConfigsRequestResource()
	res.ResourceType, res.ResourceName, res.ConfigNames = kmsg.ConfigResourceTypeBroker, "0", []string{"message.max.bytes"}
	configs.Resources = append(configs.Resources, res)
	c := ask[*kmsg.DescribeConfigsResponse](w, configs).Resources[0].Configs
	if len(c) != 1 || *c[0].Value != "1048588" || c[0].ReadOnly {
		t.Errorf("broker configs %+v", c)
	}
}

// TestPartitionsStayInTheirDirectory: there is one, and nothing else to move to.
func TestPartitionsStayInTheirDirectory(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	req := kmsg.NewPtrAlterReplicaLogDirsRequest()
	req.Version = 2
	for _, dir := range []string{"data", "elsewhere"} {
		req.Dirs = append(req.Dirs, kmsg.AlterReplicaLogDirsRequestDir{Dir: dir, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{
			{Topic: "t", Partitions: []int32{0, 7}}, {Topic: "nowhere", Partitions: []int32{0}},
		}})
	}
	got := map[string][]int16{}
	for _, topic := range ask[*kmsg.AlterReplicaLogDirsResponse](w, req).Topics {
		for _, p := range topic.Partitions {
			got[topic.Topic] = append(got[topic.Topic], p.ErrorCode)
		}
	}
	unknown, noDir := kerr.UnknownTopicOrPartition.Code, kerr.LogDirNotFound.Code
	if diff := cmp.Diff(map[string][]int16{"t": {0, unknown, noDir, noDir}, "nowhere": {unknown, noDir}}, got); diff != "" {
		t.Error(diff)
	}
}

// TestDelegationTokensAreDisabled: as in a Kafka without a key for them.
func TestDelegationTokensAreDisabled(t *testing.T) {
	w := newWorkbench(t)
	ask := func(c *Conn) (out []int16) {
		for _, req := range []kmsg.Request{
			kmsg.NewPtrCreateDelegationTokenRequest(), kmsg.NewPtrRenewDelegationTokenRequest(),
			kmsg.NewPtrExpireDelegationTokenRequest(), kmsg.NewPtrDescribeDelegationTokenRequest(),
		} {
			req.SetVersion(2)
			var got []int16
			codes(reflect.ValueOf(askAs[kmsg.Response](w, c, req)), &got)
			out = append(out, got...)
		}
		return out
	}
	plain, secured := eve(), eve()
	secured.listener = &listener{Listener: Listener{SASL: []string{"SCRAM-SHA-256"}}}
	secured.auth.done = true
	for c, want := range map[*Conn]*kerr.Error{plain: kerr.DelegationTokenRequestNotAllowed, secured: kerr.DelegationTokenAuthDisabled} {
		if got := ask(c); !slices.Equal(got, []int16{want.Code, want.Code, want.Code, want.Code}) {
			t.Errorf("codes %v, want %d", got, want.Code)
		}
	}
}
