package logbroker

import (
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/planted"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker/commitlog"
	"github.com/levada/levada/logbroker/txn"
)

// implicitVersion is the first version of Produce whose transactional batches
// join the transaction by being written (KIP-890).
const implicitVersion = 12

// handleProduce answers Produce, versions 3 to 13 (0 is advertised because
// librdkafka insists, KAFKA-18659): 12 adds partitions to transactions
// implicitly, 13 has topic ids. With acks it answers when the data is durable.
func (b *Broker) handleProduce(r *request) {
	req := r.msg.(*kmsg.ProduceRequest)
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	if req.Version < 3 {
		b.refuseVersion(r)
		return
	}
	pr := &produce{resp: resp, left: 1}
	anonymous := req.TransactionID == nil && hasTransactional(req)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.BaseOffset, rp.LogAppendTime, rp.LogStartOffset = p.Partition, -1, -1, -1
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	pr.done = func() {
		if req.Acks == 0 {
			r.respond(nil)
			return
		}
		r.respond(resp)
	}
	for i, t := range req.Topics {
		topic, unknown := b.offsetTopic(req.Version >= 13, t.Topic, t.TopicID)
		for j, p := range t.Partitions {
			rp := &resp.Topics[i].Partitions[j]
			switch {
			case anonymous:
				rp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
				continue
			case topic == nil:
				rp.ErrorCode = unknown
				continue
			}
			b.producePartition(pr, rp, topic, p, req)
		}
	}
	pr.finish()
}

// hasTransactional tells whether a request has records of a transaction.
func hasTransactional(req *kmsg.ProduceRequest) bool {
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			if batch := recordbatch.Batch(req.Topics[i].Partitions[j].Records); len(batch) >= recordbatch.HeaderSize && batch.IsTransactional() {
				return true
			}
		}
	}
	return false
}

// produce is a request under way: it is answered when every partition is.
type produce struct {
	mu   sync.Mutex
	resp *kmsg.ProduceResponse
	left int
	done func()
}

func (p *produce) wait() {
	p.mu.Lock()
	p.left++
	p.mu.Unlock()
}

func (p *produce) finish() {
	p.mu.Lock()
	p.left--
	last := p.left == 0
	p.mu.Unlock()
	if last {
		p.done()
	}
}

// producePartition appends the batch of one partition.
func (b *Broker) producePartition(pr *produce, rp *kmsg.ProduceResponseTopicPartition, t *topic, p kmsg.ProduceRequestTopicPartition, req *kmsg.ProduceRequest) {
	fail := func(err error) {
		rp.ErrorCode = errorCode(err)
		text := errorMessage(err)
		rp.ErrorMessage = &text
		if faults := (*recordFaults)(nil); errors.As(err, &faults) {
			rp.ErrorRecords = faults.list
		}
	}
	part, err := b.topics.partition(t, p.Partition)
	if err != nil {
		fail(err)
		return
	}
	batch, rest, err := recordbatch.Split(p.Records)
	switch {
	case req.Acks != 0 && req.Acks != 1 && req.Acks != -1:
		fail(kerr.InvalidRequiredAcks)
		return
	case err == nil && len(rest) > 0:
		err = fmt.Errorf("%w: more than one batch for a partition", kerr.InvalidRecord)
	case err == nil:
		err = batch.Validate()
	}
	if err == nil && (batch.IsControl() || batch.Count() < 1 || batch.LastOffsetDelta() != batch.Count()-1) {
		err = kerr.InvalidRecord
	}
	if err == nil {
		batch, err = b.accept(t, batch, false)
	}
	if err != nil {
		fail(err)
		return
	}
	result, err := b.append(part, batch, req.TransactionID, req.Version >= implicitVersion)
	if err != nil {
		fail(err)
		return
	}
	rp.BaseOffset, rp.LogStartOffset = result.BaseOffset, part.log.Start()
	if batch.IsLogAppendTime() {
		rp.LogAppendTime = result.LogAppendTimeMs
	}
	if req.Acks == 0 || batch.IsTransactional() || b.cfg.Fsync != FsyncAlways {
		part.syncLater()
		return
	}
	pr.wait()
	part.syncTo(result.LastOffset+1, func(err error) {
		if err != nil {
			rp.ErrorCode, rp.BaseOffset = kerr.KafkaStorageError.Code, -1
		}
		pr.finish()
	})
}

// append writes a batch, whose CRC was checked, to the page cache. A
// transactional one joins the open transaction of its producer, which must be that
// of the transactional id; nil is a caller in this process, which is trusted.
func (b *Broker) append(p *partition, batch recordbatch.Batch, id *string, implicit bool) (commitlog.AppendResult, error) {
	if err := b.failure(); err != nil {
		return commitlog.AppendResult{}, kerr.KafkaStorageError
	}
	if err := b.space.forRecords(len(batch)); err != nil {
		return commitlog.AppendResult{}, err
	}
	defer b.checkpoints.wrote(b, len(batch))
	if !batch.IsTransactional() || b.cfg.planted.Acts(planted.LateProduce) {
		return p.append(batch)
	}
	producer := txn.Producer{ID: batch.ProducerID(), Epoch: batch.ProducerEpoch()}
	e, err := b.txns.enter(id, producer, p.id(), implicit)
	if err != nil {
		return commitlog.AppendResult{}, err
	}
	defer e.gate.RUnlock()
	return p.append(batch)
}
