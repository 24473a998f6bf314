package runtime

import (
	"math"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/topology"
)

// chunkRecords is how many records of a batch are decoded at a time: their
// views stay in the processor's cache while they are processed.
const chunkRecords = 512

// input is one input partition of a task: the batches fetched and not yet
// processed, and where it stands.
type input struct {
	tp      logclient.TopicPartition
	topic   topology.Topic
	process topology.BatchFunc

	queue []pendingBatch // fetched, in order; the first may be begun
	// chunk holds decoded records of the first batch of the queue, done tells
	// how many of them are processed.
	chunk  []recordbatch.Record
	done   int
	reader recordbatch.Reader
	begun  bool

	position    int64 // next offset to be processed
	leaderEpoch int32 // of the record before position
	fetched     int64 // next offset to be fetched
	end         int64 // where the partition ended at the last fetch; -1 if not known
	moved       bool  // position is ahead of what was committed
	committed   logclient.Position
	paused      bool
	keptBytes   int64
}

// pendingBatch is a batch of the queue; owned tells that its bytes were copied
// out of the member's memory.
type pendingBatch struct {
	logclient.Batch
	owned bool
	bytes int64
}

// add queues a fetched batch; its bytes belong to the member until keep.
func (in *input) add(b logclient.Batch) {
	in.queue = append(in.queue, pendingBatch{Batch: b})
	in.fetched, in.end = b.Next, b.End
}

// keep copies what is still queued out of the member's memory, which the next
// Poll takes back.
func (in *input) keep() {
	for i := range in.queue {
		p := &in.queue[i]
		if p.owned {
			continue
		}
		p.owned = true
		if p.Raw != nil {
			p.Raw = append(recordbatch.Batch(nil), p.Raw...)
			p.bytes = int64(len(p.Raw))
		} else {
			p.Records, p.bytes = copyRecords(p.Records)
		}
		in.keptBytes += p.bytes
		if i == 0 && in.begun {
			in.rebase(p)
		}
	}
}

// rebase decodes the current chunk anew from copied bytes.
func (in *input) rebase(p *pendingBatch) {
	if p.Raw == nil {
		// chunk is a window of Records: find it again in the copy.
		rest := in.chunk[in.done:]
		if len(rest) > 0 {
			for i := range p.Records {
				if p.Records[i].Offset == rest[0].Offset {
					in.chunk, in.done = p.Records[i:], 0
					return
				}
			}
		}
		in.chunk, in.done = nil, 0
		return
	}
	var rec recordbatch.Record
	left := in.reader.Left() + len(in.chunk) - in.done
	if in.reader.Reset(p.Raw) != nil {
		return // it was read before; cannot fail now
	}
	for in.reader.Left() > left {
		if ok, err := in.reader.Next(&rec); !ok || err != nil {
			return
		}
	}
	in.chunk, in.done = in.chunk[:0], 0
}

func copyRecords(records []recordbatch.Record) ([]recordbatch.Record, int64) {
	size := 0
	for i := range records {
		size += len(records[i].Key) + len(records[i].Value) + len(records[i].Headers)
	}
	arena := make([]byte, 0, size)
	take := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		start := len(arena)
		arena = append(arena, b...)
		return arena[start:len(arena):len(arena)]
	}
	out := make([]recordbatch.Record, len(records))
	for i, r := range records {
		r.Key, r.Value, r.Headers = take(r.Key), take(r.Value), recordbatch.Headers(take(r.Headers))
		out[i] = r
	}
	return out, int64(size)
}

// head makes sure that the chunk holds the next record. It returns false if
// nothing is queued.
func (in *input) head() (bool, error) {
	for in.done >= len(in.chunk) {
		if len(in.queue) == 0 {
			return false, nil
		}
		if err := in.decode(&in.queue[0]); err != nil {
			return false, err
		}
		if len(in.chunk) == 0 {
			in.pop()
		}
	}
	return true, nil
}

// decode fills the chunk from the first batch.
func (in *input) decode(p *pendingBatch) error {
	if p.Raw == nil {
		if in.begun {
			in.chunk, in.done = nil, 0
			return nil
		}
		in.begun = true
		in.chunk, in.done = p.Records, 0
		in.skipDone()
		return nil
	}
	if !in.begun {
		in.begun = true
		if err := in.reader.Reset(p.Raw); err != nil {
			return err
		}
	}
	if cap(in.chunk) < chunkRecords {
		in.chunk = make([]recordbatch.Record, 0, chunkRecords)
	}
	in.chunk, in.done = in.chunk[:0], 0
	for len(in.chunk) < chunkRecords {
		n := len(in.chunk)
		in.chunk = in.chunk[:n+1]
		ok, err := in.reader.Next(&in.chunk[n])
		if err != nil {
			in.chunk = in.chunk[:n]
			return err
		}
		if !ok {
			in.chunk = in.chunk[:n]
			break
		}
	}
	in.skipDone()
	return nil
}

// skipDone passes over records before the position: a batch is handed over
// whole, also when the position lies inside it.
func (in *input) skipDone() {
	for in.done < len(in.chunk) && in.chunk[in.done].Offset < in.position {
		in.done++
	}
}

// pop removes the first batch, which is processed.
func (in *input) pop() {
	p := in.queue[0]
	if p.Next > in.position {
		in.position, in.moved = p.Next, true
		in.leaderEpoch = p.LeaderEpoch
	}
	in.keptBytes -= p.bytes
	in.queue[0] = pendingBatch{}
	in.queue = in.queue[1:]
	in.begun = false
	if p.Raw == nil {
		in.chunk, in.done = nil, 0
	}
}

// advance marks n records of the chunk as processed.
func (in *input) advance(n int) {
	if n == 0 {
		return
	}
	in.done += n
	in.position = in.chunk[in.done-1].Offset + 1
	in.leaderEpoch = in.queue[0].LeaderEpoch
	in.moved = true
	if in.done >= len(in.chunk) && (in.queue[0].Raw == nil || in.reader.Left() == 0) {
		in.pop()
	}
}

// reset drops the queue and goes back to a position.
func (in *input) reset(p logclient.Position) {
	in.queue, in.done, in.begun = nil, 0, false
	in.chunk = in.chunk[:0]
	in.position, in.fetched, in.leaderEpoch = p.Offset, p.Offset, p.LeaderEpoch
	in.moved, in.keptBytes, in.end = false, 0, -1
	in.committed = p
}

// caughtUp tells that the partition is known to hold nothing more to read.
func (in *input) caughtUp() bool { return in.end >= 0 && in.fetched >= in.end }

// upTo counts the records of the chunk, from the next one on, whose timestamps
// are not after limit; at least one.
func (in *input) upTo(limitMs int64) int {
	rest := in.chunk[in.done:]
	if limitMs == math.MaxInt64 {
		return len(rest)
	}
	n := 1
	for n < len(rest) && rest[n].Timestamp <= limitMs {
		n++
	}
	return n
}
