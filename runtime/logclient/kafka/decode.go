package kafka

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
)

// fetched is what a response holds of one partition.
type fetched struct {
	batches []logclient.Batch
	bytes   int
	next    int64 // position after it
}

// decode splits the bytes of a partition into batches that a reader at
// position is to see. Batches without records for it only move the position.
func decode(r *kmsg.FetchResponseTopicPartition, tp logclient.TopicPartition, position int64, committed bool) (fetched, error) {
	out := fetched{next: position}
	end := r.HighWatermark
	if committed && r.LastStableOffset >= 0 {
		end = r.LastStableOffset
	}
	var list []wire.AbortedTxn
	for _, a := range r.AbortedTransactions {
		list = append(list, wire.AbortedTxn{ProducerID: a.ProducerID, FirstOffset: a.FirstOffset})
	}
	aborted := wire.NewAborted(list)
	for rest := []byte(r.RecordBatches); len(rest) > 0; {
		batch, after, err := recordbatch.Split(rest)
		if errors.Is(err, recordbatch.ErrShort) {
			break // the broker cuts the last batch at the size asked for
		}
		if err == nil {
			err = batch.Validate()
		}
		if err != nil {
			return out, fmt.Errorf("record batch at offset %d: %w", out.next, err)
		}
		rest = after
		next := batch.NextOffset()
		hidden := aborted.Hides(batch) && committed || batch.IsControl() || batch.Count() == 0
		if next <= out.next {
			continue
		}
		out.next = next
		b := logclient.Batch{TopicPartition: tp, Next: next, LeaderEpoch: batch.LeaderEpoch()}
		if n := len(out.batches); hidden && n > 0 {
			out.batches[n-1].Next, out.batches[n-1].LeaderEpoch = next, b.LeaderEpoch
			continue
		}
		if !hidden {
			b.Raw = batch
			out.bytes += len(batch)
		}
		out.batches = append(out.batches, b)
	}
	for i := range out.batches {
		// Kafka looks at its high watermark before it reads what may be after it.
		out.batches[i].End = max(end, out.next)
	}
	return out, nil
}
