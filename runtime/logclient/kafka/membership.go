package kafka

import (
	"context"
	"sync"
	"time"
)

// membership is what a commit says about the member that commits. It is
// shared by the member's goroutine, which moves it on, and its producer's.
type membership struct {
	name       string
	instanceID string
	ctx        context.Context

	mu      sync.Mutex
	current generation
	next    chan struct{} // closed when current changes
}

// generation is a membership in one generation of the group.
type generation struct {
	memberID string
	number   int32
	stable   bool // synced: between generations it is not
	lost     bool // the group has dropped the member
}

func newMembership(ctx context.Context, name, instanceID string) *membership {
	return &membership{name: name, instanceID: instanceID, ctx: ctx, current: generation{number: -1}, next: make(chan struct{})}
}

func (m *membership) instance() *string {
	if m.instanceID == "" {
		return nil
	}
	return &m.instanceID
}

func (m *membership) now() generation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current
}

func (m *membership) set(g generation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g == m.current {
		return
	}
	m.current = g
	close(m.next)
	m.next = make(chan struct{})
}

// waitNext waits for a generation after g of the same membership. It returns
// false if there is none: the member was dropped, or the time is over.
func (m *membership) waitNext(g generation, timeout time.Duration) bool {
	t := time.NewTimer(timeout)
	defer t.Stop()
	for {
		m.mu.Lock()
		now, next := m.current, m.next
		m.mu.Unlock()
		if now.lost || now.memberID != g.memberID {
			return false
		}
		if now.stable && now.number != g.number {
			return true
		}
		select {
		case <-next:
		case <-t.C:
			return false
		case <-m.ctx.Done():
			return false
		}
	}
}
