package brokerload

import (
	"time"

	"golang.org/x/sys/unix"
)

// rest lets some time pass, or less. Go's timers may be a millisecond late.
func rest(d time.Duration) {
	t := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &t, nil) // cut short by a signal: as allowed
}
