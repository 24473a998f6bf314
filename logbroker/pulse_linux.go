package logbroker

import (
	"time"

	"golang.org/x/sys/unix"
)

const canNap = true

// nap sleeps in a system call, for less where a signal comes: time.Sleep would leave the
// processor to others.
func nap(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil)
}
