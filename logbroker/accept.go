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

func (e *recordFaults) add(index int32, text string) {
	if len(e.list) < maxRecordFaults {
		r := kmsg.NewProduceResponseTopicPartitionErrorRecord()
		r.RelativeOffset, r.ErrorMessage = index, &text
		e.list = append(e.list, r)
	}
}

// accept checks a batch, whose CRC was checked, by the rules of its topic, and
// gives it the form in which it is stored. The records of one that was built
// in this process are only looked at where a rule is about them.
func (b *Broker) accept(t *topic, batch recordbatch.Batch, built bool) (recordbatch.Batch, error) {
	rules := t.policy.Load()
	if len(batch) > rules.maxMessageBytes {
		return nil, fmt.Errorf("%w: a batch of %d bytes, topic %s takes %d: raise its max.message.bytes, or make the records smaller", kerr.MessageTooLarge, len(batch), t.name, rules.maxMessageBytes)
	}
	nowMs := b.now().UnixMilli()
	// A client that claims append time has not told the time of each record.
	if batch.IsLogAppendTime() && !rules.appendTime {
		return nil, fmt.Errorf("%w: the batch says LogAppendTime, topic %s has CreateTime", kerr.InvalidTimestamp, t.name)
	}
	if !rules.appendTime && rules.afterMs < math.MaxInt64-nowMs && batch.MaxTimestamp() > nowMs+rules.afterMs {
		return nil, fmt.Errorf("%w: a timestamp of %d ms is more than %d ms ahead of the broker's clock (message.timestamp.after.max.ms of topic %s)",
			kerr.InvalidTimestamp, batch.MaxTimestamp(), rules.afterMs, t.name)
	}
	if !built || rules.aboutRecords() {
		if err := b.checkRecords(t.name, rules, batch, nowMs); err != nil {
			return nil, err
		}
	}
	if rules.recodes && batch.Codec() != rules.codec {
		recoded, err := recordbatch.Recode(nil, batch, rules.codec)
		if err != nil {
			return nil, err
		}
		batch = recoded
	}
	if rules.appendTime {
		batch.SetLogAppendTime(nowMs)
		batch.SetCRC()
	}
	return batch, nil
}

// aboutRecords tells whether a rule is about each record.
func (p *policy) aboutRecords() bool { return p.compacted || p.boundsRecords() }

func (p *policy) boundsRecords() bool { return !p.appendTime && p.beforeMs < math.MaxInt64 }

// checkRecords reads every record, so that no reader finds one that cannot be read,
// and holds it against the rules.
func (b *Broker) checkRecords(topic string, p *policy, batch recordbatch.Batch, nowMs int64) error {
	r := b.readers.get(batch.Codec() != recordbatch.CodecNone)
	defer b.readers.put(r)
	// Clients retry neither; Kafka has no error of its own for what it cannot decompress.
	if err := r.Verify(batch); errors.Is(err, recordbatch.ErrCompressed) {
		return fmt.Errorf("%w: %w", kerr.UnknownServerError, err)
	} else if err != nil {
		return fmt.Errorf("%w: %w", kerr.InvalidRecord, err)
	}
	if !p.aboutRecords() {
		return nil
	}
	unkeyed := &recordFaults{code: kerr.InvalidRecord, text: "a compacted topic takes no record without a key"}
	old := &recordFaults{code: kerr.InvalidTimestamp, text: fmt.Sprintf("a timestamp is more than %d ms behind the broker's clock (message.timestamp.before.max.ms of topic %s)", p.beforeMs, topic)}
	bounded := p.boundsRecords()
	var rec recordbatch.Record
	for i := int32(0); ; i++ {
		ok, err := r.Next(&rec)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if p.compacted && rec.Key == nil {
			unkeyed.add(i, unkeyed.text)
		}
		if bounded && rec.Timestamp >= 0 && rec.Timestamp < nowMs-p.beforeMs {
			old.add(i, old.text)
		}
	}
	switch {
	case len(unkeyed.list) > 0:
		return unkeyed
	case len(old.list) > 0:
		return old
	}
	return nil
}
