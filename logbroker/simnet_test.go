package logbroker

import (
	"container/heap"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// network carries requests to a Synchronous broker and its answers back, in virtual
// time and on one goroutine: late, twice, in another order, or not at all.
type network struct {
	rng    *rand.Rand
	now    time.Time
	calm   bool // everything arrives, once and soon
	events eventHeap
	seq    int
	// say writes a line when a single seed is looked at; else it is nil.
	say func(format string, args ...any)
	// serve hands a request to the broker.
	serve func(m *message, respond func(kmsg.Response))
	// after runs after every event, and may drop what was answered in it.
	after func(outbox []func())
	alarm time.Time // when the broker wants to be woken next
	// outbox are the answers of the event under way.
	outbox []func()
}

// message is a request on its way, with what the test knows about it.
type message struct {
	frame []byte
	// about is whatever the sender wants to find again when it is served.
	about any
	// stale, if set, is true once the sender has its answer: no copy arrives after
	// it, as on one connection, because the protocol does not allow for it.
	stale    *bool
	line     *line // in order with others, or nil
	answered bool
}

// line is a connection: what is sent over it arrives in order. Once it is broken
// nothing more does.
type line struct {
	busy   time.Time // until when the last request is under way
	broken bool
}

type event struct {
	at  time.Time
	seq int
	fn  func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*h = old[:len(old)-1]
	return e
}

func newNetwork(seed uint64) network {
	return network{rng: rand.New(rand.NewPCG(seed, 9)), now: time.UnixMilli(1_700_000_000_000)}
}

// trace tells what happens, if somebody wants to know.
func (n *network) trace(format string, args ...any) {
	if n.say != nil {
		n.say(n.now.Format("04:05.000: ")+format, args...)
	}
}

// in calls fn after a time.
func (n *network) in(d time.Duration, fn func()) {
	n.seq++
	heap.Push(&n.events, event{n.now.Add(d), n.seq, fn})
}

// wakeAt makes an event of a time for which the broker waits; zero is none.
func (n *network) wakeAt(at time.Time) {
	if at.IsZero() || n.alarm.After(n.now) && !at.Before(n.alarm) {
		return
	}
	n.alarm = at
	n.in(max(at.Sub(n.now), time.Millisecond), func() {})
}

// step runs the next event.
func (n *network) step() bool {
	if len(n.events) == 0 {
		return false
	}
	e := heap.Pop(&n.events).(event)
	if e.at.After(n.now) {
		n.now = e.at
	}
	e.fn()
	out := n.outbox
	n.outbox = nil
	n.after(out)
	return true
}

// runUntil runs all events up to a time, as long as ok.
func (n *network) runUntil(end time.Time, ok func() bool) {
	for len(n.events) > 0 && !n.events[0].at.After(end) && ok() {
		n.step()
	}
	if n.now.Before(end) && ok() {
		n.now = end
		n.after(nil)
	}
}

// delay is how long something is on its way.
func (n *network) delay() time.Duration {
	ms := func(from, to int) time.Duration { return time.Duration(from+n.rng.IntN(to-from)) * time.Millisecond }
	if n.calm {
		return ms(1, 5)
	}
	switch k := n.rng.IntN(100); {
	case k < 75:
		return ms(1, 20)
	case k < 93:
		return ms(20, 3000)
	case k < 99:
		return ms(3000, 60_000)
	}
	return ms(60_000, 300_000)
}

func (n *network) chance(percent int) bool { return !n.calm && n.rng.IntN(100) < percent }

// send sends a request; done gets the first answer, if one comes.
func (n *network) send(m *message, done func(kmsg.Response)) {
	copies := 1
	switch {
	case n.chance(4):
		copies = 0
	case m.line == nil && n.chance(15):
		copies = 2 + n.rng.IntN(2)
	}
	for range copies {
		at := n.now.Add(n.delay())
		if m.line != nil {
			if m.line.busy.After(at) {
				at = m.line.busy
			}
			m.line.busy = at
		}
		n.in(at.Sub(n.now), func() { n.arrive(m, done) })
	}
}

func (n *network) arrive(m *message, done func(kmsg.Response)) {
	if m.stale != nil && *m.stale || m.line != nil && m.line.broken {
		return
	}
	n.serve(m, func(resp kmsg.Response) {
		body := resp.AppendTo(nil)
		key, version := resp.Key(), resp.GetVersion()
		n.outbox = append(n.outbox, func() {
			if n.chance(5) {
				return
			}
			n.in(n.delay(), func() {
				if m.answered || m.line != nil && m.line.broken {
					return
				}
				m.answered = true
				back := kmsg.ResponseForKey(key)
				back.SetVersion(version)
				if err := back.ReadFrom(body); err != nil {
					panic(err)
				}
				done(back)
			})
		})
	})
}

// actor is a client: a function that runs in turns with all others, and gives its
// turn away while it waits.
type actor struct {
	n     *network
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
	turn  int // of its waits; what comes for an earlier one is late
	over  bool
}

// errStopped ends the function of an actor that was stopped.
type errStopped struct{}

// spawn lets body run as an actor.
func (n *network) spawn(body func(*actor)) *actor {
	a := &actor{n: n}
	a.next, a.stop = iter.Pull(func(yield func(struct{}) bool) {
		a.yield = yield
		defer func() {
			a.over = true
			if r := recover(); r != nil {
				if _, stopped := r.(errStopped); !stopped {
					panic(r)
				}
			}
		}()
		body(a)
	})
	n.in(0, func() { a.next() })
	return a
}

// kill ends an actor at once; what it has sent stays under way.
func (a *actor) kill() {
	a.turn++
	a.stop()
	a.over = true
}

// wait gives the turn away; the function that it hands to begin, called once, gives
// it back.
func (a *actor) wait(begin func(resume func())) {
	a.turn++
	turn := a.turn
	begin(func() {
		if a.turn == turn && !a.over {
			a.turn++
			a.next()
		}
	})
	if !a.yield(struct{}{}) {
		panic(errStopped{})
	}
}

// sleep waits for a time.
func (a *actor) sleep(d time.Duration) {
	a.wait(func(resume func()) { a.n.in(d, resume) })
}

// requestTimeout is how long a client waits for an answer.
const requestTimeout = 2 * time.Second

// call sends requests at once and waits for all answers; nil where none came in
// time.
func (a *actor) call(timeout time.Duration, messages ...*message) []kmsg.Response {
	out := make([]kmsg.Response, len(messages))
	a.wait(func(resume func()) {
		left := len(messages)
		for i, m := range messages {
			a.n.send(m, func(resp kmsg.Response) {
				out[i] = resp
				if left--; left == 0 {
					resume()
				}
			})
		}
		a.n.in(timeout, resume)
	})
	return slices.Clone(out) // one that is late does not change it any more
}

// lost stands for the error of a request that was never answered.
var lost = &kerr.Error{Message: "LOST", Code: -1000}

// errorOf is the first error code in an answer; lost without one.
func errorOf(resp kmsg.Response) *kerr.Error {
	if resp == nil {
		return lost
	}
	var all []int16
	codes(reflect.ValueOf(resp), &all)
	if len(all) == 0 {
		return nil
	}
	return kerr.TypedErrorForCode(all[0])
}

// eachSeed runs a simulation with many seeds, on all processors, until one finds something. With
// LEVADA_SEED it is run with that one alone, and tells all that happens.
func eachSeed(t *testing.T, def int, run func(t *testing.T, seed uint64, say func(format string, args ...any)) string) {
	t.Helper()
	first, count, say := uint64(0), seeds(t, def), (func(string, ...any))(nil)
	if one := os.Getenv("LEVADA_SEED"); one != "" {
		n, err := strconv.ParseUint(one, 10, 64)
		if err != nil {
			t.Fatalf("LEVADA_SEED: %v", err)
		}
		first, count, say = n, 1, t.Logf
	}
	workers := uint64(runtime.GOMAXPROCS(0))
	for n := range min(workers, uint64(count)) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			for i := n; i < uint64(count); i += workers {
				if bad := run(t, first+i, say); bad != "" {
					t.Fatalf("seed %d: %s", first+i, bad)
				}
			}
		})
	}
}
