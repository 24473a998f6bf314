package logbroker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/planted"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker/txn"
)

const (
	txnSimPartitions = 3
	txnSimIDs        = 2
)

// txnWorld is a broker with transactional producers behind a network that delays,
// doubles, reorders and loses what they say to each other. The broker is killed,
// loses power, and writes to a disk that is full at times.
type txnWorld struct {
	crashDisk
	network
	t      testing.TB
	broker *Broker
	plant  *planted.Plan
	boot   int
	power  bool        // what the crash that is armed is
	full   atomic.Bool // no log can be written; Pebble's goroutines look too
	away   bool        // a partition is not where it belongs
	live   []*simInstance
	txns   []*simTxn
	owner  map[string]*simTxn // of a value
	place  map[string]place   // of a value in the logs
	known  map[string]bool    // values that were in a log once
	// restarted: nothing was looked at since the last start.
	restarted bool
	fence     map[string]txn.Producer // the newest that the broker gave to an id
	read      [txnSimPartitions]int64 // up to where the logs were looked at
	values    int
	bad       string
	// settling: nothing new is begun.
	settling bool
}

// simTxn is a transaction as its producer sees it, and what the broker said of it.
type simTxn struct {
	number   int
	id       string
	old      bool
	producer txn.Producer
	values   []string
	group    bool // an offset was sent with it
	// committed: the broker answered a commit; doubtful: a crash took an answer.
	committed, doubtful bool
	ended               bool // the broker answered an end of any kind
	reopened            bool // its registration came after that, in the older protocol
}

func newTxnWorld(t testing.TB, seed uint64, plant *planted.Plan) *txnWorld {
	w := &txnWorld{
		crashDisk: newCrashDisk(seed), network: newNetwork(seed), t: t, plant: plant,
		owner: map[string]*simTxn{}, place: map[string]place{}, known: map[string]bool{}, fence: map[string]txn.Producer{},
	}
	w.network.serve, w.network.after = w.serve, w.afterEvent
	w.open()
	if _, err := w.broker.topics.create("t", txnSimPartitions, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *txnWorld) fail(format string, args ...any) {
	if w.bad == "" {
		w.bad = fmt.Sprintf(format, args...)
		w.trace("FAILED: %s", w.bad)
	}
}

func (w *txnWorld) open() {
	full := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if w.full.Load() && op.Kind == errorfs.OpFileWriteAt && strings.Contains(op.Path, logsDir+"/") {
			return syscall.ENOSPC
		}
		return nil
	})
	b, err := Open(Config{
		Dir: "data", FS: errorfs.Wrap(errorfs.Wrap(w.fs, full), w.hook()), Now: func() time.Time { return w.now }, Synchronous: true,
		BootID: func() string { return fmt.Sprint("boot-", w.boot) }, SegmentBytes: 2000, planted: w.plant,
		Rand: rand.NewChaCha8([32]byte{byte(w.boot)}), Limits: Limits{RecoveryBytes: 700},
	})
	if err != nil {
		w.t.Fatalf("open: %v", err)
	}
	w.broker = b
}

// serve hands a request over and notes what the broker says to it.
func (w *txnWorld) serve(m *message, respond func(kmsg.Response)) {
	conn := NewConn("sim", "/sim")
	req, _, err := w.broker.decode(conn, slices.Clone(m.frame))
	if err != nil {
		w.fail("%v", err)
		return
	}
	before := w.stateBefore(req)
	answered := false
	w.broker.Handle(conn, req, func(resp kmsg.Response) {
		answered = true
		if w.say != nil {
			w.trace("%s of %+v is answered %v", nameOf(req), m.about, errorOf(resp))
		}
		if !w.crashed() {
			w.observe(req, resp, m.about)
			w.checkAgain(before, req, resp)
			respond(resp)
		}
	})
	if end, ok := req.(*kmsg.EndTxnRequest); ok && w.crashed() && end.Commit {
		m.about.(*simTxn).doubtful = true
	}
	if !answered {
		w.fail("%s is not answered", nameOf(req))
	}
}

