package logbroker

import (
	"container/heap"
	"sync"
	"time"
)

// timers are the broker's own pending calls: ends of long polls, late syncs,
// time-outs of transactions.
type timers struct {
	mu   sync.Mutex // guards heap and the timers in it
	heap timerHeap
	seq  int64
	wake func() // called when the earliest time becomes earlier
}

type timer struct {
	at    time.Time
	seq   int64 // keeps timers of one time in the order they were set
	fn    func(now time.Time)
	index int // in the heap; -1 when it fired or was stopped
	owner *timers
}

// at calls fn from the first Tick at or after when.
func (t *timers) at(when time.Time, fn func(now time.Time)) *timer {
	t.mu.Lock()
	t.seq++
	tm := &timer{at: when, seq: t.seq, fn: fn, owner: t}
	heap.Push(&t.heap, tm)
	first := t.heap[0] == tm
	t.mu.Unlock()
	if first {
		t.wake()
	}
	return tm
}

// stop cancels the timer and tells whether it had not fired.
func (tm *timer) stop() bool {
	if tm == nil {
		return false
	}
	tm.owner.mu.Lock()
	defer tm.owner.mu.Unlock()
	if tm.index < 0 {
		return false
	}
	heap.Remove(&tm.owner.heap, tm.index)
	return true
}

// run calls all that is due and returns the next time; zero if none waits.
func (t *timers) run(now time.Time) time.Time {
	for {
		t.mu.Lock()
		if len(t.heap) == 0 {
			t.mu.Unlock()
			return time.Time{}
		}
		tm := t.heap[0]
		if tm.at.After(now) {
			t.mu.Unlock()
			return tm.at
		}
		heap.Pop(&t.heap)
		t.mu.Unlock()
		tm.fn(now)
	}
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	tm := x.(*timer)
	tm.index = len(*h)
	*h = append(*h, tm)
}

func (h *timerHeap) Pop() any {
	old := *h
	tm := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	tm.index = -1
	return tm
}
