package commitlog

import "golang.org/x/sys/unix"

// dontNeed drops clean pages of a file from the page cache.
func dontNeed(fd uintptr, offset, length int64) {
	_ = unix.Fadvise(int(fd), offset, length, unix.FADV_DONTNEED) // advice
}
