package logbroker

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/planted"
	"github.com/levada/levada/internal/recordbatch"
)

// seeds is how many seeds the simulations run: LEVADA_SEEDS, or def.
func seeds(t *testing.T, def int) int {
	t.Helper()
	s := os.Getenv("LEVADA_SEEDS")
	if s == "" {
		return def
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("LEVADA_SEEDS: %v", err)
	}
	return n
}

const simPartitions = 2

// place is an offset that somebody has seen.
type place struct {
	partition int32
	offset    int64
}

// fate is what is known of a value.
type fate int8

const (
	open      fate = iota // in a transaction that is not ended
	unknown               // the answer was lost: it may be there or not
	committed             // acknowledged: must be there, once
	aborted               // must never be seen by read_committed
)

// sim runs producers against a broker that is killed, and loses power, in the
// middle of whatever it does, and checks what readers see.
type sim struct {
	crashDisk
	t      testing.TB
	rng    *rand.Rand
	now    time.Time
	boot   int
	broker *Broker
	plant  *planted.Plan
	// deafOpens drops the syncs of logs while the broker opens.
	deafOpens bool

	values    int
	txns      int // transactions so far
	fates     map[string]fate
	groups    map[string]int // of values that share their fate: transaction number
	seen      map[place]string
	producers []*simProducer
	failure   string
}

// simProducer is a producer: transactional if id is set.
type simProducer struct {
	id     string
	pid    int64
	epoch  int16
	seq    [simPartitions]int32
	ready  bool
	values []string // of the open transaction, and its offset
	txn    int

	old     bool                // speaks the older transaction protocol
	added   [simPartitions]bool // partitions registered with it
	grouped bool                // the group is
	offsets []string            // all that it ever sent to its group, in order
	lost    *simBatch           // the batch whose answer a crash took
}

func newSim(t testing.TB, seed uint64, sabotage func(*sim)) *sim {
	s := &sim{
		crashDisk: newCrashDisk(seed), t: t, rng: rand.New(rand.NewPCG(seed, 7)), now: time.UnixMilli(1_700_000_000_000),
		txns: 3, fates: map[string]fate{}, groups: map[string]int{}, seen: map[place]string{},
	}
	if sabotage != nil {
		sabotage(s)
	}
	for i := range 3 {
		s.producers = append(s.producers, &simProducer{id: fmt.Sprintf("txn-%d", i), txn: i + 1, old: i == 2})
	}
	s.producers = append(s.producers, &simProducer{})
	s.open()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "t", simPartitions, 1
	req.Topics = append(req.Topics, topic)
	if resp := simCall[*kmsg.CreateTopicsResponse](s, req); resp == nil || resp.Topics[0].ErrorCode != 0 {
		t.Fatalf("create topic: %+v", resp)
	}
	return s
}

// open starts the broker on what there is.
func (s *sim) open() {
	below := &deafFS{FS: s.fs}
	below.deaf.Store(s.deafOpens)
	b, err := Open(Config{
		Dir: "data", FS: errorfs.Wrap(below, s.hook()), Now: func() time.Time { return s.now }, Synchronous: true,
		BootID: func() string { return fmt.Sprint("boot-", s.boot) }, SegmentBytes: 2000, planted: s.plant,
		Limits: Limits{RecoveryBytes: 700},
	})
	if err != nil {
		s.t.Fatalf("open: %v", err)
	}
	below.deaf.Store(false)
	s.broker = b
}

// simCall sends a request; nil if the crash took the answer.
func simCall[R kmsg.Response](s *sim, req kmsg.Request) (resp R) {
	s.broker.Handle(NewConn("sim", "/sim"), req, func(r kmsg.Response) { resp = r.(R) })
	if s.crashed() {
		var lost R
		return lost
	}
	return resp
}

func (s *sim) init(p *simProducer) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 5, 60_000, -1, -1
	if p.id != "" {
		req.TransactionalID = &p.id
	}
	resp := simCall[*kmsg.InitProducerIDResponse](s, req)
	fenced := *p
	if resp != nil && resp.ErrorCode == kerr.ConcurrentTransactions.Code { // what was open is aborted
		if s.rng.IntN(3) == 0 {
			s.wake(&fenced)
		}
		if resp = simCall[*kmsg.InitProducerIDResponse](s, req); resp != nil && resp.ErrorCode == kerr.ConcurrentTransactions.Code {
			s.fail("nothing is open, and %s is still to ask again", p.id)
		}
	}
	// Its end was never asked for: whatever becomes of the answer, nobody can
	// commit the open transaction any more.
	s.settle(p, aborted)
	s.begin(p)
	if resp == nil || resp.ErrorCode != 0 {
		p.ready = false
		return
	}
	p.pid, p.epoch, p.seq, p.ready, p.lost = resp.ProducerID, resp.ProducerEpoch, [simPartitions]int32{}, true, nil
	if p.id != "" && fenced.pid == p.pid && fenced.epoch < p.epoch && s.rng.IntN(3) == 0 {
		s.wake(&fenced)
	}
}

