package logbroker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker/txn"
)

// simInstance is one life of a producer. It keeps to the protocol: it commits only
// what was all acknowledged, and takes a new epoch after it lost an answer.
type simInstance struct {
	*actor
	w        *txnWorld
	id       string
	old      bool // speaks the protocol before KIP-890
	producer txn.Producer
	seq      [txnSimPartitions]int32
}

// start begins a life. Others of the same id may still be alive and not know it.
func (w *txnWorld) start(id string) *simInstance {
	p := &simInstance{w: w, id: id, old: w.rng.IntN(2) == 0}
	p.actor = w.spawn(func(*actor) {
		if !p.init(txn.NoProducer) {
			return
		}
		for {
			p.sleep(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
			switch p.transaction() {
			case bumpEpoch:
				if p.init(p.producer) {
					continue
				}
				fallthrough
			case startAgain:
				p.sleep(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
				if !p.init(txn.NoProducer) {
					return
				}
			}
		}
	})
	w.live = append(w.live, p)
	return p
}

// Outcomes of a transaction, for its producer.
type outcome int

const (
	goOn outcome = iota
	bumpEpoch
	startAgain
)

// retried are the errors after which the same request is sent again.
var retried = []int16{
	kerr.ConcurrentTransactions.Code, kerr.CoordinatorLoadInProgress.Code, kerr.NotCoordinator.Code, kerr.KafkaStorageError.Code, kerr.NotLeaderForPartition.Code, lost.Code,
}

// ask sends requests until each has an answer that stands, but not for ever. Copies
// arrive after that too, but for those of once.
func (p *simInstance) ask(once bool, x *simTxn, reqs ...kmsg.Request) []kmsg.Response {
	out := make([]kmsg.Response, len(reqs))
	settled := make([]bool, len(reqs))
	for range 1 + p.w.rng.IntN(6) { // some have little patience
		var messages []*message
		var which []int
		for i, req := range reqs {
			if settled[i] {
				continue
			}
			m := &message{frame: frameOf(req), about: x}
			if once {
				m.stale = &settled[i]
			}
			messages, which = append(messages, m), append(which, i)
		}
		if len(messages) == 0 {
			break
		}
		for k, resp := range p.call(requestTimeout, messages...) {
			out[which[k]] = resp
			err := errorOf(resp)
			settled[which[k]] = err == nil || !slices.Contains(retried, err.Code)
		}
		p.sleep(100 * time.Millisecond)
	}
	return out
}

func (p *simInstance) init(holder txn.Producer) bool {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = 5, &p.id, holder.ID, holder.Epoch
	req.TransactionTimeoutMillis = int32(5000 + p.w.rng.IntN(60_000))
	resp, _ := p.ask(false, nil, req)[0].(*kmsg.InitProducerIDResponse)
	if resp == nil || resp.ErrorCode != 0 {
		return false
	}
	p.producer, p.seq = txn.Producer{ID: resp.ProducerID, Epoch: resp.ProducerEpoch}, [txnSimPartitions]int32{}
	return true
}

// transaction writes to some partitions, perhaps sends an offset, and ends it.
func (p *simInstance) transaction() outcome {
	w := p.w
	x := &simTxn{number: len(w.txns), id: p.id, old: p.old, producer: p.producer}
	w.txns = append(w.txns, x)
	whole := true
	added := map[int32]bool{}
	for range 1 + w.rng.IntN(3) {
		whole = whole && p.write(x, added)
	}
	if whole && w.rng.IntN(3) == 0 {
		whole = p.sendOffset(x)
	}
	if !whole && w.rng.IntN(8) == 0 {
		return startAgain // without a word
	}
	commit := whole && w.rng.IntN(4) > 0
	end := kmsg.NewPtrEndTxnRequest()
	end.Version, end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = 5, p.id, p.producer.ID, p.producer.Epoch, commit
	if p.old {
		end.Version = 4
	}
	// A late copy of an older EndTxn does end the next transaction: that is what
	// KIP-890 is for.
	resp, _ := p.ask(p.old, x, end)[0].(*kmsg.EndTxnResponse)
	switch {
	case resp == nil || resp.ErrorCode != 0:
		return startAgain
	case p.old && !whole:
		return bumpEpoch
	case !p.old:
		p.producer, p.seq = txn.Producer{ID: resp.ProducerID, Epoch: resp.ProducerEpoch}, [txnSimPartitions]int32{}
	}
	return goOn
}

// write sends a batch to some partitions at once, and tells whether all is there.
func (p *simInstance) write(x *simTxn, added map[int32]bool) bool {
	var parts []int32
	for n := range int32(txnSimPartitions) {
		if p.w.rng.IntN(2) == 0 {
			parts = append(parts, n)
		}
	}
	if p.old && !p.add(x, parts, added) {
		return false
	}
	var reqs []kmsg.Request
	counts := map[int32]int32{}
	for _, n := range parts {
		var b recordbatch.Builder
		for range 1 + p.w.rng.IntN(2) {
			p.w.values++
			v := fmt.Sprint("v", p.w.values)
			p.w.owner[v] = x
			x.values = append(x.values, v)
			b.Append(p.w.now.UnixMilli(), nil, []byte(v), nil)
			counts[n]++
		}
		batch := b.Batch()
		batch.SetProducer(p.producer.ID, p.producer.Epoch, p.seq[n], true)
		batch.SetCRC()
		reqs = append(reqs, produceRequest(p.id, p.old, n, batch))
	}
	all := true
	for i, resp := range p.ask(false, x, reqs...) {
		if errorOf(resp) != nil {
			all = false
			continue
		}
		p.seq[parts[i]] += counts[parts[i]]
	}
	return all
}

func produceRequest(id string, old bool, part int32, batch recordbatch.Batch) kmsg.Request {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TransactionID = 12, -1, &id
	if old {
		req.Version = 11
	}
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "t"
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = part, batch
	topic.Partitions = append(topic.Partitions, rp)
	req.Topics = append(req.Topics, topic)
	return req
}

// add registers partitions, as the older protocol wants it.
func (p *simInstance) add(x *simTxn, parts []int32, added map[int32]bool) bool {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = 3, p.id, p.producer.ID, p.producer.Epoch
	topic := kmsg.NewAddPartitionsToTxnRequestTopic()
	topic.Topic = "t"
	for _, n := range parts {
		if !added[n] {
			topic.Partitions = append(topic.Partitions, n)
		}
	}
	if len(topic.Partitions) == 0 {
		return true
	}
	req.Topics = append(req.Topics, topic)
	if errorOf(p.ask(false, x, req)[0]) != nil {
		return false
	}
	for _, n := range topic.Partitions {
		added[n] = true
	}
	return true
}

// sendOffset commits an offset of a group of the transaction's own.
func (p *simInstance) sendOffset(x *simTxn) bool {
	group := fmt.Sprint("g", x.number)
	if p.old {
		req := kmsg.NewPtrAddOffsetsToTxnRequest()
		req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = 3, p.id, p.producer.ID, p.producer.Epoch, group
		if errorOf(p.ask(true, x, req)[0]) != nil {
			return false
		}
	}
	x.group = true
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.Version, req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = 5, p.id, group, p.producer.ID, p.producer.Epoch, -1
	if p.old {
		req.Version = 3
	}
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic = "t"
	rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	rp.Offset = 1
	topic.Partitions = append(topic.Partitions, rp)
	req.Topics = append(req.Topics, topic)
	return errorOf(p.ask(p.old, x, req)[0]) == nil
}

// valuesOf are the values of a batch.
func valuesOf(t testing.TB, b recordbatch.Batch) (out []string) {
	t.Helper()
	var rd recordbatch.Reader
	var rec recordbatch.Record
	if err := rd.Reset(b); err != nil {
		t.Fatal(err)
	}
	for {
		ok, err := rd.Next(&rec)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return out
		}
		out = append(out, string(rec.Value))
	}
}

// check compares what a reader of committed records sees with what was said.
func (w *txnWorld) check() {
	seen, end := map[string]int{}, map[int32]int64{}
	for i, p := range w.broker.topics.byName("t").parts() {
		if p.log == nil {
			continue // nobody reads there
		}
		part := int32(i)
		for next := int64(0); ; {
			res, err := w.broker.Fetch("t", part, next, true, 1<<20, nil)
			if err != nil {
				w.fail("fetch at %d of partition %d: %v", next, part, err)
				return
			}
			end[part] = res.LastStableOffset
			if len(res.Batches) == 0 {
				break
			}
			next = w.committed(res, seen)
		}
	}
	for _, x := range w.txns {
		w.checkTxn(x, seen, end)
	}
}

// committed counts the values in an answer that a reader does not skip.
func (w *txnWorld) committed(res FetchResult, seen map[string]int) (next int64) {
	skip := map[int64]bool{}
	for rest, aborted := res.Batches, res.Aborted; len(rest) > 0; {
		var b recordbatch.Batch
		var err error
		if b, rest, err = recordbatch.Split(rest); err != nil {
			w.t.Fatal(err)
		}
		for len(aborted) > 0 && aborted[0].FirstOffset <= b.LastOffset() {
			skip[aborted[0].ProducerID] = true
			aborted = aborted[1:]
		}
		next = b.NextOffset()
		switch {
		case b.IsControl():
			delete(skip, b.ProducerID())
		case !skip[b.ProducerID()]:
			for _, v := range valuesOf(w.t, b) {
				seen[v]++
			}
		}
	}
	return next
}

func (w *txnWorld) checkTxn(x *simTxn, seen map[string]int, end map[int32]int64) {
	there, missing := 0, ""
	for _, v := range x.values {
		at, known := w.place[v]
		switch n := seen[v]; {
		case n > 1:
			w.fail("%s of transaction %d is there %d times", v, x.number, n)
		case n == 1:
			there++
		case known && at.offset >= end[at.partition], w.away:
			// behind an open transaction, or where nobody can read
		default:
			missing = fmt.Sprintf("%s at %v (known: %v; readers see up to %v)", v, at, known, end)
		}
	}
	if x.group {
		o, ok, err := w.broker.meta.Offset(fmt.Sprint("g", x.number), "t", 0)
		switch {
		case err != nil:
			w.fail("offset: %v", err)
		case ok && o.Offset == 1:
			there++
		default:
			missing = "the offset"
		}
	}
	switch {
	case there > 0 && !x.committed && !x.doubtful:
		w.fail("transaction %d is not committed and is seen", x.number)
	case missing != "" && x.committed:
		w.fail("transaction %d was committed and %s is not seen", x.number, missing)
	case missing != "" && there > 0:
		w.fail("of transaction %d, whose end was not answered, %d values are seen and %s is not", x.number, there, missing)
	}
}

// chaos does something to the broker or the producers now and then.
func (w *txnWorld) chaos() {
	if w.settling {
		return
	}
	id := fmt.Sprint("txn-", w.rng.IntN(txnSimIDs))
	switch w.rng.IntN(12) {
	case 0:
		w.power = w.rng.IntN(3) == 0
		keep := 100
		if w.power {
			keep = 100 * w.rng.IntN(2)
		}
		w.arm(1+w.rng.IntN(300), keep)
	case 1:
		w.sameAfterKill()
	case 2:
		w.full.Store(true)
		w.in(time.Duration(w.rng.IntN(4000))*time.Millisecond, func() { w.full.Store(false) })
	case 3, 4, 5:
		w.start(id)
	case 6, 7:
		if n := len(w.live); n > 0 {
			w.live[w.rng.IntN(n)].kill()
		}
	case 8:
		w.abortOld(id)
	default:
		w.check()
	}
	w.live = slices.DeleteFunc(w.live, func(p *simInstance) bool { return p.over })
	if len(w.live) < 2 {
		w.start(id)
	}
	w.in(time.Duration(w.rng.IntN(5000))*time.Millisecond, w.chaos)
}

// abortOld is an administrator who aborts what an earlier holder of an id may have
// left open, as a tool that took its time.
func (w *txnWorld) abortOld(id string) {
	f := w.fence[id]
	if f.Epoch == 0 {
		return
	}
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	req.Version = 1
	m := kmsg.NewWriteTxnMarkersRequestMarker()
	m.ProducerID, m.ProducerEpoch = f.ID, f.Epoch-1
	mt := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
	mt.Topic, mt.Partitions = "t", []int32{0, 1, 2}
	m.Topics = append(m.Topics, mt)
	req.Markers = append(req.Markers, m)
	w.send(&message{frame: frameOf(req)}, func(kmsg.Response) {})
}

// sameAfterKill kills the broker between two requests and compares what it knows of
// transactions before and after.
func (w *txnWorld) sameAfterKill() {
	states := func() map[string]txn.State {
		out := map[string]txn.State{}
		for _, e := range w.broker.txns.all() {
			if e.state.Phase == txn.Empty && e.state.Producer.ID < 0 {
				continue // never given a producer
			}
			out[e.id] = e.state
		}
		return out
	}
	before, wasAway := states(), w.away
	w.crash(false, 0)
	if w.away || wasAway {
		return
	}
	after := states()
	for id, b := range before {
		a := after[id]
		// What was added with no batch behind it is not known any more.
		empty := b.Phase == txn.Ongoing && a.Phase != txn.Ongoing
		if !empty && b.Phase != a.Phase || a.Producer != b.Producer || a.Last != b.Last || a.Timeout != b.Timeout {
			w.fail("%s was %+v and is %+v after a restart", id, b, a)
		}
		for p := range a.Partitions {
			if _, ok := b.Partitions[p]; !ok {
				w.fail("%s has partition %v after a restart, and did not before", id, p)
			}
		}
	}
	if len(after) != len(before) {
		w.fail("%d transactional ids, and %d after a restart", len(before), len(after))
	}
}

// settle lets everything come to its end: nobody sends any more, and what was sent
// has arrived; then every id can be used again, and nothing keeps readers back.
func (w *txnWorld) settle() {
	ok := func() bool { return w.bad == "" }
	w.settling = true
	for _, p := range w.live {
		p.kill()
	}
	w.runUntil(w.now.Add(10*time.Minute), ok) // what is late arrives
	w.calm = true
	if w.away {
		w.crash(false, 0)
	}
	w.runUntil(w.now.Add(20*time.Minute), ok)
	w.quiet()
	done := 0
	for i := range txnSimIDs {
		p := &simInstance{w: w, id: fmt.Sprint("txn-", i), old: i == 0}
		p.actor = w.spawn(func(*actor) {
			for range 5 {
				x := len(w.txns)
				if p.init(txn.NoProducer) && p.transaction() == goOn && w.txns[x].ended {
					done++
					return
				}
			}
		})
	}
	w.runUntil(w.now.Add(20*time.Minute), ok)
	if done != txnSimIDs && ok() {
		w.fail("of %d ids only %d can be used in the end", txnSimIDs, done)
	}
	w.quiet()
}

// quiet checks that nothing is open.
func (w *txnWorld) quiet() {
	for i, p := range w.broker.topics.byName("t").parts() {
		if w.broker.lastStable(p) != p.log.End() {
			w.fail("partition %d: last stable offset %d, synced to %d, end %d: %+v", i, p.log.LastStable(), p.log.SyncedEnd(), p.log.End(), p.log.OpenTransactions())
		}
	}
	if rows, err := w.broker.meta.Decisions(); err != nil || len(rows) > 0 {
		w.fail("%d decisions are left over (%v)", len(rows), err)
	}
	if rows, err := w.broker.meta.PendingOffsets(); err != nil || len(rows) > 0 {
		w.fail("%d offsets are pending (%v)", len(rows), err)
	}
	w.check()
}

func (w *txnWorld) run() string {
	defer func() { w.broker.Kill() }()
	for i := range txnSimIDs {
		w.start(fmt.Sprint("txn-", i))
	}
	w.in(time.Second, w.chaos)
	w.runUntil(w.now.Add(2*time.Minute), func() bool { return w.bad == "" })
	if w.bad == "" {
		w.settle()
	}
	for _, p := range w.live {
		p.kill()
	}
	return w.bad
}

// TestTransactionsThroughANetwork: whatever is late, doubled, reordered or lost,
// and whenever the broker dies, transactions are whole, fenced, and come to an end
// (LEVADA_SEEDS for more, LEVADA_SEED for one with all that happens).
func TestTransactionsThroughANetwork(t *testing.T) {
	eachSeed(t, 40, func(t *testing.T, seed uint64, say func(string, ...any)) string {
		w := newTxnWorld(t, seed, nil)
		w.say = say
		return w.run()
	})
}
