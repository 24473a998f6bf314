package logbroker

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (w *workbench) describeTxn(id string) kmsg.DescribeTransactionsResponseTransactionState {
	w.t.Helper()
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	return ask[*kmsg.DescribeTransactionsResponse](w, req).TransactionStates[0]
}

func (w *workbench) listTxns(change func(*kmsg.ListTransactionsRequest)) (ids []string, unknown []string, code int16) {
	w.t.Helper()
	req := kmsg.NewPtrListTransactionsRequest()
	req.Version, req.DurationFilterMillis = 2, -1
	change(req)
	resp := ask[*kmsg.ListTransactionsResponse](w, req)
	for _, s := range resp.TransactionStates {
		ids = append(ids, s.TransactionalID+" "+s.TransactionState)
	}
	return ids, resp.UnknownStateFilters, resp.ErrorCode
}

// TestTransactionsAreShown walks one transaction through its states.
func TestTransactionsAreShown(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	id := "payments-1"
	pid, epoch := w.initID(id)
	w.initID("refunds-1")
	w.want(w.produce(13, &id, 1, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
	began := w.now
	w.pass(5 * time.Second)

	s := w.describeTxn(id)
	if s.State != "Ongoing" || s.StartTimestamp != began.UnixMilli() || s.TimeoutMillis != 60_000 || s.ProducerID != pid || s.ProducerEpoch != epoch {
		t.Errorf("the open transaction: %+v", s)
	}
	if len(s.Topics) != 1 || s.Topics[0].Topic != "t" || !slices.Equal(s.Topics[0].Partitions, []int32{1}) {
		t.Errorf("its partitions: %+v", s.Topics)
	}
	w.want(w.describeTxn("nobody").ErrorCode, kerr.TransactionalIDNotFound)

	text := func(s string) *string { return &s }
	both, first := []string{"payments-1 Ongoing", "refunds-1 Empty"}, []string{"payments-1 Ongoing"}
	for name, test := range map[string]struct {
		change func(*kmsg.ListTransactionsRequest)
		want   []string
	}{
		"all":           {func(*kmsg.ListTransactionsRequest) {}, both},
		"by state":      {func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Ongoing", "Dead"} }, first},
		"by producer":   {func(r *kmsg.ListTransactionsRequest) { r.ProducerIDFilters = []int64{pid} }, first},
		"long enough":   {func(r *kmsg.ListTransactionsRequest) { r.DurationFilterMillis = 4999 }, both},
		"too short":     {func(r *kmsg.ListTransactionsRequest) { r.DurationFilterMillis = 5000 }, both[1:]},
		"by pattern":    {func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = text("pay.*") }, first},
		"the whole id":  {func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = text("pay") }, nil},
		"empty pattern": {func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = text("") }, both},
		"older version": {func(r *kmsg.ListTransactionsRequest) { r.Version, r.DurationFilterMillis = 0, 5000 }, both},
	} {
		if got, _, code := w.listTxns(test.change); code != 0 || !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, error %d, want %q", name, got, code, test.want)
		}
	}
	if _, unknown, _ := w.listTxns(func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Ongoing", "Sleeping"} }); !slices.Equal(unknown, []string{"Sleeping"}) {
		t.Errorf("unknown states %q", unknown)
	}
	_, _, code := w.listTxns(func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = text("(") })
	w.want(code, kerr.InvalidRegularExpression)

	w.want(w.endTxn(5, id, pid, epoch, false).ErrorCode, nil)
	for range 2 {
		if s := w.describeTxn(id); s.State != "CompleteAbort" || s.StartTimestamp != began.UnixMilli() || len(s.Topics) != 0 {
			t.Errorf("after the abort: %+v", s)
		}
		w.restart()
	}
	w.initID(id)
	if s := w.describeTxn(id); s.State != "Empty" || s.StartTimestamp != -1 {
		t.Errorf("before the next transaction: %+v", s)
	}
}

