package powerloss

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// abandoned lists the mount points of disks whose process is not alive.
func abandoned(mounts string, alive func(pid int) bool) []string {
	var out []string
	for line := range strings.Lines(mounts) {
		device, rest, _ := strings.Cut(line, " ")
		path, _, _ := strings.Cut(rest, " ")
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(path), "powerloss-%d-", &pid); err != nil || !strings.HasPrefix(device, "/dev/loop") {
			continue
		}
		if !alive(pid) {
			out = append(out, path)
		}
	}
	return out
}

func alive(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}
