package logbroker

import (
	"errors"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// maxRecordFaults bounds the records that an answer names.
const maxRecordFaults = 100

// recordFaults refuses a batch for some of its records.
type recordFaults struct {
	code *kerr.Error
	text string
	list []kmsg.ProduceResponseTopicPartitionErrorRecord
}

func (e *recordFaults) Error() string { return e.code.Error() + ": " + e.text }
func (e *recordFaults) Unwrap() error { return e.code }

// add names a record. The error is INVALID_TIMESTAMP if any time is wrong, as Kafka's.
func (e *recordFaults) add(index int32, code *kerr.Error, text string) {
	if e.code == nil || e.code != code && code == kerr.InvalidTimestamp {
		e.code, e.text = code, text
	}
	if len(e.list) < maxRecordFaults {
		r := kmsg.NewProduceResponseTopicPartitionErrorRecord()
		r.RelativeOffset, r.ErrorMessage = index, &text
		e.list = append(e.list, r)
	}
}

// checkSize refuses a batch that is larger than its topic takes.
func (t *topic) checkSize(batch recordbatch.Batch) error {
	if most := t.policy.Load().maxMessageBytes; len(batch) > most {
		return fmt.Errorf("%w: a batch of %d bytes, topic %s takes %d: raise its max.message.bytes, or make the records smaller", kerr.MessageTooLarge, len(batch), t.name, most)
	}
	return nil
}

// accept checks a batch, whose CRC was checked, by the rules of its topic, and
// gives it the form in which it is stored. The records of one that was built
// in this process are only looked at where a rule is about them.
func (b *Broker) accept(t *topic, batch recordbatch.Batch, built bool) (recordbatch.Batch, error) {
	rules := t.policy.Load()
	if err := t.checkSize(batch); err != nil {
		return nil, err
	}
	nowMs := b.now().UnixMilli()
	newest := batch.MaxTimestamp()
	if !built || rules.aboutRecords(newest, nowMs) {
		var err error
		if newest, err = b.checkRecords(t.name, rules, batch, nowMs); err != nil {
			return nil, err
		}
	}
	if rules.recodes && batch.Codec() != rules.codec {
		recoded, err := b.recode(batch, rules)
		if err != nil {
			return nil, err
		}
		if err := t.checkSize(recoded); err != nil {
			return nil, err
		}
		batch = recoded
	}
	switch {
	case rules.appendTime:
		batch.SetLogAppendTime(nowMs)
		batch.SetCRC()
	case batch.IsLogAppendTime() || batch.MaxTimestamp() != newest:
		// What the header says is not believed, but for the time of a claimed append:
		// Kafka keeps that as the largest.
		batch.SetCreateTime(newest)
		batch.SetCRC()
	}
	return batch, nil
}

// recode compresses the records of a batch by the codec of their topic. Those of one that claims
// append time are written anew, and then have that time, as they have for Kafka.
func (b *Broker) recode(batch recordbatch.Batch, rules *policy) (recordbatch.Batch, error) {
	if ms := batch.MaxTimestamp(); batch.IsLogAppendTime() && ms < 0 {
		return nil, fmt.Errorf("%w: a timestamp of %d ms", kerr.UnknownServerError, ms)
	}
	r := b.readers.get(batch.Codec() != recordbatch.CodecNone)
	defer b.readers.put(r)
	if !batch.IsLogAppendTime() {
		return r.Recode(nil, batch, rules.codec, rules.level)
	}
	if err := r.Reset(batch); err != nil {
		return nil, err
	}
	var anew recordbatch.Builder
	var rec recordbatch.Record
	for {
		ok, err := r.Next(&rec)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		anew.Append(rec.Timestamp, rec.Key, rec.Value, rec.Headers)
	}
	plain := anew.Batch()
	plain.SetProducer(batch.ProducerID(), batch.ProducerEpoch(), batch.BaseSequence(), batch.IsTransactional())
	return r.Recode(nil, plain, rules.codec, rules.level)
}

// aboutRecords tells whether a rule is about each record of a batch whose largest time
// is newest.
func (p *policy) aboutRecords(newest, nowMs int64) bool {
	return p.compacted || !p.appendTime && (p.beforeMs < math.MaxInt64 || p.tooLate(newest, nowMs))
}

func (p *policy) tooLate(ms, nowMs int64) bool {
	return p.afterMs < math.MaxInt64-nowMs && ms > nowMs+p.afterMs
}

func (p *policy) tooEarly(ms, nowMs int64) bool {
	return p.beforeMs < math.MaxInt64 && ms < nowMs-p.beforeMs
}

// checkRecords reads every record, so that no reader finds one that cannot be read,
// holds it against the rules, and tells the largest time of them.
func (b *Broker) checkRecords(topic string, p *policy, batch recordbatch.Batch, nowMs int64) (newest int64, err error) {
	r := b.readers.get(batch.Codec() != recordbatch.CodecNone)
	defer b.readers.put(r)
	// Clients retry neither; Kafka has no error of its own for what it cannot decompress,
	// nor for offsets that it finds wrong in what it could.
	packed := batch.Codec() != recordbatch.CodecNone
	if err := r.Verify(batch); errors.Is(err, recordbatch.ErrCompressed) || packed && errors.Is(err, recordbatch.ErrOffset) {
		return 0, fmt.Errorf("%w: %w", kerr.UnknownServerError, err)
	} else if err != nil {
		return 0, fmt.Errorf("%w: %w", kerr.InvalidRecord, err)
	}
	newest = r.MaxTimestamp()
	if !batch.IsLogAppendTime() && !p.aboutRecords(newest, nowMs) {
		return newest, nil
	}
	var faults recordFaults
	var rec recordbatch.Record
	for i := int32(0); ; i++ {
		ok, err := r.Next(&rec)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		if p.compacted && rec.Key == nil {
			faults.add(i, kerr.InvalidRecord, "a compacted topic takes no record without a key")
		} else if text := p.wrongTime(&rec, topic, batch.IsLogAppendTime(), nowMs); text != "" {
			faults.add(i, kerr.InvalidTimestamp, text)
		}
		if len(faults.list) == maxRecordFaults && faults.code == kerr.InvalidTimestamp {
			break // more would change nothing
		}
	}
	if faults.code != nil {
		return 0, &faults
	}
	return newest, nil
}

// wrongTime says what is wrong with the time of a record; "" is nothing. The time of
// the append is the broker's to tell: who claims it has told that of no record, and it
// is taken for the time of each, if the topic has times of records and the claim is one.
func (p *policy) wrongTime(rec *recordbatch.Record, topic string, claimed bool, nowMs int64) string {
	switch {
	case claimed && (p.appendTime || rec.Timestamp == recordbatch.NoTimestamp):
		return "the batch says LogAppendTime, which is not a producer's to say"
	case p.appendTime || rec.Timestamp == recordbatch.NoTimestamp:
		return ""
	case p.tooEarly(rec.Timestamp, nowMs):
		return fmt.Sprintf("a timestamp of %d ms is more than %d ms behind the broker's clock (message.timestamp.before.max.ms of topic %s)", rec.Timestamp, p.beforeMs, topic)
	case p.tooLate(rec.Timestamp, nowMs):
		return fmt.Sprintf("a timestamp of %d ms is more than %d ms ahead of the broker's clock (message.timestamp.after.max.ms of topic %s)", rec.Timestamp, p.afterMs, topic)
	}
	return ""
}
