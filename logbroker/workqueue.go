package logbroker

import "sync"

// workQueue gathers work for one goroutine, which does all that has come at once: the
// disk is waited for once for it.
type workQueue[T any] struct {
	sync.Mutex // guards what follows
	queue      []T
	running    bool
}

// add puts work in, and tells whether the caller is to start the goroutine. The caller
// holds the lock.
func (q *workQueue[T]) add(work T) (start bool) {
	start = !q.running
	q.queue, q.running = append(q.queue, work), true
	return start
}

// take gives all the work that waits, in order. Without any the goroutine is to end.
func (q *workQueue[T]) take() []T {
	q.Lock()
	defer q.Unlock()
	work := q.queue
	q.queue = nil
	q.running = len(work) > 0
	return work
}
