package host

import "syscall"

// processAttributes puts a plugin into a process group of its own and has the
// kernel kill it with its parent. The lifeline does the same for plugins of
// the sdk; this is for those that hang, or are of another language.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
