package chaos

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// frames answers each request with itself, and tells of each.
type frames struct {
	listener net.Listener
	wg       sync.WaitGroup
	whole    chan []byte // requests; buffered for all of a test
	torn     chan error  // ends of connections in the middle of a request
}

func newFrames(t *testing.T) *frames {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &frames{listener: listener, whole: make(chan []byte, 10), torn: make(chan error, 10)}
	f.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() { listener.Close(); f.wg.Wait() })
	return f
}

func (f *frames) serve(conn net.Conn) {
	defer conn.Close()
	for {
		frame, err := readFrame(conn)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			f.torn <- err
		}
		if err != nil {
			return
		}
		f.whole <- frame
		if _, err := conn.Write(frame); err != nil {
			return
		}
	}
}

func TestProxy(t *testing.T) {
	request := []byte("\x00\x00\x00\x06\x00\x00rest")
	const always = 1000
	for _, c := range []struct {
		name               string
		plan               plan
		whole, torn, heard bool // by the server, and its answer by the client
	}{
		{"nothing", plan{}, true, false, true},
		{"a lost answer", plan{lostAnswer: always}, true, false, false},
		{"cut before", plan{cutBefore: always}, false, false, false},
		{"cut inside", plan{cutInside: always}, false, true, false},
		{"late", plan{late: always}, true, false, false},
		{"delayed", plan{delay: always}, true, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newFrames(t)
			p, err := newProxy(1)
			if err != nil {
				t.Fatal(err)
			}
			defer p.close()
			p.set(server.listener.Addr().String(), c.plan)
			client, err := net.Dial("tcp", p.address())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Write(request); err != nil {
				t.Fatal(err)
			}
			answer, err := readFrame(client)
			if c.heard != bytes.Equal(answer, request) || !c.heard && errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the client was answered %q, %v", answer, err)
			}
			select {
			case got := <-server.whole:
				if !c.whole || !bytes.Equal(got, request) {
					t.Errorf("the server was asked %q", got)
				}
			case <-server.torn:
				if !c.torn {
					t.Error("the server was asked half")
				}
			case <-time.After(2 * maxDelay):
				if c.whole || c.torn {
					t.Error("the server was not asked")
				}
			}
		})
	}
}
