package logbroker

import (
	"math"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker/commitlog"
)

// Isolation levels of readers (KIP-98).
const (
	readUncommitted = 0
	readCommitted   = 1
)

// minBatchBytes is the least that a fetch reads of a partition that has its
// turn: a client that asks for less still gets one batch (KIP-74).
const minBatchBytes = 1

// maxCopied is about how much of one answer is copied. It stays in memory until the
// client has read it, which may be slow.
const maxCopied = 4 << 20

// besideLocated is how much more than what was located is looked at, for it may be a few
// small batches short. A large one behind it is not read in vain.
const besideLocated = 8 << 10

// handleFetch answers Fetch, versions 4 to 18: 7 has sessions (see fetchSession),
// 12 leader epochs to notice a truncation, 13 topic ids. A fetch that finds too
// little waits for its partitions to advance.
func (b *Broker) handleFetch(r *request) {
	req := r.msg.(*kmsg.FetchRequest)
	f := &fetch{b: b, r: r, who: who{b, r.conn}, req: req, committed: req.IsolationLevel == readCommitted}
	f.maxBytes = min(max(int(req.MaxBytes), 0), b.cfg.Limits.FetchBytes) // 0: one batch, as of Kafka
	if req.IsolationLevel != readUncommitted && req.IsolationLevel != readCommitted {
		resp := refusedFetch(req, kerr.UnknownServerError) // as Kafka, which knows no such level
		if req.Version >= 13 {                             // which name them by id
			resp.Topics = nil
		}
		r.respond(resp)
		return
	}
	f.maxBytes = b.fetchable(r, f.maxBytes)
	if err := f.begin(); err != nil {
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		resp.ErrorCode = err.Code
		r.respond(resp)
		return
	}
	if f.read() || req.MaxWaitMillis <= 0 {
		f.respond()
		return
	}
	f.park()
}

