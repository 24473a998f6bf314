//go:build !linux

package commitlog

// dontNeed does nothing: this system takes no such advice.
func dontNeed(uintptr, int64, int64) {}
