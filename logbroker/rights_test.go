package logbroker

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/acl"
)

// right is something that may be done to resources of a type.
type right struct {
	kind acl.ResourceType
	op   acl.Operation
}

func onTopic(op acl.Operation) []right   { return []right{{kmsg.ACLResourceTypeTopic, op}} }
func onGroup(op acl.Operation) []right   { return []right{{kmsg.ACLResourceTypeGroup, op}} }
func onTxn(op acl.Operation) []right     { return []right{{kmsg.ACLResourceTypeTransactionalId, op}} }
func ofCluster(op acl.Operation) []right { return []right{{kmsg.ACLResourceTypeCluster, op}} }

func anyOf(a, b []right) []right { return append(slices.Clone(a), b...) }

// The operations by short names, as a table has many of them.
const (
	opRead, opWrite, opCreate, opDelete = kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationCreate, kmsg.ACLOperationDelete
	opAlter, opDescribe, opCluster      = kmsg.ACLOperationAlter, kmsg.ACLOperationDescribe, kmsg.ACLOperationClusterAction
	opSeeConfigs, opAlterConfigs        = kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs
)

// need is what it takes to be served: of each list one.
type need struct {
	key      kmsg.Key
	min, max int16 // versions; a max of 0 is the last
	rights   [][]right
	change   func(kmsg.Request) // of a request whose names are all "t"
}

func needs(key kmsg.Key, rights ...[]right) need { return need{key: key, rights: rights} }

func (n need) versions(from, to int16) need {
	n.min, n.max = from, to
	return n
}

func with[R kmsg.Request](n need, change func(R)) need {
	n.change = func(r kmsg.Request) { change(r.(R)) }
	return n
}

// dataNeeds are those of requests for records, offsets, groups and transactions.
func dataNeeds() []need {
	return []need{
		with(needs(kmsg.Produce, onTxn(opWrite), onTopic(opWrite)).versions(3, 0), func(r *kmsg.ProduceRequest) { r.Acks = -1 }),
		with(needs(kmsg.Fetch, onTopic(opRead)), func(r *kmsg.FetchRequest) {
			r.SessionID, r.SessionEpoch, r.ForgottenTopics, r.IsolationLevel = 0, noSessionEpoch, nil, readCommitted
		}),
		needs(kmsg.ListOffsets, onTopic(opDescribe)),
		needs(kmsg.Metadata, onTopic(opDescribe)),
		with(needs(kmsg.Metadata, onTopic(opDescribe), anyOf(onTopic(opCreate), ofCluster(opCreate))), func(r *kmsg.MetadataRequest) {
			fresh := "fresh"
			r.Topics[0].Topic, r.AllowAutoTopicCreation = &fresh, true
		}),
		needs(kmsg.OffsetForLeaderEpoch, anyOf(onTopic(opDescribe), ofCluster(opCluster))),
		needs(kmsg.DeleteRecords, onTopic(opDelete)),
		needs(kmsg.DescribeProducers, onTopic(opRead)),
		needs(kmsg.InitProducerID, onTxn(opWrite)),
		with(needs(kmsg.InitProducerID, anyOf(ofCluster(kmsg.ACLOperationIdempotentWrite), onTopic(opWrite))), func(r *kmsg.InitProducerIDRequest) { r.TransactionalID = nil }),
		needs(kmsg.AddPartitionsToTxn, onTxn(opWrite), onTopic(opWrite)).versions(0, 3),
		needs(kmsg.AddPartitionsToTxn, ofCluster(opCluster)).versions(4, 0),
		needs(kmsg.AddOffsetsToTxn, onTxn(opWrite), onGroup(opRead)),
		needs(kmsg.EndTxn, onTxn(opWrite)),
		needs(kmsg.TxnOffsetCommit, onTxn(opWrite), onGroup(opRead), onTopic(opRead)),
		needs(kmsg.WriteTxnMarkers, anyOf(ofCluster(opCluster), ofCluster(opAlter))),
		needs(kmsg.DescribeTransactions, onTxn(opDescribe)),
		with(needs(kmsg.FindCoordinator, onGroup(opDescribe)), func(r *kmsg.FindCoordinatorRequest) { r.CoordinatorType = groupCoordinatorType }),
		with(needs(kmsg.FindCoordinator, onTxn(opDescribe)).versions(1, 0), func(r *kmsg.FindCoordinatorRequest) { r.CoordinatorType = txnCoordinatorType }),
		needs(kmsg.OffsetCommit, onGroup(opRead), onTopic(opRead)),
		with(needs(kmsg.OffsetFetch, onGroup(opDescribe), onTopic(opDescribe)), func(r *kmsg.OffsetFetchRequest) {
			for i := range r.Groups {
				r.Groups[i].MemberID, r.Groups[i].MemberEpoch = nil, -1
			}
		}),
		needs(kmsg.OffsetDelete, onGroup(opDelete), onTopic(opRead)),
		needs(kmsg.JoinGroup, onGroup(opRead)),
		needs(kmsg.SyncGroup, onGroup(opRead)),
		needs(kmsg.Heartbeat, onGroup(opRead)),
		needs(kmsg.LeaveGroup, onGroup(opRead)),
		needs(kmsg.ConsumerGroupHeartbeat, onGroup(opRead), onTopic(opDescribe)),
		needs(kmsg.DescribeGroups, onGroup(opDescribe)),
		needs(kmsg.ConsumerGroupDescribe, onGroup(opDescribe), onTopic(opDescribe)),
		needs(kmsg.DeleteGroups, onGroup(opDelete)),
	}
}

