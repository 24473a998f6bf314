package meta

import (
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// maxOpenFailures is how often what the database does behind an Open may fail, one
// time after the other, before the Open is given up.
const maxOpenFailures = 3

// opening is an Open of the database. Pebble tries a flush again and again, for ever
// where the disk stays as it is, and it is not safe to let it go on after it has said
// that a failure is final: Open gives up then, and what it was doing stays where it
// is, for good. Whoever cannot open its database ends.
type opening struct {
	mu       sync.Mutex // guards what follows
	over     bool
	failures int
	gaveUp   chan error // capacity 1
}

type opened struct {
	db  *pebble.DB
	err error
}

// open is pebble.Open, which ends.
func (o *opening) open(dir string, opts *pebble.Options) (*pebble.DB, error) {
	o.gaveUp = make(chan error, 1)
	opts.EventListener = &pebble.EventListener{BackgroundError: o.failed}
	done := make(chan opened, 1)
	go func() {
		var r opened
		defer func() { done <- r }()
		defer catch(&r.err)
		r.db, r.err = pebble.Open(dir, opts)
	}()
	select {
	case r := <-done:
		o.mu.Lock()
		defer o.mu.Unlock()
		o.over = true
		select {
		case err := <-o.gaveUp: // something of it waits for good
			return nil, err
		default:
			return r.db, r.err
		}
	case err := <-o.gaveUp:
		return nil, err
	}
}

// failed is called when something failed that is tried again.
func (o *opening) failed(err error) {
	o.mu.Lock()
	o.failures++
	wait := !o.over && o.failures >= maxOpenFailures
	o.mu.Unlock()
	if wait {
		o.giveUp(fmt.Errorf("it has failed %d times: %w", maxOpenFailures, err))
	}
}

// giveUp lets Open return the error, if it has not returned, and then does not
// return itself.
func (o *opening) giveUp(err error) {
	o.mu.Lock()
	if o.over {
		o.mu.Unlock()
		return
	}
	select {
	case o.gaveUp <- err:
	default:
	}
	o.mu.Unlock()
	select {}
}

// isOver tells whether the database is open.
func (o *opening) isOver() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.over
}
