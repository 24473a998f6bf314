package logbroker

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// brokenListener fails to accept in the ways it is told, and then goes on as the one
// it is made of.
type brokenListener struct {
	net.Listener
	faults []error
}

func (l *brokenListener) Accept() (net.Conn, error) {
	if len(l.faults) == 0 {
		return l.Listener.Accept()
	}
	err := l.faults[0]
	l.faults = l.faults[1:]
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: os.NewSyscallError("accept4", err)}
}

// TestAcceptGoesOn: connections that cannot be taken on for now, as without free file
// descriptors, do not end the listener and do not fill the log; what cannot pass does.
func TestAcceptGoesOn(t *testing.T) {
	log := &syncBuffer{}
	b, err := Open(Config{Dir: "data", FS: vfs.NewMem(), Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	serve := func(faults ...error) (addr string, end func() error, served chan error) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served = make(chan error, 1)
		go func() { served <- b.Serve(&brokenListener{ln, faults}) }()
		return ln.Addr().String(), ln.Close, served
	}
	addr, end, served := serve(syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED)
	if err := dialWire(t, addr).metadata(); err != nil {
		t.Errorf("after it is over: %v", err)
	}
	if n := strings.Count(log.String(), "too many open files"); n != 1 || strings.Count(log.String(), "\n") > 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
	if err := errors.Join(end(), <-served); err != nil {
		t.Error(err)
	}
	_, end, served = serve(syscall.EBADF)
	if err := <-served; !errors.Is(err, syscall.EBADF) {
		t.Errorf("a listener that is broken for good: %v", err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

// TestAcceptBacksOff: the pauses grow, and end with the broker.
func TestAcceptBacksOff(t *testing.T) {
	var got []time.Duration
	for wait := time.Duration(0); len(got) < 10; {
		wait = nextPause(wait)
		got = append(got, wait)
	}
	want := []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000}
	for i := range want {
		if got[i] != want[i]*time.Millisecond {
			t.Errorf("pause %d is %v, want %v ms", i, got[i], want[i])
		}
	}
	log := &syncBuffer{}
	b, err := Open(Config{Dir: "data", FS: vfs.NewMem(), Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	faults := make([]error, 1000) // a quarter of an hour
	for i := range faults {
		faults[i] = syscall.EMFILE
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(&brokenListener{ln, faults}) }()
	if !eventually(10*time.Second, func() bool { return strings.Contains(log.String(), "too many open files") }) {
		t.Error("not told")
	}
	if err := errors.Join(b.Close(), <-served); err != nil {
		t.Error(err)
	}
}
