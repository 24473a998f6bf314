package chaos

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// plan is what a proxy does to requests: the chance of each, out of a thousand.
type plan struct {
	lostAnswer int // the request is handled, and its connection cut before the answer
	cutBefore  int // the connection is cut before the request
	cutInside  int // and in the middle of it
	late       int // the connection is cut, and the request comes all the same, later
	delay      int // the request waits
}

// maxDelay is how long a request waits at most, and how late one comes.
const maxDelay = 400 * time.Millisecond

// maxFrame is the longest request or answer that the proxy passes on.
const maxFrame = 128 << 20

// apiFetch is the key of fetch requests, which are the most and matter the least.
const apiFetch = 1

// proxy stands between the clients and the server, and knows of their protocol
// only where a request begins and ends.
type proxy struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex // guards what follows
	target string
	rng    *rand.Rand
	plan   plan
	conns  map[net.Conn]bool
	closed bool
	done   chan struct{} // closed by close, to end what waits
}

func newProxy(seed uint64) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, rng: rand.New(rand.NewPCG(seed, 3)), conns: map[net.Conn]bool{}, done: make(chan struct{})}
	p.wg.Go(p.accept)
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) set(target string, plan plan) {
	p.mu.Lock()
	p.target, p.plan = target, plan
	p.mu.Unlock()
}

// cut closes all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	close(p.done)
	p.mu.Unlock()
	_ = p.listener.Close()
	p.cut()
	p.wg.Wait()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

// keep notes a connection, so that it can be cut; false: the proxy is closed.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) forget(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// link is one connection of a client with that to the server.
type link struct {
	p              *proxy
	client, server net.Conn

	mu       sync.Mutex // guards what follows
	requests int        // passed on
	answers  int
	lose     int // the answer that is not passed on; 0: none
}

func (p *proxy) serve(client net.Conn) {
	defer p.forget(client)
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.DialTimeout("tcp", target, time.Second)
	if err != nil || !p.keep(client) || !p.keep(server) {
		return
	}
	defer p.forget(server)
	l := &link{p: p, client: client, server: server}
	ended := make(chan struct{})
	p.wg.Go(func() {
		defer close(ended)
		l.passAnswers()
		_ = client.Close()
	})
	l.passRequests()
	_ = client.Close()
	_ = server.Close()
	<-ended
}

func (l *link) passAnswers() {
	for {
		frame, err := readFrame(l.server)
		if err != nil {
			return
		}
		l.mu.Lock()
		l.answers++
		lost := l.lose > 0 && l.answers >= l.lose
		l.mu.Unlock()
		if lost {
			return
		}
		if _, err := l.client.Write(frame); err != nil {
			return
		}
	}
}

// passRequests passes requests on until one of the two connections ends or is
// cut.
func (l *link) passRequests() {
	for {
		frame, err := readFrame(l.client)
		if err != nil {
			return
		}
		do, wait := l.p.decide(frame)
		switch do {
		case doDelay:
			if !l.p.sleep(wait) {
				return
			}
		case doCutBefore:
			return
		case doCutInside:
			_, _ = l.server.Write(frame[:len(frame)/2]) // the connection ends in any case
			return
		case doLate:
			_ = l.client.Close()
			if l.p.sleep(wait) {
				l.sendLost(frame)
			}
			return
		case doLose:
			l.sendLost(frame)
			return
		}
		l.mu.Lock()
		l.requests++
		l.mu.Unlock()
		if _, err := l.server.Write(frame); err != nil {
			return
		}
	}
}

// sendLost passes a request on and waits until the server has answered it; the
// client never hears of it.
func (l *link) sendLost(frame []byte) {
	l.mu.Lock()
	l.requests++
	l.lose = l.requests
	l.mu.Unlock()
	if _, err := l.server.Write(frame); err != nil {
		return
	}
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) && l.p.sleep(time.Millisecond) {
		l.mu.Lock()
		answered := l.answers >= l.lose
		l.mu.Unlock()
		if answered {
			return
		}
	}
}

type doing int

const (
	doPass doing = iota
	doLose
	doCutBefore
	doCutInside
	doLate
	doDelay
)

// decide says what happens to a request.
func (p *proxy) decide(frame []byte) (doing, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := time.Duration(p.rng.Int64N(int64(maxDelay)))
	if len(frame) >= 6 && binary.BigEndian.Uint16(frame[4:]) == apiFetch && p.rng.IntN(20) > 0 {
		return doPass, wait
	}
	dice := p.rng.IntN(1000)
	for _, c := range []struct {
		chance int
		do     doing
	}{
		{p.plan.lostAnswer, doLose},
		{p.plan.cutBefore, doCutBefore},
		{p.plan.cutInside, doCutInside},
		{p.plan.late, doLate},
		{p.plan.delay, doDelay},
	} {
		if dice < c.chance {
			return c.do, wait
		}
		dice -= c.chance
	}
	return doPass, wait
}

// sleep waits; false: the proxy was closed meanwhile.
func (p *proxy) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.done:
		return false
	}
}

// readFrame reads a request or an answer, with its length in front.
func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxFrame {
		return nil, errors.New("a frame that is too long")
	}
	frame := make([]byte, 4+n)
	copy(frame, size[:])
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}
