package logbroker

import (
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// napTime is how long the pulse sleeps in the system at once. Go takes the processor
	// of whoever stays in one call for 10 ms away.
	napTime = 5 * time.Millisecond
	// busyNap is how many requests in one nap make it worth another, and wakePulse how
	// many begin it: fewer than a thousand a second never cost more than they save.
	busyNap   = 5
	wakePulse = 256
)

// pulse keeps Go's monitor thread slow while requests come fast. A broker is idle for some
// microseconds between two requests; each time the monitor sleeps for good, is woken by
// the next system call, and looks every 20 us for a millisecond whether that call
// blocks (runtime.sysmon): a fifth of the CPU in batches of 100 records. While one goroutine is in a call the process is not idle,
// and the monitor slows down to a look every 10 ms.
//
// It holds a processor of Go's, so there must be one more than the machine has. Where many
// logs are synced it rests: there it is the monitor who takes processors from those who
// wait for the disk. The zero pulse does nothing.
type pulse struct {
	requests atomic.Uint64
	syncs    atomic.Uint64
	wake     chan struct{} // nil in the zero pulse
}

// beginPulse begins the pulse where it is of use.
func (b *Broker) beginPulse() {
	if canNap && b.cfg.SpareProcessor {
		b.pulse.wake = make(chan struct{}, 1)
		b.run.work.Go(func() { b.pulse.loop(b.run.stop, nap) })
	}
}

// counts notes a request.
func (p *pulse) counts() {
	if p.wake == nil || p.requests.Add(1)%wakePulse != 0 {
		return
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// rests notes that acknowledgements wait for a sync that others than their reader do: until
// requests have come without one the pulse does not beat.
func (p *pulse) rests() { p.syncs.Add(1) }

// loop beats until stop is closed, at most one nap longer. nap sleeps in a system call.
func (p *pulse) loop(stop <-chan struct{}, nap func(time.Duration)) {
	for synced := p.syncs.Load(); ; synced = p.syncs.Load() {
		select {
		case <-p.wake:
		case <-stop:
			return
		}
		for busy := true; busy && p.syncs.Load() == synced; {
			seen := p.requests.Load()
			nap(napTime)
			runtime.Gosched() // else the processor is taken away all the same
			busy = p.requests.Load()-seen >= busyNap
		}
	}
}
