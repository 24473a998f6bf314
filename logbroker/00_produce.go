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

// abortableVersion is the first version whose clients know TRANSACTION_ABORTABLE, zstdVersion
// the first whose clients may use zstd.
const (
	abortableVersion = 11
	zstdVersion      = 7
)

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
			b.producePartition(pr, rp, topic, p, req, r.conn)
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
func (b *Broker) producePartition(pr *produce, rp *kmsg.ProduceResponseTopicPartition, t *topic, p kmsg.ProduceRequestTopicPartition, req *kmsg.ProduceRequest, c *Conn) {
	part, err := b.topics.partition(t, p.Partition)
	if err != nil {
		refuseProduce(rp, nil, err)
		return
	}
	batch, err := oneBatch(p.Records, req.Version)
	if err == nil && req.Acks != 0 && req.Acks != 1 && req.Acks != -1 {
		err = kerr.InvalidRequiredAcks
	}
	if err != nil {
		refuseProduce(rp, nil, err)
		return
	}
	if err = checkBatch(t, batch); err == nil {
		batch, err = b.accept(t, batch, false)
	}
	if err != nil {
		refuseProduce(rp, part, err)
		return
	}
	result, err := b.append(part, batch, req.TransactionID, req.Version >= implicitVersion)
	if errors.Is(err, kerr.TransactionAbortable) && req.Version < abortableVersion {
		err = &notLetIn{kerr.InvalidTxnState}
	}
	if err != nil {
		refuseProduce(rp, part, err)
		return
	}
	rp.BaseOffset, rp.LogStartOffset, rp.LogAppendTime = result.BaseOffset, part.log.Start(), result.LogAppendTimeMs
	if req.Acks == 0 || batch.IsTransactional() || b.cfg.Fsync != FsyncAlways && !t.policy.Load().flushEach {
		part.syncLater()
		return
	}
	pr.wait()
	c.syncs.begin(part, result.LastOffset+1, func(err error) {
		if err != nil {
			rp.ErrorCode, rp.BaseOffset, rp.LogStartOffset, rp.LogAppendTime = kerr.KafkaStorageError.Code, -1, -1, -1
		}
		pr.finish()
	})
}

// oneBatch is the batch of a partition, of which a request has one.
func oneBatch(records []byte, version int16) (recordbatch.Batch, error) {
	batch, rest, err := recordbatch.Split(records)
	switch {
	case errors.Is(err, recordbatch.ErrShort):
		return nil, fmt.Errorf("%w: no batch for a partition, or half of one", kerr.InvalidRecord)
	case err != nil && len(records) > 16 && records[16] < recordbatch.Magic:
		return nil, fmt.Errorf("%w: %w", kerr.InvalidRecord, err)
	case err != nil:
		return nil, err
	case version < zstdVersion && batch.Codec() == recordbatch.CodecZstd:
		return nil, fmt.Errorf("%w: zstd is taken from version %d on", kerr.UnsupportedCompressionType, zstdVersion)
	case len(rest) > 0:
		return nil, fmt.Errorf("%w: more than one batch for a partition", kerr.InvalidRecord)
	}
	return batch, nil
}

// checkBatch refuses a batch that the topic does not take, whatever its records are. That it is
// too large is said first, as by Kafka, whether it arrived whole or not.
func checkBatch(t *topic, batch recordbatch.Batch) error {
	if batch.BaseOffset() != 0 {
		return fmt.Errorf("%w: the base offset is %d; it is the broker's to give, and must be 0", kerr.InvalidRecord, batch.BaseOffset())
	}
	if err := t.checkSize(batch); err != nil {
		return err
	}
	if err := batch.Validate(); err != nil {
		if batch.CRC() == batch.ComputeCRC() { // it came as it was sent, and would come so again
			err = fmt.Errorf("%w: %w", kerr.InvalidRecord, err)
		}
		return err
	}
	if batch.IsControl() || batch.Count() < 1 || batch.LastOffsetDelta() != batch.Count()-1 {
		return kerr.InvalidRecord
	}
	return nil
}

// refuseProduce says why a batch was not taken. As by Kafka, who comes as far as the log is
// told where that begins, unless the error is one of those that are expected.
func refuseProduce(rp *kmsg.ProduceResponseTopicPartition, part *partition, err error) {
	rp.ErrorCode = errorCode(err)
	text := errorMessage(err)
	rp.ErrorMessage = &text
	if faults := (*recordFaults)(nil); errors.As(err, &faults) {
		rp.ErrorRecords = faults.list
	}
	if outside := (*notLetIn)(nil); part == nil || errors.As(err, &outside) {
		return
	}
	switch rp.ErrorCode {
	case kerr.MessageTooLarge.Code, kerr.CorruptMessage.Code, kerr.KafkaStorageError.Code, kerr.UnknownTopicOrPartition.Code:
	default:
		rp.LogStartOffset = part.log.Start()
	}
}

// notLetIn is the error of a batch that its transaction does not take, so that it does not
// come to the log.
type notLetIn struct{ error }

func (e *notLetIn) Unwrap() error { return e.error }

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
		return commitlog.AppendResult{}, &notLetIn{err}
	}
	defer e.gate.RUnlock()
	return p.append(batch)
}