// begin starts the books of a new transaction.
func (s *sim) begin(p *simProducer) {
	p.values, p.txn, p.grouped, p.added = nil, s.newTxnOf(p), false, [simPartitions]bool{}
}

// settle gives the values of the open transaction a fate.
func (s *sim) settle(p *simProducer, f fate) {
	for _, v := range p.values {
		if s.fates[v] == open {
			s.fates[v] = f
		}
	}
}

func (s *sim) produce(p *simProducer) {
	part := int32(s.rng.IntN(simPartitions))
	if p.old && !p.added[part] && !s.addPartition(p, part) {
		return
	}
	var b recordbatch.Builder
	var values []string
	for range 1 + s.rng.IntN(3) {
		s.values++
		v := fmt.Sprint("v", s.values)
		values = append(values, v)
		b.Append(s.now.UnixMilli(), nil, []byte(v), nil)
		s.fates[v], s.groups[v] = open, p.txn
	}
	batch := b.Batch()
	batch.SetProducer(p.pid, p.epoch, p.seq[part], p.id != "")
	batch.SetCRC()
	if p.id != "" {
		p.values = append(p.values, values...)
	} else {
		for _, v := range values {
			s.fates[v] = unknown
		}
	}
	s.send(p, simBatch{part, batch, values})
}

func (s *sim) expect(code int16, allowed ...*kerr.Error) {
	for _, e := range allowed {
		if e.Code == code {
			return
		}
	}
	s.fail("unexpected error %v", kerr.ErrorForCode(code))
}

func (s *sim) fail(format string, args ...any) {
	if s.failure == "" {
		s.failure = fmt.Sprintf(format, args...)
	}
}

// see records that an offset was acknowledged or read: it names that record for
// ever. An uncommitted append may be lost with the power.
func (s *sim) see(at place, v string) {
	if other, ok := s.seen[at]; ok && other != v && s.fates[other] == committed {
		s.fail("offset %d of partition %d was %s and is %s", at.offset, at.partition, other, v)
	}
	s.seen[at] = v
}

func (s *sim) endRequest(p *simProducer, commit bool) *kmsg.EndTxnRequest {
	req := kmsg.NewPtrEndTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = 5, p.id, p.pid, p.epoch, commit
	if p.old {
		req.Version = 4
	}
	return req
}

func (s *sim) end(p *simProducer) {
	req := s.endRequest(p, s.rng.IntN(4) > 0)
	resp := simCall[*kmsg.EndTxnResponse](s, req)
	switch {
	case resp == nil:
		s.settle(p, unknown)
		p.ready = false
		s.begin(p)
		return
	case resp.ErrorCode != 0:
		s.expect(resp.ErrorCode, kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.InvalidTxnState)
		s.settle(p, aborted)
		p.ready = false
	case req.Commit:
		s.settle(p, committed)
	default:
		s.settle(p, aborted)
	}
	if resp.ErrorCode == 0 && !p.old { // the older protocol keeps epoch and sequence
		p.pid, p.epoch, p.seq = resp.ProducerID, resp.ProducerEpoch, [simPartitions]int32{}
	}
	s.begin(p)
}

// crash continues with what a crash leaves: without power loss everything that
// was written, with it only what was synced and some of the rest. The recovery
// may be hit by another.
func (s *sim) crash(power bool) {
	for range 3 {
		again := s.rng.IntN(3) == 0
		next := s.rng.IntN(2) == 0
		s.leave(power, again, next)
		power = next
		if !s.crashed() {
			break
		}
	}
	s.arm(-1, 0)
	if s.crashed() { // late in the last recovery: nobody has seen what came of it
		s.leave(power, false, false)
	}
}

// leave goes on with what one crash leaves. With again another hits the
// recovery, next says whether of the power.
func (s *sim) leave(power, again, next bool) {
	keep := 100
	if power {
		keep = s.rng.IntN(101)
	}
	s.crashNow(keep)
	s.broker.Kill()
	n := 1 + s.rng.IntN(250)
	nextKeep := 100
	if next {
		// All or nothing: Pebble's Open makes a manifest and the marker that
		// names it without a sync of the directory in between, and relies on
		// the file system to keep the order of two entries, as journals do. A
		// clone that draws lots for each does not.
		nextKeep = 100 * s.rng.IntN(2)
	}
	s.goOn()
	if again {
		s.arm(n, nextKeep)
	}
	if power {
		s.boot++
		for _, p := range s.producers {
			s.settle(p, aborted)
			p.ready, p.lost = false, nil
			s.begin(p)
		}
	}
	s.open()
}