// stateBefore is the state of the transactional id that an EndTxn is about.
func (w *txnWorld) stateBefore(req kmsg.Request) txn.State {
	if end, ok := req.(*kmsg.EndTxnRequest); ok {
		if e := w.broker.txns.find(end.TransactionalID); e != nil {
			return e.state
		}
	}
	return txn.New()
}

// checkAgain: the same end again, of a producer whose first answer was lost, is
// fine and changes nothing.
func (w *txnWorld) checkAgain(before txn.State, req kmsg.Request, resp kmsg.Response) {
	end, ok := req.(*kmsg.EndTxnRequest)
	if !ok || end.Version < bumpVersion || before.Last != (txn.Producer{ID: end.ProducerID, Epoch: end.ProducerEpoch}) {
		return
	}
	if same := end.Commit && before.Phase == txn.CompleteCommit || !end.Commit && before.Phase == txn.CompleteAbort; !same {
		return
	}
	if r := resp.(*kmsg.EndTxnResponse); r.ErrorCode != 0 || r.ProducerID != before.Producer.ID || r.ProducerEpoch != before.Producer.Epoch {
		w.fail("the same end again is answered %d, %d/%d, and the producer is %v", r.ErrorCode, r.ProducerID, r.ProducerEpoch, before.Producer)
	}
}

// observe notes what a request came to, and what it must not have.
func (w *txnWorld) observe(req kmsg.Request, resp kmsg.Response, about any) {
	if errorOf(resp) != nil {
		return
	}
	newer := func(id string, pid int64, epoch int16) {
		if f, now := w.fence[id], (txn.Producer{ID: pid, Epoch: epoch}); now.ID > f.ID || now.ID == f.ID && now.Epoch > f.Epoch {
			w.fence[id] = now
		}
	}
	fenced := func(id string, pid int64, epoch int16) {
		if f := w.fence[id]; f.ID > pid || f.ID == pid && f.Epoch > epoch {
			w.fail("%s of %d/%d is taken after %d/%d was given out", nameOf(req), pid, epoch, f.ID, f.Epoch)
		}
	}
	switch req := req.(type) {
	case *kmsg.InitProducerIDRequest:
		r := resp.(*kmsg.InitProducerIDResponse)
		if f, given := w.fence[*req.TransactionalID]; given && req.ProducerID < 0 && (r.ProducerID < f.ID || r.ProducerID == f.ID && r.ProducerEpoch <= f.Epoch) {
			w.fail("%d/%d is given to a new instance after %d/%d", r.ProducerID, r.ProducerEpoch, f.ID, f.Epoch)
		}
		newer(*req.TransactionalID, r.ProducerID, r.ProducerEpoch)
	case *kmsg.AddPartitionsToTxnRequest:
		fenced(req.TransactionalID, req.ProducerID, req.ProducerEpoch)
		x := about.(*simTxn)
		x.reopened = x.reopened || x.ended
	case *kmsg.AddOffsetsToTxnRequest:
		fenced(req.TransactionalID, req.ProducerID, req.ProducerEpoch)
	case *kmsg.TxnOffsetCommitRequest:
		fenced(req.TransactionalID, req.ProducerID, req.ProducerEpoch)
		if x := about.(*simTxn); x.ended && !x.old {
			w.fail("an offset of transaction %d is taken after its end", x.number)
		}
	case *kmsg.EndTxnRequest:
		x := about.(*simTxn)
		x.committed, x.ended = x.committed || req.Commit, true
		if r := resp.(*kmsg.EndTxnResponse); req.Version >= bumpVersion {
			newer(req.TransactionalID, r.ProducerID, r.ProducerEpoch)
		}
	}
}

// afterEvent sends the answers of an event, unless a crash took them, lets the
// broker's timers run, and looks at what it has.
func (w *txnWorld) afterEvent(out []func()) {
	w.wakeAt(w.broker.Tick(w.now))
	if w.crashed() {
		w.crash(w.power, 30)
		return
	}
	for _, fn := range out {
		fn()
	}
	w.audit()
}

