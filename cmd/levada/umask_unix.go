//go:build unix

package main

import "syscall"

// keepToOwner lets nobody else read the files that are made from now on: the file systems
// of Pebble make them for all, as far as the umask lets them.
func keepToOwner() { syscall.Umask(0o077) }
