package logbroker

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
)

// slot is a partition of a topic, by name.
type slot struct {
	topic string
	part  int32
}

// groupWorld is a broker with the members of one group behind a network. The broker
// is killed at times.
type groupWorld struct {
	crashDisk
	network
	t       testing.TB
	broker  *Broker
	boot    int
	opens   int
	kind    groupKind
	topics  map[string]int32 // with their partitions
	members []*simMember
	ids     int
	best    map[slot]int64 // the largest offset that was committed
	since   map[slot]hold  // by whom a partition is held
	bad     string
	moved   bool // offsets may have changed since the last audit
	// settling: nobody comes or goes any more.
	settling bool
}

// hold is who holds a partition without a break, and the epoch it came with.
type hold struct {
	member string
	epoch  int32
}

// groupKind is who is in the group.
type groupKind struct {
	name         string
	classic      bool // some members speak the classic protocol
	consumer     bool // some members speak the consumer protocol
	cooperative  bool // classic members give up only what they must
	protocolType string
	// strays: late copies of requests arrive. Where the server tells from a
	// heartbeat or a join what a member still has, a late one would deceive it, as
	// it does Kafka's: a connection keeps their order.
	strays bool
}

var groupKinds = []groupKind{
	{name: "eager", classic: true, protocolType: "consumer", strays: true},
	{name: "cooperative", classic: true, cooperative: true, protocolType: "consumer", strays: true},
	{name: "connect", classic: true, protocolType: "connect", strays: true},
	{name: "consumer", consumer: true},
	{name: "mixed, eager", classic: true, consumer: true, protocolType: "consumer"},
	{name: "mixed, cooperative", classic: true, consumer: true, cooperative: true, protocolType: "consumer"},
}

