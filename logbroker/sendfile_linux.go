package logbroker

import (
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"

	"github.com/levada/levada/logbroker/commitlog"
)

// cork lets a TCP connection keep what does not fill a packet, until it is let go
// (TCP_CORK, tcp(7)): a small answer is one packet, and wakes its reader once.
func cork(c net.Conn, on int) {
	if tcp, ok := c.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { // without it the answer takes more packets
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, on)
			})
		}
	}
}

// sendFile sends a section from its file to a TCP connection, which copies
// nothing. ErrUnsupported says that one of them cannot; then nothing was sent.
func sendFile(c net.Conn, s *commitlog.Section, size int) error {
	tcp, ok := c.(*net.TCPConn)
	fd, position, has := s.Fd()
	if !ok || !has {
		return errors.ErrUnsupported
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(to uintptr) bool {
		for size > 0 {
			n, err := unix.Sendfile(int(to), int(fd), &position, size)
			switch {
			case errors.Is(err, unix.EAGAIN):
				return false // wait until it can be written to
			case errors.Is(err, unix.EINTR):
				continue
			case err != nil:
				failed = fmt.Errorf("sendfile: %w", err)
				return true
			case n == 0:
				failed = io.ErrUnexpectedEOF
				return true
			}
			size -= n
		}
		return true
	})
	return errors.Join(err, failed)
}
