//go:build unix && !linux

package host

import "syscall"

// processAttributes puts a plugin into a process group of its own.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
