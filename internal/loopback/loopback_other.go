//go:build !linux

package loopback

import "syscall"

// unpace does nothing: no other system paces what it connects within itself.
func unpace(syscall.RawConn) {}
