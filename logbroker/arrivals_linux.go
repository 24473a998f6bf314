package logbroker

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// arrivals tells what has come over a TCP connection and was not read. The zero arrivals
// knows of nothing. It is its reader's.
type arrivals struct {
	raw    syscall.RawConn
	look   func(fd uintptr)
	any    bool // there is something to be read, or the end
	end    bool // the client has closed the connection
	polled [1]unix.PollFd
}

// watch begins to watch a connection, if it is a bare one.
func (a *arrivals) watch(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	a.raw, a.look = raw, func(fd uintptr) {
		a.polled[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}
		n, err := unix.Poll(a.polled[:], 0)
		a.any = err == nil && n > 0
		a.end = a.any && a.polled[0].Revents&^unix.POLLIN != 0
	}
}

// known tells whether it knows what comes.
func (a *arrivals) known() bool { return a.raw != nil }

// some tells whether a read would not wait: something has come, or the end. It does not
// wait either.
func (a *arrivals) some() bool {
	if a.raw == nil {
		return false
	}
	a.any = false
	_ = a.raw.Control(a.look)
	return a.any
}

// ended tells whether the client has closed the connection, as far as it knows.
func (a *arrivals) ended() bool { return a.some() && a.end }
