package sdk

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/internal/recordbatch"
)

// Sink writes to the outside world. Its methods are called by one goroutine.
type Sink interface {
	// Write stores the records of d and d.Positions in one transaction of the
	// target, and returns when they are durable. It first checks that the
	// target knows no newer epoch, else it returns ErrFenced.
	//
	// Records that the target refuses for what they are (not for a failure)
	// are returned, and then nothing of d has been stored: the host writes
	// them to the dead-letter topic, and Write is called again without them.
	Write(ctx context.Context, d *Delivery) ([]Rejection, error)
	// Close releases what the sink holds. No call follows.
	Close() error
}

// SinkStart is what a sink is told when it is opened.
type SinkStart struct {
	// Connector is the name of the instance: the owner of the positions.
	Connector string
	// Epoch is the fencing token. The target remembers the largest one and
	// refuses writes of an older.
	Epoch int64
	// Partitions are what this instance will be sent.
	Partitions []TopicPartition
}

// TopicPartition names one partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// Position is the next offset of a partition.
type Position struct {
	TopicPartition
	NextOffset int64
}

// Record is one record. Its slices are valid until Write returns. A nil Key or
// Value is a null.
type Record struct {
	TopicPartition
	Offset      int64
	TimestampMs int64
	Key, Value  []byte
	Headers     recordbatch.Headers
}

// Rejection is a record that the target refuses.
type Rejection struct {
	TopicPartition
	Offset int64
	Reason string
}

// Delivery is what a Sink writes at once: records of one or more partitions,
// each partition in offset order.
type Delivery struct {
	// Positions holds, for every partition in the delivery, the place after it.
	Positions []Position

	parts []*proto.WriteRecords
	skip  map[TopicPartition][]int64 // sorted
	start map[TopicPartition]int64   // offsets below are in the target already
	err   error
}

// Records walks the records, partition by partition. Check Err after it.
func (d *Delivery) Records() iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		var reader recordbatch.Reader
		var raw recordbatch.Record
		var rec Record
		for _, part := range d.parts {
			rec.TopicPartition = TopicPartition{part.Topic, part.Partition}
			if !d.walkPart(part, &reader, &raw, &rec, yield) {
				return
			}
		}
	}
}

func (d *Delivery) walkPart(part *proto.WriteRecords, reader *recordbatch.Reader, raw *recordbatch.Record, rec *Record, yield func(*Record) bool) bool {
	skip, start := d.skip[rec.TopicPartition], d.start[rec.TopicPartition]
	for rest := part.Records; len(rest) > 0; {
		batch, after, err := recordbatch.Split(rest)
		if err == nil {
			err = reader.Reset(batch)
		}
		for ok := true; err == nil; {
			if ok, err = reader.Next(raw); !ok {
				break
			}
			if raw.Offset < start || raw.Offset >= part.NextOffset {
				continue
			}
			if _, found := slices.BinarySearch(skip, raw.Offset); found {
				continue
			}
			rec.Offset, rec.TimestampMs = raw.Offset, raw.Timestamp
			rec.Key, rec.Value, rec.Headers = raw.Key, raw.Value, raw.Headers
			if !yield(rec) {
				return false
			}
		}
		if err != nil {
			d.err = fmt.Errorf("%w: %s/%d: %w", errProtocol, part.Topic, part.Partition, err)
			return false
		}
		rest = after
	}
	return true
}

// Err is what stopped Records early: the host sent bytes that are no records.
// A Sink that finds it set must store nothing and return it.
func (d *Delivery) Err() error { return d.err }

// add appends a message of the host to the delivery.
func (d *Delivery) add(w *proto.WriteRecords) {
	tp := TopicPartition{w.Topic, w.Partition}
	next := max(w.NextOffset, d.start[tp])
	d.parts = append(d.parts, w)
	for i := range d.Positions {
		if d.Positions[i].TopicPartition == tp {
			d.Positions[i].NextOffset = next
			return
		}
	}
	d.Positions = append(d.Positions, Position{tp, next})
}

// leftOut tells whether the record has been rejected before.
func (d *Delivery) leftOut(r Rejection) bool {
	_, found := slices.BinarySearch(d.skip[r.TopicPartition], r.Offset)
	return found
}

// leaveOut drops the rejected records from the next walk.
func (d *Delivery) leaveOut(rejections []Rejection) {
	if d.skip == nil {
		d.skip = map[TopicPartition][]int64{}
	}
	for _, r := range rejections {
		d.skip[r.TopicPartition] = append(d.skip[r.TopicPartition], r.Offset)
	}
	for _, offsets := range d.skip {
		slices.Sort(offsets)
	}
}
