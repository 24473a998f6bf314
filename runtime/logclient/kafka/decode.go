package kafka

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
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
	aborted := abortedSet{list: r.AbortedTransactions}
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
		if next <= out.next {
			aborted.pass(batch)
			continue
		}
		out.next = next
		b := logclient.Batch{TopicPartition: tp, Next: next, LeaderEpoch: batch.LeaderEpoch(), End: end}
		hidden := batch.IsControl() || batch.Count() == 0
		if committed {
			hidden = aborted.hides(batch) || hidden
			aborted.pass(batch)
		}
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
	return out, nil
}

// abortedSet follows the aborted transactions while the batches of a response
// are walked in order.
type abortedSet struct {
	list []kmsg.FetchResponseTopicPartitionAbortedTransaction // by first offset
	open map[int64]bool                                       // producer ids
}

// hides tells whether a batch belongs to an aborted transaction.
func (a *abortedSet) hides(b recordbatch.Batch) bool {
	for len(a.list) > 0 && a.list[0].FirstOffset <= b.LastOffset() {
		if a.open == nil {
			a.open = map[int64]bool{}
		}
		a.open[a.list[0].ProducerID] = true
		a.list = a.list[1:]
	}
	return b.IsTransactional() && a.open[b.ProducerID()]
}

// pass closes the transaction whose marker b is.
func (a *abortedSet) pass(b recordbatch.Batch) {
	if b.IsControl() {
		a.hides(b)
		delete(a.open, b.ProducerID())
	}
}
