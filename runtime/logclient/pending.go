package logclient

import (
	"context"
	"sync"
)

// Pending is the result of a call that may take time. It is safe for
// concurrent use.
type Pending[T any] struct {
	mu     sync.Mutex
	done   chan struct{}
	value  T
	err    error
	onDone []func()
}

// NewPending returns a Pending that Resolve completes.
func NewPending[T any]() *Pending[T] {
	return &Pending[T]{done: make(chan struct{})}
}

// Resolved returns a Pending that is complete.
func Resolved[T any](value T, err error) *Pending[T] {
	p := NewPending[T]()
	p.Resolve(value, err)
	return p
}

// Resolve completes the Pending; only the first call counts.
func (p *Pending[T]) Resolve(value T, err error) {
	p.mu.Lock()
	if p.Done() {
		p.mu.Unlock()
		return
	}
	p.value, p.err = value, err
	close(p.done)
	fns := p.onDone
	p.onDone = nil
	p.mu.Unlock()
	for _, fn := range fns {
		fn()
	}
}

// Done tells whether Result may be called. It never blocks.
func (p *Pending[T]) Done() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Result returns the outcome of a Pending that is Done.
func (p *Pending[T]) Result() (T, error) {
	if !p.Done() {
		panic("logclient: Result of a Pending that is not done")
	}
	return p.value, p.err
}

// Wait blocks until the Pending is done or ctx ends. Workers do not call it.
func (p *Pending[T]) Wait(ctx context.Context) (T, error) {
	select {
	case <-p.done:
		return p.value, p.err
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}
}

// OnDone calls fn once the Pending is done, at once if it already is; fn must
// not block.
func (p *Pending[T]) OnDone(fn func()) {
	p.mu.Lock()
	if p.Done() {
		p.mu.Unlock()
		fn()
		return
	}
	p.onDone = append(p.onDone, fn)
	p.mu.Unlock()
}
