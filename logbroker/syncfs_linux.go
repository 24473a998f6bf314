package logbroker

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// syncFileSystem makes durable all that was written to the file system of fd.
func syncFileSystem(fd uintptr) (bool, error) {
	if err := unix.Syncfs(int(fd)); err != nil {
		return false, fmt.Errorf("logbroker: syncfs: %w", err)
	}
	return true, nil
}