// configNeeds are those of requests about the configs of each type of resources.
func configNeeds() (out []need) {
	for kind, on := range map[kmsg.ConfigResourceType]func(acl.Operation) []right{
		kmsg.ConfigResourceTypeTopic: onTopic, kmsg.ConfigResourceTypeGroupConfig: onGroup, kmsg.ConfigResourceTypeBroker: ofCluster,
		kmsg.ConfigResourceTypeBrokerLogger: ofCluster, kmsg.ConfigResourceTypeClientMetrics: ofCluster,
	} {
		out = append(out,
			with(needs(kmsg.DescribeConfigs, on(opSeeConfigs)), func(r *kmsg.DescribeConfigsRequest) { r.Resources[0].ResourceType = kind }),
			with(needs(kmsg.AlterConfigs, on(opAlterConfigs)), func(r *kmsg.AlterConfigsRequest) { r.Resources[0].ResourceType = kind }),
			with(needs(kmsg.IncrementalAlterConfigs, on(opAlterConfigs)), func(r *kmsg.IncrementalAlterConfigsRequest) { r.Resources[0].ResourceType = kind }),
		)
	}
	return out
}

// adminNeeds are those of the others.
func adminNeeds() []need {
	fresh := func(r *kmsg.CreateTopicsRequest) {
		r.ValidateOnly, r.TimeoutMillis, r.Topics[0].Topic, r.Topics[0].NumPartitions, r.Topics[0].ReplicationFactor = true, 1000, "fresh", 1, 1
		r.Topics[0].ReplicaAssignment, r.Topics[0].Configs = nil, nil
	}
	create := anyOf(onTopic(opCreate), ofCluster(opCreate))
	return []need{
		with(needs(kmsg.CreateTopics, create).versions(2, 4), fresh),
		with(needs(kmsg.CreateTopics, create, onTopic(opSeeConfigs)).versions(5, 0), fresh),
		needs(kmsg.DeleteTopics, onTopic(opDelete)),
		needs(kmsg.CreatePartitions, onTopic(opAlter)),
		needs(kmsg.DescribeTopicPartitions, onTopic(opDescribe)),
		needs(kmsg.ListConfigResources, ofCluster(opSeeConfigs)),
		needs(kmsg.AlterReplicaLogDirs, ofCluster(opAlter)),
		needs(kmsg.DescribeLogDirs, ofCluster(opDescribe)).versions(3, 0), // before, who may not is told of none
		needs(kmsg.ElectLeaders, ofCluster(opAlter)),
		needs(kmsg.AlterPartitionAssignments, ofCluster(opAlter)),
		needs(kmsg.ListPartitionReassignments, ofCluster(opDescribe)),
		needs(kmsg.DescribeQuorum, ofCluster(opDescribe)),
		needs(kmsg.UpdateFeatures, ofCluster(opAlter)),
		needs(kmsg.DescribeACLs, ofCluster(opDescribe)),
		needs(kmsg.CreateACLs, ofCluster(opAlter)),
		needs(kmsg.DeleteACLs, ofCluster(opAlter)),
		needs(kmsg.DescribeClientQuotas, ofCluster(opSeeConfigs)),
		needs(kmsg.AlterClientQuotas, ofCluster(opAlterConfigs)),
		needs(kmsg.DescribeUserSCRAMCredentials, ofCluster(opDescribe)),
		needs(kmsg.AlterUserSCRAMCredentials, ofCluster(opAlter)),
	}
}

