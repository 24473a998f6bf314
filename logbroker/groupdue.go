package logbroker

import (
	"container/heap"
	"sort"
	"time"

	"github.com/levada/levada/logbroker/group"
)

// dueGroups are the groups in which something will be due, the soonest first: a
// tick costs what is due, not what there is. A group may be looked at too early,
// for a sign of life moves what is due to later and is not worth a place of its
// own; never too late.
type dueGroups struct {
	heap groupHeap
	// armed is when the next tick comes as far as is known; zero if none does.
	armed time.Time
}

// schedule puts a group where it belongs, and tells whether it is due before the
// next tick comes. The caller holds mu.
func (g *groups) schedule(e *groupEntry) (sooner bool) {
	g.due.heap.move(e, e.next())
	if e.dueAt.IsZero() || !g.due.armed.IsZero() && !e.dueAt.Before(g.due.armed) {
		return false
	}
	g.due.armed = e.dueAt
	return true
}

// reschedule looks again at when something is due in a group: its configs changed.
func (g *groups) reschedule(id string) {
	g.mu.Lock()
	e := g.byID[id]
	wake := e != nil && g.schedule(e)
	g.mu.Unlock()
	if wake {
		g.b.wake()
	}
}

// tick implements groupCoordinator.
func (g *groups) tick(now time.Time) (next time.Time) {
	for _, id := range g.takeDue(now) {
		g.do(id, false, nil, func(e *groupEntry, _ group.RequestID) []group.Answer { return e.tick(now) })
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.due.armed = time.Time{}
	if len(g.due.heap) > 0 {
		g.due.armed = g.due.heap[0].dueAt
	}
	return g.due.armed
}

// takeDue lists the groups in which something is due, by their ids, and takes them
// out: what is done in them finds them a place again.
func (g *groups) takeDue(now time.Time) (ids []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.due.heap) > 0 {
		e := g.due.heap[0]
		if e.dueAt.After(now) {
			break
		}
		at := e.next()
		if !at.IsZero() && !at.After(now) {
			ids = append(ids, e.id)
			at = time.Time{}
		}
		g.due.heap.move(e, at)
	}
	sort.Strings(ids)
	return ids
}

// groupHeap has the group first in which something is due first.
type groupHeap []*groupEntry

// move puts a group in its place; the zero time takes it out.
func (h *groupHeap) move(e *groupEntry, at time.Time) {
	e.dueAt = at
	switch {
	case at.IsZero() && e.place > 0:
		heap.Remove(h, e.place-1)
	case at.IsZero():
	case e.place > 0:
		heap.Fix(h, e.place-1)
	default:
		heap.Push(h, e)
	}
}

func (h groupHeap) Len() int { return len(h) }

func (h groupHeap) Less(i, j int) bool { return h[i].dueAt.Before(h[j].dueAt) }

func (h groupHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

func (h *groupHeap) Push(x any) {
	e := x.(*groupEntry)
	*h = append(*h, e)
	e.place = len(*h)
}

func (h *groupHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.place = 0
	return e
}
