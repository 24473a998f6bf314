package embedded

import (
	"sync"

	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
)

// generation is a membership in one generation of a group.
type generation struct {
	memberID string
	number   int32
	stable   bool // synced: between generations it is not
	lost     bool // dropped by the group, closed, or failed
}

// membership is what a commit says about the member that commits. The member
// moves it on; the producer reads it, on any goroutine.
type membership struct {
	group      string
	instanceID *string

	mu      sync.Mutex
	current generation
	waiting []waiter
}

// waiter is a commit that waits for the generation after its own.
type waiter struct {
	after generation
	fn    func(ok bool)
}

func newMembership(group, instanceID string) *membership {
	m := &membership{group: group, current: generation{number: -1}}
	if instanceID != "" {
		m.instanceID = &instanceID
	}
	return m
}

func (m *membership) now() generation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current
}

func (m *membership) set(g generation) {
	m.mu.Lock()
	m.current = g
	var run []func()
	var still []waiter
	for _, w := range m.waiting {
		if ok, over := g.follows(w.after); over {
			run = append(run, func() { w.fn(ok) })
		} else {
			still = append(still, w)
		}
	}
	m.waiting = still
	m.mu.Unlock()
	for _, fn := range run {
		fn()
	}
}

// follows tells whether g is a later generation of the same membership, and
// whether that is known already.
func (g generation) follows(before generation) (ok, over bool) {
	if g.lost || g.memberID != before.memberID {
		return false, true
	}
	ok = g.stable && g.number != before.number
	return ok, ok
}

// next calls fn once the generation after g is there: true, or false if the
// membership has ended before.
func (m *membership) next(g generation, fn func(ok bool)) {
	m.mu.Lock()
	ok, over := m.current.follows(g)
	if !over {
		m.waiting = append(m.waiting, waiter{g, fn})
	}
	m.mu.Unlock()
	if over {
		fn(ok)
	}
}

// commit sends a request of the member, again in the next generation if this
// one has ended meanwhile: the partitions are the member's until it releases
// them. The broker ends every rebalance, so it waits for a bounded time.
func (m *membership) commit(send func(generation) *logclient.Pending[struct{}], done func(error)) {
	g := m.now()
	answered := send(g)
	answered.OnDone(func() {
		_, err := answered.Result()
		if !wire.Moved(err) {
			done(err)
			return
		}
		m.next(g, func(ok bool) {
			if !ok {
				done(err)
				return
			}
			m.commit(send, done)
		})
	})
}
