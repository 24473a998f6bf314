// Package loopback makes connections within one machine cheaper.
package loopback

import (
	"net"
	"syscall"
)

// Unpace frees what a TCP listener on a loopback address accepts from a congestion
// control that paces, as BBR does where it is the system's: every 64 KiB would cost a
// timer and its interrupt, and there is no path that could be congested. It is to be
// called before the first connection is accepted: what has begun to pace goes on.
// Other listeners, among them those on all addresses, stay as they are.
func Unpace(ln net.Listener) {
	address, ok := ln.Addr().(*net.TCPAddr)
	if !ok || !address.IP.IsLoopback() {
		return
	}
	if s, ok := ln.(syscall.Conn); ok {
		if c, err := s.SyscallConn(); err == nil {
			unpace(c)
		}
	}
}
