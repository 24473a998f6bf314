package brokerload

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of CPU times in /proc, which Linux fixes for users.
const clockTick = 10 * time.Millisecond

// Usage is what a process has used so far.
type Usage struct {
	CPU time.Duration // user and system
	RSS int64         // bytes that it holds in memory now
}

// UsageOf is the usage of a process; of this one, without RSS, for -1, and nothing
// for 0.
func UsageOf(pid int) (Usage, error) {
	switch pid {
	case 0:
		return Usage{}, nil
	case -1:
		var r syscall.Rusage
		err := syscall.Getrusage(syscall.RUSAGE_SELF, &r)
		return Usage{CPU: time.Duration(r.Utime.Nano() + r.Stime.Nano())}, err
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, err
	}
	// Fields after the name, which may hold anything (proc_pid_stat(5)).
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 22 {
		return Usage{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var n [3]int64
	for i, at := range [3]int{11, 12, 21} { // utime, stime, rss
		if n[i], err = strconv.ParseInt(fields[at], 10, 64); err != nil {
			return Usage{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
	}
	return Usage{CPU: time.Duration(n[0]+n[1]) * clockTick, RSS: n[2] * int64(os.Getpagesize())}, nil
}

// ReadBytes is what a process has read so far, from files and connections.
func ReadBytes(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	var n int64
	_, err = fmt.Sscanf(string(b), "rchar: %d", &n)
	return n, err
}
