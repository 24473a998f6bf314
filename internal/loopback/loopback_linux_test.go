package loopback

import (
	"net"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// congestion is the congestion control of a connection or a listener.
func congestion(t *testing.T, c any) (name string) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { name, err = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(name, "\x00")
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Skipf("no %s here: %v", address, err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// TestUnpace: what a listener on a loopback address accepts does not pace.
func TestUnpace(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			ln := listen(t, "tcp", address)
			Unpace(ln)
			client, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			c, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := congestion(t, c); got != "reno" {
				t.Errorf("the connection has %s, want reno", got)
			}
		})
	}
}

// TestOthersAreLeftAlone: what comes from elsewhere is the system's to pace.
func TestOthersAreLeftAlone(t *testing.T) {
	plain := listen(t, "tcp", "127.0.0.1:0")
	wide := listen(t, "tcp4", "0.0.0.0:0")
	Unpace(wide)
	if got, want := congestion(t, wide), congestion(t, plain); got != want {
		t.Errorf("the listener has %s, want the system's %s", got, want)
	}
	Unpace(listen(t, "unix", t.TempDir()+"/s"))
}