// gives tells whether who has one right has another by it, as Kafka's rules go.
func gives(r, wanted right) bool {
	if r.kind != wanted.kind {
		return false
	}
	switch wanted.op {
	case r.op:
		return true
	case opDescribe:
		return r.op == opRead || r.op == opWrite || r.op == opDelete || r.op == opAlter
	case opSeeConfigs:
		return r.op == opAlterConfigs
	}
	return false
}

// allBut are all rights but those that give one of some.
func allBut(some []right) (out []right) {
	for _, kind := range []acl.ResourceType{kmsg.ACLResourceTypeTopic, kmsg.ACLResourceTypeGroup, kmsg.ACLResourceTypeTransactionalId, kmsg.ACLResourceTypeCluster} {
		for _, op := range acl.Operations(kind) {
			if r := (right{kind, op}); !slices.ContainsFunc(some, func(s right) bool { return gives(r, s) }) {
				out = append(out, r)
			}
		}
	}
	return out
}

// grant gives eve rights on everything of their types, and no others.
func (w *workbench) grant(rights ...right) {
	var rules []acl.Rule
	for _, r := range rights {
		rule := acl.Rule{
			Type: r.kind, Name: acl.Any, Pattern: kmsg.ACLResourcePatternTypeLiteral, Principal: "User:eve", Host: acl.Any,
			Operation: r.op, Permission: kmsg.ACLPermissionTypeAllow,
		}
		if r.kind == kmsg.ACLResourceTypeCluster {
			rule.Name = acl.Cluster
		}
		rules = append(rules, rule)
	}
	w.security.rules.Store(acl.NewSet(rules))
}

// newNamed is a secured broker with a topic, a group of the consumer protocol, which
// reads it, and a transactional id, which has written to it, all called t.
func newNamed(t *testing.T) *workbench {
	w := newSecured(t)
	w.cfg.AutoCreateTopics = true
	w.restart()
	w.topic("t", 1)
	id := "t"
	pid, epoch := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
	w.want(w.heart("m", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "t" }).ErrorCode, nil)
	return w
}

// refusedTo asks as eve, and tells whether the answer, as it is on the wire, is that she
// may not.
func (w *workbench) refusedTo(n need, version int16) bool {
	w.t.Helper()
	req := kmsg.RequestForKey(int16(n.key))
	req.SetVersion(version)
	name(rand.New(rand.NewPCG(1, 1)), reflect.ValueOf(req).Elem(), w.topics.byName("t").id)
	if n.change != nil {
		n.change(req)
	}
	var resp kmsg.Response
	w.Handle(eve(), req, func(r kmsg.Response) { resp = r })
	if resp == nil { // it waits: for records, or other members
		return false
	}
	if f, ok := resp.(*fetchAnswer); ok {
		resp = f.FetchResponse
	}
	read := kmsg.ResponseForKey(resp.Key())
	read.SetVersion(version)
	if err := read.ReadFrom(resp.AppendTo(nil)); err != nil {
		w.t.Fatalf("%s: %v", nameOf(req), err)
	}
	var got []int16
	codes(reflect.ValueOf(read), &got)
	return slices.ContainsFunc(got, func(c int16) bool { return slices.Contains(authorizationErrors, c) })
}

// TestWhatEachRequestTakes: each request is served to who has just the rights that it
// takes with Apache Kafka, and refused to who has all but one of them.
func TestWhatEachRequestTakes(t *testing.T) {
	listed := map[int16]bool{}
	for _, n := range slices.Concat(dataNeeds(), configNeeds(), adminNeeds()) {
		listed[int16(n.key)] = true
		w := newNamed(t)
		h := w.handlers[int16(n.key)]
		last := n.max
		if last == 0 {
			last = h.max
		}
		for version := max(n.min, h.min); version <= last; version++ {
			what := fmt.Sprintf("%s version %d", n.key.Name(), version)
			for _, one := range n.rights {
				w.grant(allBut(one)...)
				if !w.refusedTo(n, version) {
					t.Errorf("%s is served without %v", what, one)
				}
			}
		}
		choices := 1
		for _, one := range n.rights {
			choices = max(choices, len(one))
		}
		for i := range choices {
			for _, version := range []int16{max(n.min, h.min), last} {
				w = newNamed(t) // it may have been changed
				var rights []right
				for _, one := range n.rights {
					rights = append(rights, one[i%len(one)])
				}
				if w.grant(rights...); w.refusedTo(n, version) {
					t.Errorf("%s version %d is refused to who has %v", n.key.Name(), version, rights)
				}
			}
		}
	}
	w := newSecured(t)
	for key, check := range w.guards {
		isFree := reflect.ValueOf(check).Pointer() == reflect.ValueOf(free).Pointer()
		isList := key == int16(kmsg.ListGroups) || key == int16(kmsg.ListTransactions) // what one may see
		if !listed[key] && !isFree && !isList {
			t.Errorf("%s is not in the table", kmsg.NameForKey(key))
		}
	}
}