func newGroupWorld(t testing.TB, seed uint64) *groupWorld {
	w := &groupWorld{
		crashDisk: newCrashDisk(seed), network: newNetwork(seed), t: t, kind: groupKinds[seed%uint64(len(groupKinds))],
		topics: map[string]int32{"t1": 4, "t2": 3}, best: map[slot]int64{}, since: map[slot]hold{},
	}
	w.network.serve, w.network.after = w.serve, w.afterEvent
	w.open()
	for _, name := range slices.Sorted(maps.Keys(w.topics)) {
		if _, err := w.broker.topics.create(name, w.topics[name], map[string]string{}, false); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *groupWorld) fail(format string, args ...any) {
	if w.bad == "" {
		w.bad = w.kind.name + ": " + fmt.Sprintf(format, args...)
		w.trace("FAILED: %s", w.bad)
	}
}

func (w *groupWorld) open() {
	w.opens++ // no member id is given out twice
	b, err := Open(Config{
		Dir: "data", FS: errorfs.Wrap(w.fs, w.hook()), Now: func() time.Time { return w.now }, Synchronous: true,
		BootID: func() string { return fmt.Sprint("boot-", w.boot) }, Rand: rand.NewChaCha8([32]byte{byte(w.opens), byte(w.opens >> 8)}),
	})
	if err != nil {
		w.t.Fatalf("open: %v", err)
	}
	w.broker = b
}

// serve hands a request over and checks what the broker says to a commit.
func (w *groupWorld) serve(m *message, respond func(kmsg.Response)) {
	conn := NewConn("sim", "/sim")
	req, _, err := w.broker.decode(conn, slices.Clone(m.frame))
	if err != nil {
		w.fail("%v", err)
		return
	}
	check := func(kmsg.Response) {}
	switch req := req.(type) {
	case *kmsg.OffsetCommitRequest:
		w.moved = true
		var slots []slot
		for _, t := range req.Topics {
			slots = append(slots, slot{t.Topic, t.Partitions[0].Partition})
		}
		check = w.current(req.MemberID, req.Generation, slots)
	case *kmsg.TxnOffsetCommitRequest:
		var slots []slot
		for _, t := range req.Topics {
			slots = append(slots, slot{t.Topic, t.Partitions[0].Partition})
		}
		check = w.current(req.MemberID, req.Generation, slots)
	case *kmsg.EndTxnRequest:
		w.moved = true
	}
	w.broker.Handle(conn, req, func(resp kmsg.Response) {
		if w.say != nil {
			w.trace("%v: %s is answered %v; %v", m.about, nameOf(req), errorOf(resp), groupText{w})
		}
		if w.crashed() {
			return
		}
		check(resp)
		respond(resp)
	})
}

// current checks that a commit is taken only of a member of the generation, or epoch,
// that there was when it came, or of an older epoch since which it has had the
// partitions.
func (w *groupWorld) current(member string, generation int32, slots []slot) func(kmsg.Response) {
	now, ok := w.knows(member)
	kept := w.entry() != nil && w.entry().consumer != nil && generation < now
	for _, s := range slots {
		h := w.since[s]
		kept = kept && h.member == member && h.epoch <= generation
	}
	return func(resp kmsg.Response) {
		if errorOf(resp) == nil && (!ok || now != generation && !kept) {
			w.fail("a commit of %s in generation %d is taken, and it is %d (a member: %v)", member, generation, now, ok)
		}
	}
}

// entry is the group as the broker has it; nil if it has none.
func (w *groupWorld) entry() *groupEntry { return w.broker.coordinator().byID["g"] }

// knows tells whether somebody is a member, and the generation or epoch it has
// there.
func (w *groupWorld) knows(id string) (generation int32, ok bool) {
	e := w.entry()
	switch {
	case e == nil:
	case e.consumer != nil:
		for _, m := range e.consumer.Members {
			if m.ID == id {
				return m.Epoch, true
			}
		}
	default:
		for _, m := range e.classic.Members {
			if m.ID == id {
				return e.classic.Generation, true
			}
		}
	}
	return 0, false
}

// groupText is the group in a line.
type groupText struct{ *groupWorld }

func (w groupText) String() string {
	e := w.entry()
	if e == nil {
		return "no group"
	}
	if e.consumer == nil {
		return fmt.Sprintf("%s generation %d, %d members", e.classic.State, e.classic.Generation, len(e.classic.Members))
	}
	out := fmt.Sprintf("%s epoch %d", e.consumer.State(), e.consumer.Epoch)
	parts := func(set group.Partitions) (s string) {
		for _, p := range set {
			s += fmt.Sprintf(" %s-%d", w.broker.topics.byID(p.Topic).name, p.Index)
		}
		return s
	}
	for _, m := range e.consumer.Members {
		out += fmt.Sprintf("; %s %d %s has%s, gives up%s, target%s", m.ID[:min(len(m.ID), 8)], m.Epoch, m.State, parts(m.Assigned), parts(m.Revoking), parts(m.Target))
	}
	return out
}

func (w *groupWorld) afterEvent(out []func()) {
	w.wakeAt(w.broker.Tick(w.now))
	if w.crashed() {
		w.crash(w.rng.IntN(3) == 0)
		return
	}
	for _, fn := range out {
		fn()
	}
	w.audit()
}

// crash goes on with what a crash leaves. Group and offsets are durable before
// anybody is told, so it makes no difference whether the power went too.
func (w *groupWorld) crash(power bool) {
	keep := 100
	if power {
		keep = 0
	}
	w.crashNow(keep)
	w.trace("crash, power %v", power)
	w.broker.Kill()
	w.goOn()
	if w.boot++; !power {
		w.boot-- // the same page cache
	}
	w.open()
	w.arm(-1, 0)
	w.moved = true
	for name := range w.topics { // one that was growing may have lost it
		w.topics[name] = int32(len(w.broker.topics.byName(name).parts()))
	}
}

// audit checks who has what, and that no committed offset went back.
func (w *groupWorld) audit() {
	w.lookAtHolders()
	type holder struct {
		m          *simMember
		generation int32
	}
	holders := map[slot]holder{}
	for _, m := range w.members {
		generation, ok := w.knows(m.id)
		if m.over || !ok {
			continue // nobody, or who was taken out and does not know it yet
		}
		if w.entry().consumer == nil && m.generation != generation {
			continue // of a generation that is over; it will be told
		}
		for _, s := range m.sorted() {
			if other, taken := holders[s]; taken {
				w.fail("%v is consumed by %v and %v", s, other.m, m)
				return
			}
			holders[s] = holder{m, generation}
		}
	}
	if !w.moved {
		return
	}
	w.moved = false
	for name, n := range w.topics {
		for part := range n {
			s := slot{name, part}
			o, ok, err := w.broker.meta.Offset("g", name, part)
			switch {
			case err != nil:
				w.fail("offset of %v: %v", s, err)
			case !ok && w.best[s] > 0, ok && o.Offset < w.best[s]:
				w.fail("the offset of %v was %d and is %d", s, w.best[s], o.Offset)
			case ok:
				w.best[s] = o.Offset
			}
		}
	}
}

// lookAtHolders notes who holds what in a group of the consumer protocol, and since when.
func (w *groupWorld) lookAtHolders() {
	before := w.since
	w.since = map[slot]hold{}
	if w.entry() == nil || w.entry().consumer == nil {
		return
	}
	for _, m := range w.entry().consumer.Members {
		for _, set := range []group.Partitions{m.Assigned, m.Revoking} {
			for _, p := range set {
				s := slot{w.broker.topics.byID(p.Topic).name, p.Index}
				if w.since[s] = before[s]; before[s].member != m.ID {
					w.since[s] = hold{m.ID, m.Epoch}
				}
			}
		}
	}
}

// chaos lets members come, go and die, and the broker too.
func (w *groupWorld) chaos() {
	if w.settling {
		return
	}
	var alive []*simMember
	for _, m := range w.members {
		if !m.over {
			alive = append(alive, m)
		}
	}
	switch k := w.rng.IntN(12); {
	case len(alive) < 2 || k < 3 && len(alive) < 6:
		w.join()
	case k < 5:
		m := alive[w.rng.IntN(len(alive))]
		m.kill()
		w.trace("%v dies", m)
		if m.instance != "" {
			w.in(time.Duration(w.rng.IntN(8000))*time.Millisecond, func() { w.again(m) })
		}
	case k < 7:
		alive[w.rng.IntN(len(alive))].leaving = true
	case k < 8:
		alive[w.rng.IntN(len(alive))].pause = time.Duration(w.rng.IntN(90)) * time.Second
	case k < 9:
		w.crash(w.rng.IntN(3) == 0)
	case k < 10:
		w.arm(1+w.rng.IntN(200), 100*w.rng.IntN(2))
	case k < 11:
		w.grow()
	}
	w.members = slices.DeleteFunc(w.members, func(m *simMember) bool { return m.over })
	w.in(time.Duration(w.rng.IntN(20_000))*time.Millisecond, w.chaos)
}

// grow adds a partition to a topic.
func (w *groupWorld) grow() {
	name := fmt.Sprint("t", 1+w.rng.IntN(2))
	if n := w.topics[name] + 1; n < 8 {
		if err := w.broker.topics.grow(name, n, false); err != nil {
			if !w.crashed() {
				w.fail("%s to %d partitions: %v", name, n, err)
			}
			return
		}
		w.topics[name] = n
		w.trace("%s has %d partitions", name, n)
	}
}

// partitions are those of all topics.
func (w *groupWorld) partitions() (n int32) {
	for _, count := range w.topics {
		n += count
	}
	return n
}

// join lets somebody come.
func (w *groupWorld) join() *simMember {
	w.ids++
	m := &simMember{w: w, name: fmt.Sprint("m", w.ids), topics: []string{"t1", "t2"}, consumer: w.kind.consumer}
	if w.kind.classic && w.kind.consumer {
		m.consumer = w.rng.IntN(2) == 0
	}
	switch {
	case w.rng.IntN(4) == 0:
		m.topics = []string{"t1"}
	case m.consumer && w.rng.IntN(3) == 0:
		m.pattern = "t[1-9]"
	}
	if w.rng.IntN(3) == 0 {
		m.instance = "i-" + m.name
	}
	m.transactional = w.rng.IntN(3) == 0
	return w.run1(m)
}

// again is the next life of a static member that died.
func (w *groupWorld) again(old *simMember) {
	if w.settling {
		return
	}
	w.run1(&simMember{w: w, name: old.name + "'", topics: old.topics, pattern: old.pattern, consumer: old.consumer, instance: old.instance, transactional: old.transactional})
}

func (w *groupWorld) run1(m *simMember) *simMember {
	m.owned, m.line = map[slot]int64{}, &line{}
	if m.consumer {
		m.id = "id-" + m.name
	}
	m.actor = w.spawn(func(*actor) { m.live() })
	w.members = append(w.members, m)
	w.trace("%v comes", m)
	return m
}

// settle lets the members that are left agree, and then be alone for a while.
func (w *groupWorld) settle() {
	ok := func() bool { return w.bad == "" }
	w.settling = true
	for _, m := range w.members {
		m.pause = 0
	}
	w.join().instance = ""
	w.runUntil(w.now.Add(6*time.Minute), ok) // what is late arrives, who is paused comes back
	w.calm = true
	w.runUntil(w.now.Add(6*time.Minute), ok) // the last that is late too
	before := w.quiet()
	w.runUntil(w.now.Add(4*time.Minute), ok)
	if after := w.quiet(); ok() && before != after {
		w.fail("nobody came or went, and generation %d became %d", before, after)
	}
	for _, m := range w.members {
		m.kill()
	}
	w.runUntil(w.now.Add(30*time.Minute), ok)
	if !ok() {
		return
	}
	if e := w.entry(); e != nil && (e.members() > 0 || !e.next().IsZero()) {
		w.fail("%d members stay when all are dead, and the next event is at %v", e.members(), e.next())
	}
	if n := len(w.broker.coordinator().waiting); n > 0 {
		w.fail("%d requests wait for ever", n)
	}
}

// quiet checks that each partition has its member, and returns the generation.
func (w *groupWorld) quiet() int32 {
	e := w.entry()
	if e == nil || e.state() != group.Stable {
		w.fail("the group has not settled: %+v", e)
		return 0
	}
	subscribed, owners := map[string]bool{}, map[slot]string{}
	members := 0
	for _, m := range w.members {
		if m.over {
			continue
		}
		members++
		for _, t := range m.topics {
			subscribed[t] = true
		}
		for _, s := range m.sorted() {
			owners[s] += m.name + " "
		}
	}
	for name, n := range w.topics {
		for part := range n {
			if s := (slot{name, part}); subscribed[name] != (owners[s] != "") {
				w.fail("%v is consumed by %q; is it subscribed to: %v", s, owners[s], subscribed[name])
			}
		}
	}
	if e.members() != members {
		w.fail("the group has %d members, and %d are alive", e.members(), members)
	}
	if e.consumer != nil {
		return e.consumer.Epoch
	}
	return e.classic.Generation
}

func (w *groupWorld) run() string {
	defer func() { w.broker.Kill() }()
	for range 3 {
		w.join()
	}
	w.in(time.Second, w.chaos)
	w.runUntil(w.now.Add(5*time.Minute), func() bool { return w.bad == "" })
	if w.bad == "" {
		w.settle()
	}
	for _, m := range w.members {
		m.kill()
	}
	return w.bad
}

// TestGroupsThroughANetwork: whatever is late, lost or dead, no partition has two
// members at once, offsets do not go back, and a group settles and stays so
// (LEVADA_SEEDS for more, LEVADA_SEED for one with all that happens).
func TestGroupsThroughANetwork(t *testing.T) {
	eachSeed(t, 24, func(t *testing.T, seed uint64, say func(string, ...any)) string {
		w := newGroupWorld(t, seed)
		w.say = say
		return w.run()
	})
}
