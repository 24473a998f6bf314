package logclienttest

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/levada/levada/runtime/logclient"
)

// HoldOffset makes an Env.HoldOffset for a broker at an address: it talks the
// protocol of transactions step by step, which logclient never leaves half way.
func HoldOffset(address string) func(t *testing.T, group string, pos logclient.Position) (end func()) {
	return func(t *testing.T, group string, pos logclient.Position) func() {
		t.Helper()
		cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.MaxVersions(kversion.V3_0_0()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		h := &holder{t: t, cl: cl, id: group + "-holder"}
		h.init()
		h.hold(group, pos)
		return h.commit
	}
}

// holder is a transactional producer that sends its requests one by one.
type holder struct {
	t     *testing.T
	cl    *kgo.Client
	id    string
	pid   int64
	epoch int16
}

func (h *holder) must(err error, code int16) {
	h.t.Helper()
	if err == nil {
		err = kerr.ErrorForCode(code)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *holder) init() {
	h.t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &h.id, 60_000, -1, -1
	resp, err := req.RequestWith(context.Background(), h.cl)
	h.must(err, resp.ErrorCode)
	h.pid, h.epoch = resp.ProducerID, resp.ProducerEpoch
}

func (h *holder) hold(group string, pos logclient.Position) {
	h.t.Helper()
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = h.id, h.pid, h.epoch, group
	added, err := add.RequestWith(context.Background(), h.cl)
	h.must(err, added.ErrorCode)
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = h.id, h.pid, h.epoch, group
	req.Generation = -1
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic = pos.Topic
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = pos.Partition, pos.Offset, pos.LeaderEpoch, &pos.Metadata
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(context.Background(), h.cl)
	h.must(err, 0)
	h.must(nil, resp.Topics[0].Partitions[0].ErrorCode)
}

func (h *holder) commit() {
	h.t.Helper()
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = h.id, h.pid, h.epoch, true
	resp, err := req.RequestWith(context.Background(), h.cl)
	h.must(err, resp.ErrorCode)
}