// refusedFetch is the answer to a request none of whose partitions is read.
func refusedFetch(req *kmsg.FetchRequest, err *kerr.Error) *kmsg.FetchResponse {
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	resp.ErrorCode = err.Code
	for _, t := range req.Topics {
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewFetchResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = p.Partition, err.Code, -1, -1, -1
			rp.AbortedTransactions, rp.RecordBatches = noneAborted, []byte{}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// fetch is a request under way.
type fetch struct {
	b         *Broker
	r         *request
	who       who
	req       *kmsg.FetchRequest
	session   *fetchSession // nil without one
	parts     []*fetchPart
	committed bool
	maxBytes  int
	resp      *kmsg.FetchResponse
	// found are the records of each partition that are still in a file, and buf
	// is where others lie; of a TCP client.
	found []commitlog.Range
	buf   []byte

	mu      sync.Mutex // guards what follows
	done    bool
	busy    bool // reading; another advance came meanwhile if again is set
	again   bool
	over    bool // the time is over
	cancels []func()
	alarm   *timer
}

// read fills the answer and tells whether it is enough to be sent.
func (f *fetch) read() (enough bool) {
	f.resp = f.req.ResponseKind().(*kmsg.FetchResponse)
	f.found, f.buf = f.found[:0], f.buf[:0]
	total, there := 0, 0
	var topic *topic
	var unknown int16
	for i, p := range f.parts {
		if i == 0 || p.name != f.parts[i-1].name || p.id != f.parts[i-1].id {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = p.name, p.id
			f.resp.Topics = append(f.resp.Topics, rt)
			topic, unknown = f.topic(p)
		}
		rp := kmsg.NewFetchResponseTopicPartition()
		rp.Partition, rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = p.Partition, -1, -1, -1
		rp.PreferredReadReplica, rp.RecordBatches = -1, []byte{} // librdkafka takes no null
		f.found = append(f.found, commitlog.Range{})
		if topic == nil {
			rp.ErrorCode, rp.AbortedTransactions = unknown, noneAborted
		} else {
			size, atLeast := f.readPartition(&rp, topic, p.FetchRequestTopicPartition, f.maxBytes-total, total == 0)
			total += size
			there += atLeast
		}
		enough = enough || rp.ErrorCode != 0 || rp.DivergingEpoch.EndOffset >= 0
		last := &f.resp.Topics[len(f.resp.Topics)-1]
		last.Partitions = append(last.Partitions, rp)
	}
	return enough || there >= min(int(f.req.MinBytes), f.maxBytes) || len(f.parts) == 0
}

// topic is that of a partition, if the client may read it. Who may not read a topic of
// a name is not told whether there is one.
func (f *fetch) topic(p *fetchPart) (*topic, int16) {
	byID := f.req.Version >= 13
	t, unknown := f.b.offsetTopic(byID, p.name, p.id)
	name := p.name
	switch {
	case t != nil:
		name = t.name
	case byID:
		return nil, unknown
	}
	if !f.who.mayTopic(kmsg.ACLOperationRead, name) {
		return nil, kerr.TopicAuthorizationFailed.Code
	}
	return t, unknown
}

// replica is the broker that fetches; less than 0 for a client.
func (f *fetch) replica() int32 {
	if f.req.Version >= 15 {
		return f.req.ReplicaState.ID
	}
	return f.req.ReplicaID
}

// respond sends the answer, of a session only what is news. Who is over a limit by it is
// told nothing.
func (f *fetch) respond() {
	wait, refused := f.b.fetched(f)
	if refused {
		f.resp.Topics, f.found = nil, nil
	}
	switch {
	case f.session != nil && refused:
		f.session.refuse(f)
	case f.session != nil:
		f.session.finish(f)
	}
	if f.r.conn.listener == nil {
		f.r.respond(f.resp)
		return
	}
	f.r.conn.throttle(f.resp, wait, f.b.now())
	f.r.respond(&fetchAnswer{FetchResponse: f.resp, ranges: f.found, buf: f.buf})
}

// readPartition reads what there is room for. there is the size of that, with as much of the
// next batch as there is room for: so much is not waited for.
func (f *fetch) readPartition(rp *kmsg.FetchResponseTopicPartition, t *topic, p kmsg.FetchRequestTopicPartition, left int, first bool) (size, there int) {
	part, err := f.b.topics.partition(t, p.Partition)
	if err == nil && p.CurrentLeaderEpoch >= 0 { // below -1 is none here, as in Kafka
		err = f.b.checkLeaderEpoch(p.CurrentLeaderEpoch)
	}
	if err == nil && f.replica() >= 0 {
		err = kerr.NotLeaderForPartition // no broker has a copy that follows, as Kafka tells strangers
	}
	if err != nil {
		if rp.ErrorCode = groupCode(err); rp.ErrorCode == kerr.UnknownTopicOrPartition.Code {
			rp.AbortedTransactions = noneAborted
		}
		return 0, 0
	}
	if p.LastFetchedEpoch >= 0 {
		epoch, end := part.log.EpochEnd(p.LastFetchedEpoch)
		if end < 0 { // one that has not come
			rp.ErrorCode = kerr.OffsetOutOfRange.Code
			return 0, 0
		}
		if epoch < p.LastFetchedEpoch || end < p.FetchOffset {
			rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = part.highWatermark(), f.b.lastStable(part), part.log.Start()
			rp.DivergingEpoch.Epoch, rp.DivergingEpoch.EndOffset = epoch, end
			return 0, 0
		}
	}
	maxBytes := min(int(p.PartitionMaxBytes), left)
	if first {
		maxBytes = max(maxBytes, minBatchBytes)
	}
	res, end, err := f.b.readable(part, p.FetchOffset, f.committed)
	if err != nil {
		rp.ErrorCode = errorCode(err)
		return 0, 0
	}
	rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = res.HighWatermark, res.LastStableOffset, res.LogStart
	if f.committed {
		rp.AbortedTransactions = noneAborted
	}
	if p.FetchOffset >= end {
		return 0, 0
	}
	size, read, err := f.records(rp, part.log, p.FetchOffset, end, maxBytes, first)
	if err != nil {
		rp.ErrorCode = errorCode(err)
		return 0, 0
	}
	if there = size; read < end {
		there = max(size, maxBytes)
	}
	if size > 0 && f.committed {
		for _, a := range part.log.Aborted(p.FetchOffset, read) {
			ra := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
			ra.ProducerID, ra.FirstOffset = a.ProducerID, a.FirstOffset
			rp.AbortedTransactions = append(rp.AbortedTransactions, ra)
		}
	}
	return size, there
}

// records reads a partition, or finds what a TCP client is to be sent from a file:
// its size, and the offset that all of it is below.
func (f *fetch) records(rp *kmsg.FetchResponseTopicPartition, log *commitlog.Log, offset, end int64, maxBytes int, first bool) (int, int64, error) {
	if f.r.conn.listener == nil {
		batches, err := log.Read(offset, end, maxBytes, first, nil)
		if len(batches) > 0 {
			rp.RecordBatches = batches
		}
		return len(batches), endOf(batches), err
	}
	if r, ok := log.Locate(offset, end, maxBytes, 1); ok {
		if r.Size() >= minSent || len(f.buf) >= maxCopied {
			f.found[len(f.found)-1] = r
			return r.Size(), r.End(), nil
		}
		maxBytes = min(maxBytes, r.Size()+besideLocated)
	}
	if f.buf == nil {
		f.buf = f.b.frames.get(min(f.maxBytes, len(f.parts)*minSent, maxCopied)) // more is sent from files
	}
	before := len(f.buf)
	buf, err := log.Read(offset, end, maxBytes, first, f.buf)
	f.buf = buf
	rp.RecordBatches = buf[before:len(buf):len(buf)]
	return len(buf) - before, endOf(rp.RecordBatches), err
}

// endOf is the offset after the last of whole batches.
func endOf(batches []byte) (end int64) {
	for len(batches) > 0 {
		b, rest, err := recordbatch.Split(batches)
		if err != nil {
			return math.MaxInt64 // it was read as one: its reader is told
		}
		end, batches = b.NextOffset(), rest
	}
	return end
}

// park waits until a partition advances far enough, or the time is over.
func (f *fetch) park() {
	f.drop()
	f.mu.Lock()
	for _, p := range f.parts {
		topic, _ := f.b.offsetTopic(f.req.Version >= 13, p.name, p.id)
		if part, err := f.b.topics.partition(topic, p.Partition); err == nil {
			f.cancels = append(f.cancels, part.watch(f.committed, f.advanced))
		}
	}
	f.alarm = f.b.timers.at(f.b.now().Add(milliseconds(f.req.MaxWaitMillis)), func(time.Time) { f.try(true) })
	f.mu.Unlock() // whoever answers reads the alarm
	if !f.r.conn.parked.add(f) {
		f.leave()
		return
	}
	f.try(false) // something may have come before the watch
}

// leave ends a fetch that nobody is to be told the answer of.
func (f *fetch) leave() {
	f.mu.Lock()
	done := f.done
	f.done = true
	f.mu.Unlock()
	if !done {
		f.unpark()
	}
}

// unpark ends the waiting of a fetch that is done.
func (f *fetch) unpark() {
	f.alarm.stop()
	for _, cancel := range f.cancels {
		cancel()
	}
	f.cancels = nil
	f.r.conn.parked.remove(f)
}

// drop lets go of what was read: it is too little to be sent, and is read again.
func (f *fetch) drop() {
	if f.buf != nil {
		f.b.frames.put(f.buf)
		f.buf, f.resp = nil, nil
	}
}

func (f *fetch) advanced() { f.try(false) }

// try reads again and answers if that is enough, or if the time is over.
func (f *fetch) try(over bool) {
	f.mu.Lock()
	if f.done || f.busy {
		f.again = true
		f.over = f.over || over
		f.mu.Unlock()
		return
	}
	f.busy = true
	f.mu.Unlock()
	for {
		enough := f.read() || over
		f.mu.Lock()
		if f.done { // its client has gone
			f.drop()
			f.mu.Unlock()
			return
		}
		over = over || f.over
		if enough || over {
			f.done = true
			f.mu.Unlock()
			f.unpark()
			f.respond()
			return
		}
		if !f.again {
			f.busy = false
			f.drop()
			f.mu.Unlock()
			return
		}
		f.again = false
		f.mu.Unlock()
	}
}

// noneAborted is what Kafka answers where null would do; nothing is ever put into it.
var noneAborted = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}

// AbortedTxn is an aborted transaction of a partition.
type AbortedTxn struct {
	ProducerID  int64
	FirstOffset int64
}

// FetchResult is what Fetch found.
type FetchResult struct {
	Batches          []byte       // whole batches, the first of which holds the offset
	Aborted          []AbortedTxn // that overlap Batches, by first offset; read_committed only
	HighWatermark    int64
	LastStableOffset int64
	LogStart         int64
}

// lastStable is the end for read_committed: what is durable and before the
// first transaction without a decision.
func (b *Broker) lastStable(p *partition) int64 { return min(p.log.SyncedEnd(), p.log.LastStable()) }

// readable is the state of a partition, and up to where it may be read.
func (b *Broker) readable(p *partition, offset int64, committed bool) (res FetchResult, end int64, err error) {
	res = FetchResult{HighWatermark: p.highWatermark(), LogStart: p.log.Start()}
	res.LastStableOffset = min(res.HighWatermark, p.log.LastStable())
	end = res.HighWatermark
	if committed {
		end = res.LastStableOffset
	}
	if offset < res.LogStart || offset > max(res.HighWatermark, p.log.SyncedEnd()) {
		err = commitlog.ErrOffsetOutOfRange
	}
	return res, end, err
}