// TestListsShowWhatMayBeSeen: of groups, transactions and their topics.
func TestListsShowWhatMayBeSeen(t *testing.T) {
	w := newNamed(t)
	seen := func(req kmsg.Request) (out kmsg.Response) { // at once: what is seen must not expire
		w.Handle(eve(), req, func(r kmsg.Response) { out = r })
		return out
	}
	groups := func() int { return len(seen(kmsg.NewPtrListGroupsRequest()).(*kmsg.ListGroupsResponse).Groups) }
	txns := func() int {
		return len(seen(kmsg.NewPtrListTransactionsRequest()).(*kmsg.ListTransactionsResponse).TransactionStates)
	}
	topics := func() int {
		req := kmsg.NewPtrDescribeTransactionsRequest()
		req.TransactionalIDs = []string{"t"}
		return len(seen(req).(*kmsg.DescribeTransactionsResponse).TransactionStates[0].Topics)
	}
	seeGroup, seeTxn, seeTopic := onGroup(opDescribe), onTxn(opDescribe), onTopic(opDescribe)
	for _, test := range []struct {
		what   string
		count  func() int
		rights []right
		want   int
	}{
		{"groups", groups, allBut(anyOf(seeGroup, ofCluster(opDescribe))), 0},
		{"groups", groups, seeGroup, 1},
		{"groups", groups, ofCluster(opDescribe), 1},
		{"transactions", txns, allBut(seeTxn), 0},
		{"transactions", txns, seeTxn, 1},
		{"topics of a transaction", topics, allBut(seeTopic), 0},
		{"topics of a transaction", topics, anyOf(seeTopic, seeTxn), 1},
	} {
		if w.grant(test.rights...); test.count() != test.want {
			t.Errorf("%s: not %d with %v", test.what, test.want, test.rights)
		}
	}
}

// TestRulesAreToldAsGiven: the host of a rule is told, and selected, as it was written,
// before and after a restart, whatever other spellings are of the same address.
func TestRulesAreToldAsGiven(t *testing.T) {
	w := newSecured(t)
	hosts := []string{"10.0.0.1", "2001:DB8::1", "2001:db8:0:0:0:0:0:1", "2001:db8::1", "::ffff:10.0.0.1", "fe80::1%eth0"} // sorted
	create := kmsg.NewPtrCreateACLsRequest()
	create.Version = 3
	for _, host := range hosts {
		c := kmsg.NewCreateACLsRequestCreation()
		c.ResourceType, c.ResourceName, c.ResourcePatternType, c.Principal, c.Host = kmsg.ACLResourceTypeTopic, "t", kmsg.ACLResourcePatternTypeLiteral, "User:eve", host
		c.Operation, c.PermissionType = kmsg.ACLOperationRead, kmsg.ACLPermissionTypeAllow
		create.Creations = append(create.Creations, c)
	}
	for _, r := range ask[*kmsg.CreateACLsResponse](w, create).Results {
		w.want(r.ErrorCode, nil)
	}
	told := func(host *string) (out []string) {
		req := kmsg.NewPtrDescribeACLsRequest()
		req.Version, req.ResourceType, req.ResourcePatternType = 3, kmsg.ACLResourceTypeTopic, kmsg.ACLResourcePatternTypeAny
		req.Operation, req.PermissionType, req.Host = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny, host
		for _, r := range ask[*kmsg.DescribeACLsResponse](w, req).Resources {
			for _, rule := range r.ACLs {
				out = append(out, rule.Host)
			}
		}
		slices.Sort(out)
		return out
	}
	for range 2 {
		if got := told(nil); !slices.Equal(got, hosts) {
			t.Errorf("all: told %q", got)
		}
		for _, host := range hosts {
			if got := told(&host); !slices.Equal(got, []string{host}) {
				t.Errorf("%s: told %q", host, got)
			}
		}
		w.restart()
	}
}
