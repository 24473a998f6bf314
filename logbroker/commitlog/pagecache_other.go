//go:build !linux

package commitlog

// dontNeed does nothing: this system takes no such advice.
func dontNeed(uintptr, int64, int64) {}

// writeOut does nothing: this system cannot be asked for a piece of a file.
func writeOut(uintptr, int64, int64) bool { return false }
