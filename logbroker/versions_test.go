package logbroker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// versionsServed are the requests that clients need of a broker, with all versions
// that Apache Kafka's trunk has. Produce begins at 0 because librdkafka insists;
// InitProducerId 6 is not stable there. Not here: requests between brokers, share
// groups and streams groups.
const versionsServed = `
0 Produce 0-13
1 Fetch 4-18
2 ListOffsets 1-11
3 Metadata 0-13
8 OffsetCommit 2-10
9 OffsetFetch 1-10
10 FindCoordinator 0-6
11 JoinGroup 0-9
12 Heartbeat 0-4
13 LeaveGroup 0-5
14 SyncGroup 0-5
15 DescribeGroups 0-6
16 ListGroups 0-5
17 SASLHandshake 0-1
18 ApiVersions 0-5
19 CreateTopics 2-7
20 DeleteTopics 1-6
21 DeleteRecords 0-2
22 InitProducerID 0-5
23 OffsetForLeaderEpoch 2-4
24 AddPartitionsToTxn 0-5
25 AddOffsetsToTxn 0-4
26 EndTxn 0-5
27 WriteTxnMarkers 1-2
28 TxnOffsetCommit 0-6
29 DescribeACLs 1-3
30 CreateACLs 1-3
31 DeleteACLs 1-3
32 DescribeConfigs 1-4
33 AlterConfigs 0-2
34 AlterReplicaLogDirs 1-2
35 DescribeLogDirs 1-5
36 SASLAuthenticate 0-2
37 CreatePartitions 0-3
38 CreateDelegationToken 1-3
39 RenewDelegationToken 1-2
40 ExpireDelegationToken 1-2
41 DescribeDelegationToken 1-3
42 DeleteGroups 0-3
43 ElectLeaders 0-2
44 IncrementalAlterConfigs 0-1
45 AlterPartitionAssignments 0-1
46 ListPartitionReassignments 0-0
47 OffsetDelete 0-0
48 DescribeClientQuotas 0-1
49 AlterClientQuotas 0-1
50 DescribeUserSCRAMCredentials 0-0
51 AlterUserSCRAMCredentials 0-0
55 DescribeQuorum 0-2
57 UpdateFeatures 0-2
60 DescribeCluster 0-2
61 DescribeProducers 0-0
65 DescribeTransactions 0-0
66 ListTransactions 0-2
68 ConsumerGroupHeartbeat 0-1
69 ConsumerGroupDescribe 0-1
74 ListConfigResources 0-1
75 DescribeTopicPartitions 0-0
`

// TestApiVersions: every version tells what is served, and features only as far as
// old clients can read them.
func TestApiVersions(t *testing.T) {
	_, connect := dial(t, Config{})
	for version := int16(0); version <= 5; version++ {
		resp := apiVersions(t, connect(), version)
		got := "\n"
		for _, k := range resp.ApiKeys {
			got += fmt.Sprintf("%d %s %d-%d\n", k.ApiKey, kmsg.NameForKey(k.ApiKey), k.MinVersion, k.MaxVersion)
		}
		if diff := cmp.Diff(strings.Split(versionsServed, "\n"), strings.Split(got, "\n")); diff != "" {
			t.Errorf("version %d: %s", version, diff)
		}
		var supported, finalized []string
		for _, f := range resp.SupportedFeatures {
			supported = append(supported, fmt.Sprint(f.Name, " ", f.MinVersion, "-", f.MaxVersion))
		}
		for _, f := range resp.FinalizedFeatures {
			finalized = append(finalized, fmt.Sprint(f.Name, " ", f.MaxVersionLevel))
		}
		// Java clients before 3.8 throw at a feature whose minimum is 0 (KAFKA-17011);
		// from version 4 on the client knows better.
		var wantSupported, wantFinalized []string
		if version >= 3 {
			wantFinalized = []string{"group.version 1", "transaction.version 2"}
		}
		if version >= 4 {
			wantSupported = []string{"group.version 0-1", "transaction.version 0-2"}
		}
		if diff := cmp.Diff(wantFinalized, finalized) + cmp.Diff(wantSupported, supported); diff != "" {
			t.Errorf("version %d: %s", version, diff)
		}
		if version >= 3 && resp.FinalizedFeaturesEpoch < 0 {
			t.Errorf("version %d: features of no epoch, which clients ignore", version)
		}
	}
}

// TestVersionsNotServed: a version beside those that are served ends the connection,
// of every request but ApiVersions, and neither hangs it nor harms another.
func TestVersionsNotServed(t *testing.T) {
	b, connect := dial(t, Config{})
	other := connect()
	for key, h := range b.handlers {
		versions := []int16{h.min - 1, h.max + 1, -1, 1<<15 - 1}
		if key == int16(kmsg.Produce) {
			versions = append(versions, 0, 1, 2) // told, not served
		}
		for _, v := range versions {
			if key == int16(kmsg.ApiVersions) {
				continue
			}
			c := connect()
			frame := []byte{byte(key >> 8), byte(key), byte(uint16(v) >> 8), byte(v), 0, 0, 0, 1, 0, 1, 'c'}
			frame = append(frame, make([]byte, 40)...)
			w := &wire{t, c}
			w.send(frame)
			if answer, err := w.receive(); err == nil {
				t.Errorf("%s version %d is answered with % x", kmsg.NameForKey(key), v, answer)
			}
			_ = c.Close()
		}
	}
	for _, v := range []int16{-1, 6, 1<<15 - 1} {
		resp := apiVersions(t, connect(), v)
		if resp.ErrorCode != 35 || resp.Version != 0 || len(resp.ApiKeys) != len(b.handlers)-2 { // two are of telemetry
			t.Errorf("ApiVersions %d: error %d with %d keys", v, resp.ErrorCode, len(resp.ApiKeys))
		}
	}
	if resp := apiVersions(t, other, 3); resp.ErrorCode != 0 {
		t.Errorf("another connection: error %d", resp.ErrorCode)
	}
}
