package commitlog

import "golang.org/x/sys/unix"

// writeOut begins to write the dirty pages of a piece of a file (sync_file_range(2)).
func writeOut(fd uintptr, offset, length int64) bool {
	return unix.SyncFileRange(int(fd), offset, length, unix.SYNC_FILE_RANGE_WRITE) == nil
}

// dontNeed drops clean pages of a file from the page cache.
func dontNeed(fd uintptr, offset, length int64) {
	_ = unix.Fadvise(int(fd), offset, length, unix.FADV_DONTNEED) // advice
}
