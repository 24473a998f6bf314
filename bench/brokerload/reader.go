package brokerload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

func consumeEncoded(ctx context.Context, l Load) (Result, error) {
	lanes, closeAll, err := l.lanes(ctx)
	if err != nil {
		return Result{}, err
	}
	defer closeAll()
	m, err := newMeter(l.PID)
	if err != nil {
		return Result{}, err
	}
	var read, batches atomic.Int64
	err = together(ctx, lanes, closeAll, func(n *lane) error {
		r := &reader{lane: n, next: make([]int64, len(n.partitions))}
		err := r.run()
		read.Add(r.records)
		batches.Add(r.batches)
		return err
	})
	if err == nil && read.Load() != l.Records {
		err = fmt.Errorf("%d records came", read.Load())
	}
	if err != nil {
		return Result{}, err
	}
	return m.result(l, batches.Load())
}

// maxIdle is how many answers in a row may bring nothing: a minute of them.
const maxIdle = 60_000 / fetchWaitMillis

// reader reads the partitions of a lane from their start to their end.
type reader struct {
	*lane
	next             []int64             // offset of each partition
	came             []recordbatch.Batch // with the last answer
	records, batches int64
}

func (r *reader) run() error {
	req := kmsg.NewPtrFetchRequest()
	var err error
	if req.Version, err = r.version(req, latestVersion); err != nil {
		return err
	}
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = fetchWaitMillis, 1, fetchBytes
	req.Topics = []kmsg.FetchRequestTopic{{Topic: r.load.Topic}}
	more, err := r.ask(req)
	for idle := 0; more && err == nil; idle++ {
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		if err := r.receive(resp); err != nil {
			return err
		}
		if err := r.take(resp); err != nil {
			return err
		}
		if len(r.came) > 0 {
			idle = 0
		} else if idle == maxIdle {
			return errors.New("no records come")
		}
		// What comes next is on its way while this is checked.
		more, err = r.ask(req)
		for _, b := range r.came {
			err = errors.Join(err, b.Validate())
		}
	}
	return err
}

// ask asks for the partitions that are not at their end; more is false if all are.
func (r *reader) ask(req *kmsg.FetchRequest) (more bool, err error) {
	topic := &req.Topics[0]
	topic.Partitions = topic.Partitions[:0]
	for i, p := range r.partitions {
		if r.next[i] < r.ends[i] {
			ask := kmsg.NewFetchRequestTopicPartition()
			ask.Partition, ask.FetchOffset, ask.PartitionMaxBytes = p, r.next[i], partitionBytes
			topic.Partitions = append(topic.Partitions, ask)
		}
	}
	if len(topic.Partitions) == 0 {
		return false, nil
	}
	return true, r.send(req)
}

// take takes the batches of an answer: in each partition they follow what came before.
func (r *reader) take(resp *kmsg.FetchResponse) error {
	r.came = r.came[:0]
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := errors.Join(kerr.ErrorForCode(p.ErrorCode), r.takeFrom(p.Partition, p.RecordBatches)); err != nil {
				return fmt.Errorf("partition %d: %w", p.Partition, err)
			}
		}
	}
	r.batches += int64(len(r.came))
	return kerr.ErrorForCode(resp.ErrorCode)
}

func (r *reader) takeFrom(partition int32, batches []byte) error {
	i, ok := slices.BinarySearch(r.partitions, partition)
	if !ok {
		return errors.New("came unasked")
	}
	for len(batches) > 0 {
		b, rest, err := recordbatch.Split(batches)
		if errors.Is(err, recordbatch.ErrShort) {
			return nil // the last one may be cut off
		}
		if err != nil {
			return err
		}
		if b.BaseOffset() != r.next[i] {
			return fmt.Errorf("offset %d came where %d is due", b.BaseOffset(), r.next[i])
		}
		r.next[i] = b.NextOffset()
		r.records += int64(b.Count())
		r.came, batches = append(r.came, b), rest
	}
	return nil
}
