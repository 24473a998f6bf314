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
	// wakePulse is how many parts of requests without a sync begin the pulse, and idleNaps
	// how many naps in which none comes end it: a nap costs less than what the monitor does
	// after one part, and one of 2 MiB may take the client 10 ms.
	wakePulse = 16
	idleNaps  = 4
)

// stint is how long a goroutine has worked without giving its processor back.
type stint struct{ began time.Time }

// pulse keeps Go's monitor thread slow while requests come. A broker is idle for some
// microseconds between two requests; each time the monitor sleeps for good, is woken by
// the next system call, and looks every 20 us for a millisecond whether that call
// blocks (runtime.sysmon): a fifth of the CPU in batches of 100 records. While one goroutine
// is in a call the process is not idle, and the monitor slows down to a look every 10 ms.
// It is as fast again after it has taken a processor from a goroutine that works on for
// 10 ms, as one may that reads large requests: so those give it back themselves.
//
// It holds a processor of Go's, so there must be one more than the machine has. Where many
// logs are synced it rests: there it is the monitor who takes processors from those who
// wait for the disk. The zero pulse does nothing.
type pulse struct {
	parts atomic.Uint64 // of requests, since the last sync
	wake  chan struct{} // nil in the zero pulse
}

// beginPulse begins the pulse where it is of use.
func (b *Broker) beginPulse() {
	if canNap && b.cfg.SpareProcessor {
		b.pulse.wake = make(chan struct{}, 1)
		b.run.work.Go(func() { b.pulse.loop(b.run.stop, nap) })
	}
}

// step notes that a part of a request has been served by a goroutine that may go on
// without waiting for anything.
func (p *pulse) step(s *stint) {
	if p.wake == nil {
		return
	}
	p.counts()
	if now := time.Now(); now.Sub(s.began) > napTime {
		s.began = now
		runtime.Gosched()
	}
}

// counts notes a part of a request.
func (p *pulse) counts() {
	if p.parts.Add(1)%wakePulse != 0 {
		return
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// rests notes that acknowledgements wait for a sync that others than their reader do: until
// requests have come without one the pulse does not beat.
func (p *pulse) rests() { p.parts.Store(0) }

// loop beats until stop is closed, at most one nap longer. nap sleeps in a system call.
func (p *pulse) loop(stop <-chan struct{}, nap func(time.Duration)) {
	for {
		select {
		case <-p.wake:
		case <-stop:
			return
		}
		for seen, left := p.parts.Load(), idleNaps; seen >= wakePulse && left > 0; {
			nap(napTime)
			runtime.Gosched() // else the processor is taken away all the same
			switch now := p.parts.Load(); {
			case now < seen:
				left = 0 // there was a sync
			case now == seen:
				left--
			default:
				seen, left = now, idleNaps
			}
		}
	}
}
