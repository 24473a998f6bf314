//go:build !linux

package commitlog

// cutReserved does nothing: nothing is reserved here.
func cutReserved(uintptr) {}
