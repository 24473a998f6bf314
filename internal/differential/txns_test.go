package differential

import (
	"fmt"
	"math/rand/v2"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// busyTxn are the errors of a transaction whose end is still on its way: Kafka
// writes markers after its answer.
var busyTxn = []string{kerr.ConcurrentTransactions.Message, kerr.NotCoordinator.Message, kerr.CoordinatorLoadInProgress.Message, kerr.CoordinatorNotAvailable.Message}

func (w *world) initProducer(rng *rand.Rand, id string) operation {
	timeout := pick(rng, int32(60_000), 60_000, 60_000, 0, 2_000_000)
	if rng.IntN(8) == 0 {
		id = ""
	}
	if w.right {
		id, timeout = w.ids[0], 60_000
	}
	return operation{text: fmt.Sprintf("InitProducerId %q timeout %d", id, timeout), do: func(b *broker) string {
		return settle(func() string {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.Version, req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 4, &id, timeout, -1, -1
			got := b.ask(req).(*kmsg.InitProducerIDResponse)
			if got.ErrorCode != 0 {
				return codeName(got.ErrorCode)
			}
			p := w.producers[id]
			if p == nil {
				p = &producer{id: map[string]int64{}, epoch: map[string]int16{}, next: map[string]int32{}}
				w.producers[id] = p
			}
			p.id[b.name], p.epoch[b.name] = got.ProducerID, got.ProducerEpoch
			for k := range p.next {
				delete(p.next, k)
			}
			return fmt.Sprint("ok ", b.names.producer(got.ProducerID), "/", got.ProducerEpoch)
		}, busyTxn...)
	}}
}

// held is what a producer holds at a broker; nobody's if it never began.
func (w *world) held(b *broker, id string) (int64, int16) {
	p := w.producers[id]
	if p == nil {
		return 1 << 40, 0
	}
	return p.id[b.name], p.epoch[b.name]
}

// transactional writes a batch of a transaction by the older protocol: with the
// partition added before, or not.
func (w *world) transactional(rng *rand.Rand, id, topic string, partition int32) operation {
	add := rng.IntN(5) > 0
	epoch := pick(rng, int16(0), 0, 0, 0, -1, 1) // beside the right one
	gap := int32(pick(rng, 0, 0, 0, 0, 1))
	if w.right {
		add, epoch, gap = true, 0, 0
	}
	return operation{text: fmt.Sprintf("transactional Produce %s to %s-%d, added %v, epoch %+d, gap %d", id, topic, partition, add, epoch, gap), do: func(b *broker) string {
		pid, held := w.held(b, id)
		if held+epoch < 0 {
			return "no such epoch"
		}
		out := ""
		if add {
			out = settle(func() string {
				req := kmsg.NewPtrAddPartitionsToTxnRequest()
				req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = 3, id, pid, held+epoch
				req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: []int32{partition}}}
				return "add " + codeName(b.ask(req).(*kmsg.AddPartitionsToTxnResponse).Topics[0].Partitions[0].ErrorCode) + ", "
			}, busyTxn...)
		}
		key := fmt.Sprint(b.name, topic, partition)
		var seq int32
		if p := w.producers[id]; p != nil {
			seq = p.next[key]
		}
		batch := batchOf("k")
		batch.SetProducer(pid, held+epoch, seq+gap, true)
		batch.SetCRC()
		got := settle(func() string { return b.produce(topic, partition, -1, &id, batch) }, kerr.ConcurrentTransactions.Message, notLeader)
		var at int64
		if _, err := fmt.Sscanf(got, "ok at %d", &at); err == nil {
			// Levada shows records of an open transaction once they are on disk.
			b.fetchWaiting(topic, partition, at, 0, 5000)
		}
		if p := w.producers[id]; p != nil && got[:2] == "ok" && epoch == 0 {
			p.next[key] = seq + gap + 1
		}
		return out + got
	}}
}

func (w *world) txnOffsets(id, group, topic string, partition int32) operation {
	return operation{text: fmt.Sprintf("TxnOffsetCommit %s %s %s-%d", id, group, topic, partition), do: func(b *broker) string {
		pid, epoch := w.held(b, id)
		out := settle(func() string {
			req := kmsg.NewPtrAddOffsetsToTxnRequest()
			req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = 3, id, pid, epoch, group
			return "add " + codeName(b.ask(req).(*kmsg.AddOffsetsToTxnResponse).ErrorCode)
		}, busyTxn...)
		return out + ", " + settle(func() string {
			req := kmsg.NewPtrTxnOffsetCommitRequest()
			req.Version, req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = 3, id, group, pid, epoch, -1
			t := kmsg.NewTxnOffsetCommitRequestTopic()
			t.Topic = topic
			p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch = partition, 2, -1
			t.Partitions = append(t.Partitions, p)
			req.Topics = append(req.Topics, t)
			return codeName(b.ask(req).(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
		}, busyTxn...)
	}}
}

// endTxn ends a transaction, and waits until its end is seen.
func (w *world) endTxn(rng *rand.Rand, id string) operation {
	commit := rng.IntN(2) == 0
	epoch := pick(rng, int16(0), 0, 0, 0, -1, 1)
	if w.right {
		epoch = 0
	}
	return operation{text: fmt.Sprintf("EndTxn %s commit %v epoch %+d", id, commit, epoch), do: func(b *broker) string {
		pid, held := w.held(b, id)
		if held+epoch < 0 {
			return "no such epoch"
		}
		out := settle(func() string {
			req := kmsg.NewPtrEndTxnRequest()
			req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = 3, id, pid, held+epoch, commit
			return codeName(b.ask(req).(*kmsg.EndTxnResponse).ErrorCode)
		}, busyTxn...)
		settle(func() string {
			req := kmsg.NewPtrDescribeTransactionsRequest()
			req.TransactionalIDs = []string{id}
			return b.ask(req).(*kmsg.DescribeTransactionsResponse).TransactionStates[0].State
		}, "Prepare")
		return out
	}}
}