// check reads everything and compares it with what is known.
func (s *sim) check() {
	s.checkOffsets()
	defer s.checkOffsets() // with what the values told
	count := map[string]int{}
	stable := map[int32]int64{}
	for part := range int32(simPartitions) {
		offset := int64(0)
		for {
			res, err := s.broker.Fetch("t", part, offset, true, 1<<20, nil)
			if err != nil {
				s.fail("fetch at %d: %v", offset, err)
				return
			}
			stable[part] = res.LastStableOffset
			if len(res.Batches) == 0 {
				break
			}
			offset = s.walk(part, offset, res, count)
		}
	}
	hidden := map[string]bool{} // behind a transaction that is still open
	for at, v := range s.seen {
		hidden[v] = hidden[v] || at.offset >= stable[at.partition]
	}
	for v, f := range s.fates {
		n := count[v]
		switch {
		case v[0] == 'o': // an offset: checkOffsets
		case n > 1:
			s.fail("%s is there %d times", v, n)
		case f == committed && n == 0 && !hidden[v]:
			s.fail("%s was acknowledged and is lost", v)
		case (f == aborted || f == open) && n > 0:
			s.fail("%s is not committed and is seen", v)
		}
	}
}

// walk counts the records that read_committed sees in one answer.
func (s *sim) walk(part int32, offset int64, res FetchResult, count map[string]int) int64 {
	openAborted := map[int64]bool{}
	list := res.Aborted
	var rd recordbatch.Reader
	var rec recordbatch.Record
	for rest := res.Batches; len(rest) > 0; {
		batch, next, err := recordbatch.Split(rest)
		if err == nil {
			err = batch.Validate()
		}
		if err != nil {
			s.fail("partition %d: %v", part, err)
			return offset
		}
		rest = next
		for len(list) > 0 && list[0].FirstOffset <= batch.LastOffset() {
			openAborted[list[0].ProducerID] = true
			list = list[1:]
		}
		offset = batch.NextOffset()
		if batch.IsControl() {
			delete(openAborted, batch.ProducerID())
			continue
		}
		if batch.IsTransactional() && openAborted[batch.ProducerID()] {
			continue
		}
		if err := rd.Reset(batch); err != nil {
			s.fail("%v", err)
		}
		for {
			ok, err := rd.Next(&rec)
			if err != nil {
				s.fail("%v", err)
			}
			if !ok {
				break
			}
			v := string(rec.Value)
			count[v]++
			s.see(place{part, rec.Offset}, v)
			if s.fates[v] == unknown {
				s.learn(v)
			}
		}
	}
	return offset
}

// learn: a value of unknown fate was seen, so all of its transaction must be,
// for ever.
func (s *sim) learn(v string) {
	g := s.groups[v]
	if g == 0 {
		s.fates[v] = committed
		return
	}
	for other, og := range s.groups {
		if og == g && s.fates[other] == unknown {
			s.fates[other] = committed
		}
	}
}

// settleAll ends every transaction and checks that nothing keeps the last
// stable offset back.
func (s *sim) settleAll() {
	for _, p := range s.producers {
		if p.id != "" {
			s.init(p)
		}
	}
	s.now = s.now.Add(3 * time.Second)
	s.broker.Tick(s.now)
	for part := range int32(simPartitions) {
		p, err := s.broker.topics.partition(s.broker.topics.byName("t"), part)
		if err != nil {
			s.fail("partition %d: %v", part, err)
			return
		}
		if stable := s.broker.lastStable(p); stable != p.log.End() {
			s.fail("partition %d: last stable offset %d, end %d", part, stable, p.log.End())
		}
	}
	if rows, err := s.broker.meta.Decisions(); err != nil || len(rows) > 0 {
		s.fail("%d decisions are left over (%v)", len(rows), err)
	}
}

// run lives through some crashes.
func (s *sim) run() string {
	for range 4 {
		power := s.rng.IntN(2) == 0
		keep := 100
		if power {
			keep = s.rng.IntN(101)
		}
		s.arm(1+s.rng.IntN(400), keep)
		for step := 0; step < 60 && !s.crashed(); step++ {
			p := s.producers[s.rng.IntN(len(s.producers))]
			switch n := s.rng.IntN(10); {
			case p.lost != nil && n > 2:
				s.send(p, *p.lost)
			case !p.ready || n == 0:
				s.init(p)
			case n < 6 || p.id == "":
				s.produce(p)
			case n < 7:
				s.sendOffset(p)
			case n < 9 && len(p.values) > 0:
				s.end(p)
			default:
				s.now = s.now.Add(time.Duration(s.rng.IntN(700)) * time.Millisecond)
				s.broker.Tick(s.now)
				if !s.crashed() {
					s.check()
				}
			}
		}
		s.crash(power)
		s.check()
		if s.failure != "" {
			return s.failure
		}
	}
	s.settleAll()
	s.check()
	s.broker.Kill()
	return s.failure
}

// newTxnOf numbers transactions, so that values of different ones never share a
// fate. 0 is for values outside any.
func (s *sim) newTxnOf(p *simProducer) int {
	if p.id == "" {
		return 0
	}
	s.txns++
	return s.txns
}
