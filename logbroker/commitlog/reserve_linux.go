package commitlog

import "golang.org/x/sys/unix"

const (
	// statBlock is the unit in which stat(2) counts what a file takes of the disk.
	statBlock = 512
	// wasted is how much of that is not worth a call: it may be the file system's own.
	wasted = 64 << 10
)

// cutReserved lets the file system take back what lies behind the end of a file, which
// ftruncate(2) to the size that it has does. The time of the last write stays, by which
// records without a time are kept. Nobody else writes to the file.
func cutReserved(fd uintptr) {
	var stat unix.Stat_t
	if unix.Fstat(int(fd), &stat) != nil || stat.Blocks*statBlock <= stat.Size+wasted {
		return
	}
	if unix.Ftruncate(int(fd), stat.Size) == nil {
		written := unix.NsecToTimeval(unix.TimespecToNsec(stat.Mtim))
		_ = unix.Futimes(int(fd), []unix.Timeval{written, written})
	}
}
