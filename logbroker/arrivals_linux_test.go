package logbroker

import (
	"errors"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWhatHasComeMeanwhileSharesASync: a produce that comes while the one before is written
// becomes durable with it.
func TestWhatHasComeMeanwhileSharesASync(t *testing.T) {
	count, c := countedSyncs(t, Limits{}, 1)
	var failed error
	count.mu.Lock()
	count.syncs = 0
	count.onWrite = func() {
		if _, failed = c.Write(together(writeOne())); failed == nil {
			failed = delivered(c.Conn.(syscall.Conn))
		}
	}
	count.mu.Unlock()
	if _, err := c.Write(together(writeOne())); err != nil {
		t.Fatal(err)
	}
	c.acknowledged(0, 2)
	count.mu.Lock()
	defer count.mu.Unlock()
	if failed != nil {
		t.Fatal(failed)
	}
	if count.syncs != 1 {
		t.Errorf("%d syncs, want 1", count.syncs)
	}
}

// delivered waits until the other end's kernel has all that was sent (tcp(7), SIOCOUTQ).
func delivered(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	for left := 1; left > 0; runtime.Gosched() {
		var failed error
		err := raw.Control(func(fd uintptr) { left, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
		if err != nil || failed != nil {
			return errors.Join(err, failed)
		}
	}
	return nil
}
