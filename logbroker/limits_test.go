package logbroker

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestManyTopicsAreAskedFor: metadata of very many topics is answered, and makes
// none; more names than may be end the connection.
func TestManyTopicsAreAskedFor(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	ask100k := func(n int) kmsg.Response {
		req := kmsg.NewPtrMetadataRequest()
		req.Version = 12
		for i := range n {
			name := fmt.Sprint("nowhere-", i)
			mt := kmsg.NewMetadataRequestTopic()
			mt.Topic = &name
			req.Topics = append(req.Topics, mt)
		}
		return w.serve(frameOf(req))
	}
	if resp := ask100k(maxElements); resp == nil || len(resp.(*kmsg.MetadataResponse).Topics) != maxElements {
		t.Errorf("%d names are not answered", maxElements)
	}
	if resp := ask100k(maxElements + 1); resp != nil {
		t.Errorf("%d names are answered", maxElements+1)
	}
	if n := len(w.topics.sorted()); n != 1 {
		t.Errorf("%d topics", n)
	}
}

// TestTopicsAreBounded: by the partitions of them all, however they are asked for,
// by whoever has metadata create them, and whatever is only to be checked.
func TestTopicsAreBounded(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	w.cfg.AutoCreateTopics, w.cfg.Limits.Partitions = true, 10
	w.open()
	w.topic("t", 8)
	create := func(partitions int32, validate bool) int16 {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version, req.ValidateOnly = 7, validate
		ct := kmsg.NewCreateTopicsRequestTopic()
		ct.Topic, ct.NumPartitions, ct.ReplicationFactor = "many", partitions, 1
		req.Topics = append(req.Topics, ct)
		return ask[*kmsg.CreateTopicsResponse](w, req).Topics[0].ErrorCode
	}
	for _, n := range []int32{3, 1_000_000, math.MaxInt32} {
		for _, validate := range []bool{false, true} {
			w.want(create(n, validate), kerr.PolicyViolation)
			want := kerr.PolicyViolation
			if n > maxNewPartitions {
				want = kerr.UnknownServerError // as Kafka
			}
			w.want(w.createPartitions("t", max(n, 11), func(r *kmsg.CreatePartitionsRequest) { r.ValidateOnly = validate }).ErrorCode, want)
		}
	}
	for i, want := range []*kerr.Error{nil, nil, kerr.PolicyViolation, kerr.PolicyViolation} {
		name := fmt.Sprint("auto-", i)
		req := kmsg.NewPtrMetadataRequest()
		req.Version, req.AllowAutoTopicCreation = 12, true
		mt := kmsg.NewMetadataRequestTopic()
		mt.Topic = &name
		req.Topics = append(req.Topics, mt)
		w.want(ask[*kmsg.MetadataResponse](w, req).Topics[0].ErrorCode, want)
	}
	if dirs, err := w.fs.List("data/" + logsDir); err != nil || len(dirs) != 10 {
		t.Errorf("%d directories, %v", len(dirs), err)
	}
	w.restart()
	if n := w.topics.now.Load().count; n != 10 {
		t.Errorf("%d partitions, want 10", n)
	}
}

// TestPatternsAreBounded: neither the length of a pattern nor what it expands to
// costs the broker much.
func TestPatternsAreBounded(t *testing.T) {
	w := newWorkbench(t)
	w.topic(strings.Repeat("a", 249), 1)
	id := strings.Repeat("a", 249)
	w.initID(id)
	for name, bad := range map[string]string{
		"a long one":                        strings.Repeat("a", 1025),
		"a thousand states for a few bytes": strings.Repeat("(.?){1000}", 100),
		"repeated repeats":                  "((a{100}){100}){100}",
		"deep":                              strings.Repeat("(", 500) + strings.Repeat(")*", 500),
		"not one":                           "(",
	} {
		start := time.Now()
		join := func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.SubscribedTopicNames, r.SubscribedTopicRegex = nil, &bad
		}
		if code := w.heart("a", 0, join).ErrorCode; code != kerr.InvalidRegularExpression.Code {
			t.Errorf("%s: a subscription: %v", name, kerr.ErrorForCode(code))
		}
		list := kmsg.NewPtrListTransactionsRequest()
		list.Version, list.TransactionalIDPattern = 2, &bad
		if code := ask[*kmsg.ListTransactionsResponse](w, list).ErrorCode; code != kerr.InvalidRegularExpression.Code {
			t.Errorf("%s: a list of transactions: %v", name, kerr.ErrorForCode(code))
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s takes %v", name, took)
		}
	}
	// What takes others exponential time does not here.
	slow := "(a+)+b"
	list := kmsg.NewPtrListTransactionsRequest()
	list.Version, list.TransactionalIDPattern = 2, &slow
	if resp := ask[*kmsg.ListTransactionsResponse](w, list); resp.ErrorCode != 0 || len(resp.TransactionStates) != 0 {
		t.Errorf("answer %+v", resp)
	}
}

