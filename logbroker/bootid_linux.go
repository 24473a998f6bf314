package logbroker

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// bootID names the life of the page cache that holds dir: the kernel's boot
// id and the id of the mount. Either changes when unsynced data was lost. The id
// asked for is the one that no later mount gets; a kernel before 6.8 has only one
// that the next mount may get again.
func bootID(dir string) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		boot = []byte("unknown")
	}
	const either = unix.STATX_MNT_ID | unix.STATX_MNT_ID_UNIQUE
	var st unix.Statx_t
	mount := uint64(0)
	if err := unix.Statx(unix.AT_FDCWD, dir, 0, either, &st); err == nil && st.Mask&either != 0 {
		mount = st.Mnt_id
	}
	return fmt.Sprintf("%s/%d", strings.TrimSpace(string(boot)), mount)
}
