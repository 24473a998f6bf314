package loopback

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// unpace chooses Reno, which Linux always has and lets everybody choose (tcp(7),
// TCP_CONGESTION); what is accepted inherits it.
func unpace(c syscall.RawConn) {
	_ = c.Control(func(fd uintptr) {
		// Where it is refused the connections work as well.
		_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno")
	})
}