// TestWhatClientsNameIsBounded: transactional ids and groups: there is an end to
// each, with an error that says so, and what is
// there already works on.
func TestWhatClientsNameIsBounded(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	w.cfg.Limits.Transactions = 3
	w.open()
	w.topic("t", 1)
	for i := range 3 {
		w.initID(fmt.Sprint("id-", i))
	}
	req := kmsg.NewPtrInitProducerIDRequest()
	over := "id-over"
	req.Version, req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 4, &over, 60_000, -1, -1
	w.want(ask[*kmsg.InitProducerIDResponse](w, req).ErrorCode, kerr.PolicyViolation)
	w.initID("id-0")
	w.restart()
	w.want(ask[*kmsg.InitProducerIDResponse](w, req).ErrorCode, kerr.PolicyViolation)

	// Groups: fill up what is there.
	m := w.joinClassic("")
	w.want(m.ErrorCode, nil)
	g := w.coordinator()
	g.mu.Lock()
	for i := range maxGroups {
		if id := fmt.Sprint("full-", i); len(g.byID) < maxGroups {
			g.byID[id] = &groupEntry{classic: g.byID["g"].classic}
		}
	}
	g.mu.Unlock()
	other := kmsg.NewPtrJoinGroupRequest()
	other.Version, other.Group, other.ProtocolType, other.SessionTimeoutMillis, other.RebalanceTimeoutMillis = 5, "one more", "consumer", 45_000, 60_000
	other.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	w.want(ask[*kmsg.JoinGroupResponse](w, other).ErrorCode, kerr.GroupMaxSizeReached)
	w.want(w.heart("m", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "one more" }).ErrorCode, kerr.GroupMaxSizeReached)
	w.want(w.heartClassic(m.MemberID, m.Generation), nil)
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version, commit.Group, commit.Generation = 7, "one more", -1
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{kmsg.NewOffsetCommitRequestTopicPartition()}}}
	w.want(ask[*kmsg.OffsetCommitResponse](w, commit).Topics[0].Partitions[0].ErrorCode, kerr.GroupMaxSizeReached)
}

// TestMembersThatNeverComeBack: who asks for a member id again and again, and joins
// with none, takes no room for longer than a session, and the group goes on.
func TestMembersThatNeverComeBack(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	join := func() int16 {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Version, req.Group, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 5, "g", "consumer", 10_000, 10_000
		req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
		return ask[*kmsg.JoinGroupResponse](w, req).ErrorCode
	}
	for range 10_000 {
		w.want(join(), kerr.MemberIDRequired)
	}
	w.want(join(), kerr.GroupMaxSizeReached)
	w.pass(11 * time.Second)
	if n := w.coordinator().bytes; n > 0 {
		t.Errorf("the group takes %d bytes", n)
	}
	m := w.joinClassic("")
	w.want(m.ErrorCode, nil)
	w.syncClassic(m.MemberID, m.Generation, map[string][]int32{m.MemberID: {0}})
}

// TestLargeCommits: ten thousand partitions in one request, by a member and in a
// transaction, come back after a restart; too large a text with one is refused
// alone.
func TestLargeCommits(t *testing.T) {
	w := newWorkbench(t)
	const topics, partitions = 10, 1000
	names := make([]string, topics)
	for i := range names {
		names[i] = fmt.Sprint("t", i)
		w.topic(names[i], partitions)
	}
	text := strings.Repeat("m", maxOffsetMetadata)
	long := text + "m"
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version, commit.Group, commit.Generation = 8, "g", -1
	id := "a"
	pid, epoch := w.initID(id)
	pending := kmsg.NewPtrTxnOffsetCommitRequest()
	pending.Version, pending.TransactionalID, pending.Group, pending.ProducerID, pending.ProducerEpoch, pending.Generation = 5, id, "h", pid, epoch, -1
	for i, name := range names {
		ct, pt := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewTxnOffsetCommitRequestTopic()
		ct.Topic, pt.Topic = name, name
		for n := range int32(partitions) {
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset = n, int64(i)*partitions+int64(n)
			switch {
			case i == 3 && n == 7:
				p.Metadata = &long
			case i == 3 && n == 8:
				p.Metadata = &text
			}
			ct.Partitions = append(ct.Partitions, p)
			pt.Partitions = append(pt.Partitions, kmsg.TxnOffsetCommitRequestTopicPartition{Partition: n, Offset: p.Offset, Metadata: p.Metadata})
		}
		commit.Topics, pending.Topics = append(commit.Topics, ct), append(pending.Topics, pt)
	}
	var refused []string
	for _, topic := range ask[*kmsg.OffsetCommitResponse](w, commit).Topics {
		for _, p := range topic.Partitions {
			if p.ErrorCode != 0 {
				refused = append(refused, fmt.Sprint(topic.Topic, " ", p.Partition, " ", p.ErrorCode))
			}
		}
	}
	for _, topic := range ask[*kmsg.TxnOffsetCommitResponse](w, pending).Topics {
		for _, p := range topic.Partitions {
			if p.ErrorCode != 0 {
				refused = append(refused, fmt.Sprint(topic.Topic, " ", p.Partition, " ", p.ErrorCode))
			}
		}
	}
	if want := fmt.Sprint("t3 7 ", kerr.OffsetMetadataTooLarge.Code); !slices.Equal(refused, []string{want, want}) {
		t.Errorf("refused %q, want %q of both", refused, want)
	}
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
	w.losePower("boot-2")
	for _, group := range []string{"g", "h"} {
		fetch := kmsg.NewPtrOffsetFetchRequest()
		fetch.Version, fetch.RequireStable = 8, true
		fg := kmsg.NewOffsetFetchRequestGroup()
		fg.Group = group
		fetch.Groups = append(fetch.Groups, fg)
		n := 0
		for _, topic := range ask[*kmsg.OffsetFetchResponse](w, fetch).Groups[0].Topics {
			i := slices.Index(names, topic.Topic)
			for _, p := range topic.Partitions {
				if n++; p.ErrorCode != 0 || p.Offset != int64(i)*partitions+int64(p.Partition) {
					t.Fatalf("%s of %s-%d: %+v", group, topic.Topic, p.Partition, p)
				}
			}
		}
		if n != topics*partitions-1 {
			t.Errorf("group %s has %d offsets", group, n)
		}
	}
}
