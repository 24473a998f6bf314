package host

import (
	"fmt"

	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

const (
	// messageBytes is about how much one message to a sink holds; a larger
	// batch travels alone.
	messageBytes = 512 << 10
	// messageOverhead is what a message costs of the credit beside its records;
	// docs/format/plugin-protocol.md.
	messageOverhead = 1 << 10
)

// flight is what was sent to a sink and is not durable in its target. The
// bytes are kept for the dead letters.
type flight struct {
	bytes int64 // as the credit counts
	sent  map[logclient.TopicPartition][]sentMessage
	next  map[logclient.TopicPartition]int64 // after what was sent
}

type sentMessage struct {
	message *proto.WriteRecords
	records int64
}

func newFlight() flight {
	return flight{sent: map[logclient.TopicPartition][]sentMessage{}, next: map[logclient.TopicPartition]int64{}}
}

// begin notes where a partition is read from.
func (f *flight) begin(tp logclient.TopicPartition, next int64) { f.next[tp] = next }

// end is the offset after what was sent; -1 if the partition is none of ours.
func (f *flight) end(tp logclient.TopicPartition) int64 {
	if next, ok := f.next[tp]; ok {
		return next
	}
	return -1
}

// add makes messages of the batches of a poll: those of one partition travel
// together. The bytes are copied.
func (f *flight) add(batches []logclient.Batch) ([]*proto.WriteRecords, error) {
	var out []*proto.WriteRecords
	open := map[logclient.TopicPartition]int{} // the last message of each partition, in out
	counts := []int64{}
	for i := range batches {
		b := &batches[i]
		n, ok := open[b.TopicPartition]
		if !ok || len(out[n].Records) >= messageBytes {
			n = len(out)
			open[b.TopicPartition] = n
			out = append(out, &proto.WriteRecords{Topic: b.Topic, Partition: b.Partition})
			counts = append(counts, 0)
		}
		records, count, err := appendBatch(out[n].Records, b)
		if err != nil {
			return nil, fmt.Errorf("%s/%d: %w", b.Topic, b.Partition, err)
		}
		out[n].Records, out[n].NextOffset = records, b.Next
		counts[n] += count
	}
	for n, m := range out {
		tp := logclient.TopicPartition{Topic: m.Topic, Partition: m.Partition}
		f.sent[tp] = append(f.sent[tp], sentMessage{m, counts[n]})
		f.next[tp] = m.NextOffset
		f.bytes += messageSize(m)
	}
	return out, nil
}

func messageSize(m *proto.WriteRecords) int64 { return int64(len(m.Records)) + messageOverhead }

// appendBatch appends the records of a batch as record batches: as they lie in
// the log, or encoded anew, one batch for each run of offsets without a hole.
func appendBatch(dst []byte, b *logclient.Batch) (out []byte, count int64, err error) {
	if b.Raw != nil {
		dst, count = append(dst, b.Raw...), int64(b.Raw.Count())
	}
	var builder recordbatch.Builder
	builder.Reset(nil)
	base := int64(0)
	finish := func() {
		if batch := builder.Batch(); batch != nil {
			batch.SetBaseOffset(base)
			batch.SetCRC()
			dst = append(dst, batch...)
			builder.Reset(batch)
		}
	}
	for i := range b.Records {
		r := &b.Records[i]
		if builder.Len() > 0 && r.Offset != base+int64(builder.Len()) {
			finish()
		}
		if builder.Len() == 0 {
			base = r.Offset
		}
		builder.Append(r.Timestamp, r.Key, r.Value, r.Headers)
	}
	finish()
	if len(dst) > proto.MaxMessageBytes-(1<<16) {
		return nil, 0, fmt.Errorf("a batch of %d bytes is more than the plugin protocol carries", len(dst))
	}
	return dst, count + int64(len(b.Records)), nil
}

// settle forgets what is durable and tells how many records that was.
func (f *flight) settle(tp logclient.TopicPartition, next int64) (records int64) {
	sent := f.sent[tp]
	for len(sent) > 0 && sent[0].message.NextOffset <= next {
		f.bytes -= messageSize(sent[0].message)
		records += sent[0].records
		sent[0] = sentMessage{}
		sent = sent[1:]
	}
	f.sent[tp] = sent
	return records
}

// find hands the record at an offset to each.
func (f *flight) find(tp logclient.TopicPartition, offset int64, each func(*recordbatch.Record) error) error {
	for _, s := range f.sent[tp] {
		if s.message.NextOffset <= offset {
			continue
		}
		for rest := s.message.Records; len(rest) > 0; {
			batch, after, err := recordbatch.Split(rest)
			if err != nil {
				return err
			}
			rest = after
			if batch.BaseOffset() > offset || batch.LastOffset() < offset {
				continue
			}
			found := false
			err = eachRaw(batch, func(r *recordbatch.Record) error {
				if r.Offset != offset {
					return nil
				}
				found = true
				return each(r)
			})
			if err != nil || found {
				return err
			}
		}
		break
	}
	return fmt.Errorf("the plugin rejected %s/%d offset %d, which is not in flight", tp.Topic, tp.Partition, offset)
}
