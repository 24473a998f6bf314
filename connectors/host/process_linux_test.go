package host

import (
	"syscall"
	"testing"
)

// TestKilledByKernel asserts that a plugin that ignores its lifeline dies with
// the host all the same.
func TestKilledByKernel(t *testing.T) {
	if a := processAttributes(); a.Pdeathsig != syscall.SIGKILL || !a.Setpgid {
		t.Errorf("process attributes are %+v", a)
	}
}