// crash goes on with what a crash leaves; it may hit the start after it again.
func (w *txnWorld) crash(power bool, again int) {
	keep := 100
	if power {
		keep = 100 * w.rng.IntN(2)
	}
	w.crashNow(keep)
	w.trace("crash, power %v", power)
	w.broker.Kill()
	w.goOn()
	w.full.Store(false)
	if power {
		w.boot++
	}
	w.place = map[string]place{}
	w.read, w.restarted = [txnSimPartitions]int64{}, true
	if w.chance(again) {
		w.arm(1+w.rng.IntN(250), 100)
	}
	w.move(w.chance(10))
	w.open()
	if w.crashed() {
		w.crash(false, 0)
	}
	w.arm(-1, 0)
	w.audit()
}

// move takes the last partition away before a start, or brings it back.
func (w *txnWorld) move(away bool) {
	if w.away == away {
		return
	}
	here, there := "data/logs/t-2", "data/t-2.away"
	if !away {
		here, there = there, here
	}
	if err := w.fs.Rename(here, there); err != nil {
		w.t.Fatal(err)
	}
	for _, dir := range []string{"data", "data/logs"} {
		d, err := w.fs.OpenDir(dir)
		if err == nil {
			err = errors.Join(d.Sync(), d.Close())
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	w.trace("partition 2 is away: %v", away)
	w.away = away
}

// audit looks at what was appended since the last time, and at what is open.
func (w *txnWorld) audit() {
	for i, p := range w.broker.topics.byName("t").parts() {
		if p.log == nil {
			continue
		}
		for w.read[i] < p.log.End() {
			got, err := p.log.Read(w.read[i], p.log.End(), 1<<20, true, nil)
			if err != nil || len(got) == 0 {
				w.fail("partition %d at %d of %d: %d bytes, %v", i, w.read[i], p.log.End(), len(got), err)
				return
			}
			for len(got) > 0 {
				var b recordbatch.Batch
				if b, got, err = recordbatch.Split(got); err != nil {
					w.fail("partition %d: %v", i, err)
					return
				}
				w.appended(int32(i), b)
				w.read[i] = b.NextOffset()
			}
		}
		for _, open := range p.log.OpenTransactions() {
			e := w.broker.txns.findProducer(open.ProducerID)
			if open.Decided {
				continue
			}
			part := p.id()
			if e == nil || e.state.Phase != txn.Ongoing || e.state.Producer != (txn.Producer{ID: open.ProducerID, Epoch: open.Epoch}) {
				w.fail("partition %d: a transaction of %d/%d hangs: %+v", i, open.ProducerID, open.Epoch, e)
			} else if _, ok := e.state.Partitions[txn.Partition{Topic: part.Topic, Index: part.Index}]; !ok {
				w.fail("partition %d: a transaction of %d/%d is open, and its end will not come here", i, open.ProducerID, open.Epoch)
			}
		}
	}
	w.restarted = false
}

// appended looks at a batch that was not there before. After a crash all is looked
// at again.
func (w *txnWorld) appended(part int32, b recordbatch.Batch) {
	if b.IsControl() {
		return
	}
	for _, v := range valuesOf(w.t, b) {
		x := w.owner[v]
		if at, again := w.place[v]; again {
			w.fail("%s is at %v and at %d of partition %d", v, at, b.BaseOffset(), part)
		}
		w.place[v] = place{part, b.BaseOffset()}
		if w.known[v] || w.restarted {
			w.known[v] = true
			continue
		}
		w.known[v] = true
		if f := w.fence[x.id]; f.ID > b.ProducerID() || f.ID == b.ProducerID() && f.Epoch > b.ProducerEpoch() {
			w.fail("%s of %d/%d is appended after %d/%d was given out", v, b.ProducerID(), b.ProducerEpoch(), f.ID, f.Epoch)
		}
		if x.ended && !x.reopened {
			w.fail("%s is appended after the end of its transaction", v)
		}
	}
}