// TestProducersAreShown: who wrote, and where a transaction is open.
func TestProducersAreShown(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	pid, epoch := w.initID(id)
	w.want(w.produce(13, nil, 0, oneRecord(7, 0, 0, false, "first")).ErrorCode, nil)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "second")).ErrorCode, nil)
	req := kmsg.NewPtrDescribeProducersRequest()
	topic := kmsg.NewDescribeProducersRequestTopic()
	topic.Topic, topic.Partitions = "t", []int32{0, 9}
	req.Topics = append(req.Topics, topic)
	partitions := ask[*kmsg.DescribeProducersResponse](w, req).Topics[0].Partitions
	w.want(partitions[1].ErrorCode, kerr.UnknownTopicOrPartition)
	starts := map[int64]int64{}
	for _, p := range partitions[0].ActiveProducers {
		starts[p.ProducerID] = p.CurrentTxnStartOffset
	}
	if d := cmp.Diff(map[int64]int64{7: -1, pid: 1}, starts); d != "" {
		t.Error(d)
	}
}

// TestLogDirs: the size of each partition, and of the disk.
func TestLogDirs(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	batch := oneRecord(-1, -1, -1, false, "v")
	size := int64(len(batch))
	w.want(w.produce(13, nil, 1, batch).ErrorCode, nil)
	sizes := func(change func(*kmsg.DescribeLogDirsRequest)) map[int32]int64 {
		req := kmsg.NewPtrDescribeLogDirsRequest()
		req.Version = 4
		change(req)
		resp := ask[*kmsg.DescribeLogDirsResponse](w, req)
		out := map[int32]int64{}
		for _, topic := range resp.Dirs[0].Topics {
			for _, p := range topic.Partitions {
				out[p.Partition] = p.Size
			}
		}
		return out
	}
	if d := cmp.Diff(map[int32]int64{0: 0, 1: size}, sizes(func(*kmsg.DescribeLogDirsRequest) {})); d != "" {
		t.Error(d)
	}
	one := func(r *kmsg.DescribeLogDirsRequest) {
		topic := kmsg.NewDescribeLogDirsRequestTopic()
		topic.Topic, topic.Partitions = "t", []int32{1, 5}
		r.Topics = append(r.Topics, topic)
	}
	if d := cmp.Diff(map[int32]int64{1: size}, sizes(one)); d != "" {
		t.Error(d)
	}
}

// TestOffsetDelete: offsets go unless a member subscribes to their topic.
func TestOffsetDelete(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	w.topic("u", 1)
	for _, topic := range []string{"t", "u"} {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group, req.Generation = 7, "g", -1
		rt := kmsg.NewOffsetCommitRequestTopic()
		rt.Topic = topic
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Offset = 5
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		w.want(ask[*kmsg.OffsetCommitResponse](w, req).Topics[0].Partitions[0].ErrorCode, nil)
	}
	del := func(group, topic string, partition int32) (group2, code int16) {
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = group
		rt := kmsg.NewOffsetDeleteRequestTopic()
		rt.Topic = topic
		rp := kmsg.NewOffsetDeleteRequestTopicPartition()
		rp.Partition = partition
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		resp := ask[*kmsg.OffsetDeleteResponse](w, req)
		if len(resp.Topics) > 0 {
			code = resp.Topics[0].Partitions[0].ErrorCode
		}
		return resp.ErrorCode, code
	}
	left := func() (topics []string) {
		offsets, err := w.meta.Offsets("g")
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range offsets {
			topics = append(topics, o.Topic)
		}
		return topics
	}
	join := func(metadata []byte) {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Version, req.Group, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 3, "g", "consumer", 10_000, 10_000
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = "range", metadata
		req.Protocols = append(req.Protocols, p)
		w.want(ask[*kmsg.JoinGroupResponse](w, req).ErrorCode, nil)
	}
	code, _ := del("nobody", "t", 0)
	w.want(code, kerr.GroupIDNotFound)
	_, code = del("g", "unknown", 0)
	w.want(code, kerr.UnknownTopicOrPartition)
	_, code = del("g", "t", 9)
	w.want(code, kerr.UnknownTopicOrPartition)
	join((&kmsg.ConsumerMemberMetadata{Topics: []string{"u"}}).AppendTo(nil))
	_, code = del("g", "u", 0)
	w.want(code, kerr.GroupSubscribedToTopic)
	_, code = del("g", "t", 0)
	w.want(code, nil)
	if got := left(); !slices.Equal(got, []string{"u"}) {
		t.Errorf("offsets are left of %q", got)
	}
	w.pass(time.Hour) // the member's session is over
	_, code = del("g", "u", 0)
	w.want(code, nil)
	if got := left(); len(got) != 0 {
		t.Errorf("offsets are left of %q", got)
	}
}
