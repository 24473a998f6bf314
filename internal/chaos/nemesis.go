package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/levada/levada/internal/powerloss"
)

// strike is one thing that happens to the server.
type strike string

const (
	strikeKill      strike = "SIGKILL"
	strikeTwice     strike = "SIGKILL, and SIGKILL while it recovers"
	strikeTerm      strike = "SIGTERM"
	strikeStop      strike = "SIGSTOP"
	strikeStopKill  strike = "SIGSTOP, then SIGKILL"
	strikeCut       strike = "cut connections"
	strikePowerLoss strike = "power loss"
)

// progress is how many operations must be acknowledged between two strikes, and
// how long that may take.
const (
	progress        = 15
	progressTimeout = 25 * time.Second
)

// nemesis strikes the server while the clients of a round work.
type nemesis struct {
	rng    *rand.Rand
	server *server
	proxy  *proxy
	disk   *powerloss.Disk // nil: none
	log    func(format string, args ...any)
	kills  int // SIGKILLs so far, without those of power losses
	losses int // power losses
}

// plan takes the strikes of a round at random: kills, and others between them.
func (n *nemesis) plan(kills int) []strike {
	var strikes []strike
	for range kills {
		switch n.rng.IntN(10) {
		case 0:
			strikes = append(strikes, strikeStopKill)
		case 1:
			strikes = append(strikes, strikeTwice)
		default:
			strikes = append(strikes, strikeKill)
		}
	}
	if n.disk != nil {
		strikes = append(strikes, slices.Repeat([]strike{strikePowerLoss}, 1+kills/3)...)
	}
	strikes = append(strikes, strikeStop, strikeCut)
	if n.rng.IntN(2) == 0 {
		strikes = append(strikes, strikeTerm)
	}
	n.rng.Shuffle(len(strikes), func(i, j int) { strikes[i], strikes[j] = strikes[j], strikes[i] })
	return strikes
}

// faults are what the proxy does while clients work, out of a thousand requests.
var faults = plan{lostAnswer: 15, cutBefore: 5, cutInside: 5, late: 10, delay: 20}

// run strikes, each time after the clients came further. It returns an error if
// the server does not start again.
func (n *nemesis) run(ctx context.Context, r *recorder, strikes []strike) error {
	for i, s := range strikes {
		before := r.committed.Load()
		deadline, cancel := context.WithTimeout(ctx, progressTimeout)
		for r.committed.Load() < before+progress && n.server.alive() && tick(deadline, 5*time.Millisecond) {
		}
		cancel()
		if ctx.Err() != nil || !n.server.alive() || len(r.anomalies()) > 0 {
			return nil
		}
		if came := r.committed.Load() - before; came < progress {
			r.find(Stalled, "before strike %d only %d operations were acknowledged in %v", i+1, came, progressTimeout)
			return nil
		}
		tick(ctx, time.Duration(n.rng.IntN(150))*time.Millisecond)
		n.log("  %d acknowledged; %s", r.committed.Load(), s)
		if err := n.strike(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func (n *nemesis) strike(ctx context.Context, s strike) error {
	switch s {
	case strikeCut:
		n.proxy.cut()
		return nil
	case strikeStop:
		if err := n.server.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		tick(ctx, time.Duration(n.rng.IntN(3000))*time.Millisecond) // longer than some clients wait
		return n.server.signal(syscall.SIGCONT)
	case strikeTerm:
		return n.again(syscall.SIGTERM)
	case strikeStopKill:
		if err := n.server.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		tick(ctx, time.Duration(n.rng.IntN(500))*time.Millisecond)
		return n.again(syscall.SIGKILL)
	case strikeTwice:
		if err := n.again(syscall.SIGKILL); err != nil {
			return err
		}
		tick(ctx, time.Duration(n.rng.IntN(20))*time.Millisecond)
		return n.again(syscall.SIGKILL)
	case strikePowerLoss:
		return n.losePower(ctx)
	default:
		return n.again(syscall.SIGKILL)
	}
}

// again ends the server and starts it.
func (n *nemesis) again(sig syscall.Signal) error {
	if err := n.server.end(sig); err != nil {
		return err
	}
	if sig == syscall.SIGKILL {
		n.kills++
	} else if state := n.server.cmd.ProcessState; !state.Success() {
		return fmt.Errorf("the server ended with %v", state)
	}
	return n.server.start()
}

// losePower takes away what is not on the disk. The process is stopped before: it
// must not answer anybody after the power is gone, and a sync that is under way
// when the kernel cuts the disk off can return as if it had succeeded.
func (n *nemesis) losePower(ctx context.Context) error {
	if err := n.server.freeze(ctx); err != nil {
		return err
	}
	if err := n.disk.Cut(); err != nil {
		return err
	}
	if err := n.server.end(syscall.SIGKILL); err != nil {
		return err
	}
	n.losses++
	if err := n.disk.Remount(); err != nil {
		return err
	}
	return n.server.start()
}
