package logbroker

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/quota"
)

// patience is how long the broker waits for a client.
type patience struct {
	// write bounds how long an answer may take a client to read, and speed is how
	// many bytes a second it has to take of one that is large.
	write time.Duration
	speed int
	// idle ends a connection that says nothing, as Kafka's
	// connections.max.idle.ms.
	idle time.Duration
	// frame bounds how long the rest of a request may take to come.
	frame time.Duration
	// login bounds how long a client may take to authenticate.
	login time.Duration
}

// writing is how long an answer of a size may take.
func (p *patience) writing(size int) time.Duration {
	return p.write + time.Duration(float64(size)/float64(p.speed)*float64(time.Second))
}

func (p *patience) orDefault() {
	orDefault(&p.write, time.Minute)
	orDefault(&p.speed, 32<<10)
	orDefault(&p.idle, 10*time.Minute)
	orDefault(&p.frame, time.Minute)
	orDefault(&p.login, handshakeTimeout)
}

const (
	maxClientID = 1 << 10
	// maxStrangeBytes is the largest request of a client that has not
	// authenticated and has to: as much as the longest token takes.
	maxStrangeBytes = 128 << 10
	// muteStep is how long a client that is muted, or waits for an answer, is left alone
	// before it is looked at again.
	muteStep = time.Second
	// firstReadBuffer is the buffer of a connection until it sends requests that
	// fill it; then it gets one of readBufferSize.
	firstReadBuffer = 2 << 10
	readBufferSize  = 64 << 10
	// smallProduce is the largest produce after which the reader of the requests waits for
	// the disk itself: there is little that it could read meanwhile.
	smallProduce = 64 << 10
)

// Serve is ServeListener for a plain listener without authentication.
func (b *Broker) Serve(ln net.Listener) error { return b.ServeListener(ln, Listener{}) }

// addConn takes a connection on, if there is room for it.
func (b *Broker) addConn(c net.Conn, l *listener) bool {
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	b.run.mu.Lock()
	defer b.run.mu.Unlock()
	limits := b.settings.Load()
	switch {
	case b.run.closed.Load() || len(b.run.conns) >= limits.connections:
		return false
	case b.run.hosts[host] >= limits.connectionsOf(host):
		return false
	case b.security.quotas.UseIP(host, quota.Connections, 1, b.now()) > 0:
		return false
	}
	b.run.conns[c] = struct{}{}
	b.run.hosts[host]++
	b.run.work.Go(func() {
		b.serveConn(c, host, l)
		b.run.mu.Lock()
		delete(b.run.conns, c)
		if b.run.hosts[host]--; b.run.hosts[host] == 0 {
			delete(b.run.hosts, host)
		}
		b.run.mu.Unlock()
	})
	return true
}

// serveConn reads requests, handles them in order, and writes their answers in
// that order. At most Limits.Pipelined produces wait at a time.
func (b *Broker) serveConn(raw net.Conn, host string, l *listener) {
	c, principal, err := l.secure(raw)
	if err != nil {
		b.logEnd(raw.RemoteAddr().String(), "", err)
		_ = raw.Close()
		return
	}
	closed := make(chan struct{})
	var once sync.Once
	end := func() { once.Do(func() { _ = c.Close(); close(closed) }) }
	answers := newAnswers(b, c, closed)
	var writer sync.WaitGroup
	writer.Go(func() {
		defer end()
		answers.run()
	})
	conn := &Conn{Host: "/" + host, listener: l, principal: principal}
	conn.arrivals.watch(c)
	conn.onFail = func(err error) {
		b.logEnd(c.RemoteAddr().String(), conn.ClientID, err)
		end()
	}
	err = b.readRequests(c, conn, answers)
	conn.syncs.flush()
	b.logEnd(c.RemoteAddr().String(), conn.ClientID, err)
	answers.finish()
	if goodbye := (*errGoodbye)(nil); !errors.As(err, &goodbye) {
		end()
	}
	writer.Wait()
	conn.parked.end()
}

// refusedError is what a client sent and this broker does not take.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

func refusef(format string, args ...any) error { return &refusedError{fmt.Sprintf(format, args...)} }

// logEnd says why a connection ended, if a person can do something about it:
// once a second at most, so that a client cannot fill the log.
func (b *Broker) logEnd(address, clientID string, err error) {
	level := slog.LevelDebug
	if refused := (*refusedError)(nil); errors.As(err, &refused) {
		now, next := b.now().UnixNano(), b.run.nextRefusal.Load()
		if now >= next && b.run.nextRefusal.CompareAndSwap(next, now+int64(time.Second)) {
			level = slog.LevelWarn
		}
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		b.log.Log(context.Background(), level, "connection ended", "client", address, "client_id", clientID, "error", err)
	}
}

func (b *Broker) readRequests(c net.Conn, conn *Conn, answers *answers) error {
	r := bufio.NewReaderSize(c, firstReadBuffer)
	authenticateBy := time.Now().Add(b.cfg.patience.login)
	var size [4]byte
	busy := false
	for {
		strange := conn.mustAuthenticate(b.now())
		idle := time.Now().Add(b.cfg.patience.idle)
		if strange && !conn.auth.done {
			idle = authenticateBy
		}
		_ = c.SetReadDeadline(idle)
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return err
		}
		if err := b.unmuted(conn, answers); err != nil {
			return err
		}
		rest := time.Now().Add(b.cfg.patience.frame)
		if strange && !conn.auth.done {
			rest = authenticateBy
		}
		_ = c.SetReadDeadline(rest)
		n, records, err := b.frameSize(r, size[:], conn, strange)
		if err != nil {
			return err
		}
		if err = b.serveNext(c, conn, r, n, records && !conn.auth.raw, answers); err != nil {
			return err
		}
		b.pulse.step(&conn.stint)
		busy = busy || n > firstReadBuffer || r.Buffered() > firstReadBuffer/2
		if busy && !strange && r.Size() < readBufferSize && r.Buffered() == 0 {
			r = bufio.NewReaderSize(c, readBufferSize)
		}
	}
}

// serveNext serves a request of n bytes once all before it are answered, as Kafka does; but
// produces are written beside each other.
func (b *Broker) serveNext(c net.Conn, conn *Conn, r *bufio.Reader, n int, records bool, answers *answers) error {
	if !records {
		conn.syncs.flush()
		if err := answers.giveHeld(); err != nil {
			return err
		}
	}
	waited, err := answers.await(records, &conn.arrivals)
	if err != nil {
		return err
	}
	muted := conn.mutedFor(b.now()) > 0 // by an answer that came meanwhile
	if err := b.unmuted(conn, answers); err != nil {
		return err
	}
	if waited || muted {
		_ = c.SetReadDeadline(time.Now().Add(b.cfg.patience.frame))
	}
	if records {
		return b.serveProduce(conn, r, n, answers)
	}
	frame, err := b.frames.own(r, n)
	if err != nil {
		return err
	}
	return b.serveFrame(conn, frame, answers, more(r))
}

// unmuted waits while the client is muted, at most as long as a connection may be idle:
// nobody sees meanwhile whether the client is still there. What it was answered it gets
// before that.
func (b *Broker) unmuted(c *Conn, answers *answers) error {
	if c.mutedFor(b.now()) <= 0 {
		return nil
	}
	c.syncs.flush()
	if err := answers.flushLeft(); err != nil {
		return err
	}
	end := time.Now().Add(b.cfg.patience.idle)
	for {
		d, left := c.mutedFor(b.now()), time.Until(end)
		switch {
		case d <= 0:
			return nil
		case left <= 0:
			return os.ErrDeadlineExceeded
		}
		alarm := time.NewTimer(min(d, left, muteStep))
		select {
		case <-alarm.C:
			continue
		case <-answers.closed:
		case <-b.run.stop:
		}
		alarm.Stop()
		return net.ErrClosed
	}
}

// What the first record of TLS begins with (RFC 8446, section 5.1).
const tlsHandshake, tlsMajor = 0x16, 0x03

// frameSize is the length of the frame that comes, if it may be that long, and
// whether it is to be a produce. Who is still a stranger may send little.
func (b *Broker) frameSize(r *bufio.Reader, size []byte, conn *Conn, strange bool) (n int, records bool, err error) {
	n = int(int32(binary.BigEndian.Uint32(size)))
	if conn.auth.raw {
		if n < 0 || n > maxStrangeBytes {
			return 0, false, refusef("an authentication of %d bytes", n)
		}
		return n, false, nil
	}
	if n < 8 { // said before anything is waited for: there may be no key to come
		return 0, false, refusef("request of %d bytes: no request is smaller than 8; is this a client of Kafka?", n)
	}
	key, err := r.Peek(2)
	if err != nil {
		return 0, false, err
	}
	records = int16(binary.BigEndian.Uint16(key)) == int16(kmsg.Produce)
	limit := b.cfg.Limits.RequestBytes
	if records {
		limit = b.cfg.Limits.ProduceBytes
	}
	switch {
	case n > limit && size[0] == tlsHandshake && size[1] == tlsMajor:
		return 0, false, refusef("this is TLS, and the listener is plain: connect without, or to a listener tls:// or sasl+tls://")
	case n > limit:
		return 0, false, refusef("request of %d bytes: at most %d are taken; send less at once (is this a client of Kafka?)", n, limit)
	case strange && n > maxStrangeBytes:
		return 0, false, refusef("request of %d bytes before authentication", n)
	}
	return n, records, nil
}

// serveFrame decodes one request and hands it on.
func (b *Broker) serveFrame(conn *Conn, frame []byte, answers *answers, more bool) error {
	if conn.auth.raw {
		return b.serveRaw(conn, frame, answers)
	}
	req, p, err := b.decode(conn, frame)
	if err != nil {
		return err
	}
	p.usage.key, p.usage.size, p.usage.begun = req.Key(), len(frame), b.now()
	conn.usage = &p.usage
	b.Handle(conn, req, func(resp kmsg.Response) { // keeps nothing of the request
		b.metered(conn, &p.usage, resp)
		p.ready <- resp
	})
	conn.usage = nil
	b.returned(conn, &p.usage)
	return b.give(conn, p, answers, more)
}

// errUnauthenticated ends the connection of who was refused, which has been logged.
var errUnauthenticated = errors.New("authentication failed")

// give puts an answer in its turn.
func (b *Broker) give(conn *Conn, p *pending, answers *answers, more bool) error {
	if err := answers.give(p, more && !conn.auth.failed); err != nil {
		return err
	}
	if conn.auth.failed {
		return &errGoodbye{errUnauthenticated}
	}
	return nil
}

// serveProduce reads a produce request of n bytes and hands on its parts as they come.
func (b *Broker) serveProduce(conn *Conn, r *bufio.Reader, n int, answers *answers) error {
	buf, err := b.frames.read(r, min(n, partBytes), conn.earned)
	defer func() { b.frames.put(buf) }()
	if err != nil {
		return err
	}
	conn.earned = len(buf)
	h, p, body, err := b.decodeHeader(conn, buf)
	if err != nil {
		return err
	}
	parts := newProduceParts(r, &b.frames, buf, body, n-len(buf), p.version, h.flexible, partBytes)
	p.usage.key, p.usage.size = int16(kmsg.Produce), n
	p.usage.counted.Store(callCounted) // its parts are, each for itself
	conn.syncs.gathers = true
	whole := &partAnswers{left: 1, respond: func(resp kmsg.Response) {
		b.metered(conn, &p.usage, resp)
		p.ready <- resp
	}}
	waits := parts.left // bytes that were to come when syncs began
	for !parts.done {
		part, err := parts.next()
		buf = parts.buf
		if err != nil {
			return err
		}
		begun := b.now()
		b.Handle(conn, part, whole.add()) // which has written the records when it returns
		b.worked(conn, &p.usage, b.now().Sub(begun))
		b.pulse.step(&conn.stint)
		switch {
		case parts.done:
		case waits-parts.left >= gatheredBytes:
			conn.syncs.flush()
			waits = parts.left
		default:
			conn.syncs.soon() // the rest may take a while
		}
	}
	whole.finish()
	others := more(r)
	if n <= smallProduce && len(conn.syncs.due) > 0 && r.Buffered() == 0 && conn.arrivals.some() {
		_, _ = r.Peek(1) // takes what there is; the next read says what is wrong
		others = more(r)
	}
	switch {
	case others && answers.hasRoom() && len(conn.syncs.due) > 0:
		answers.hold(p)
		return nil
	case n <= smallProduce && len(conn.syncs.due) == 1 && r.Buffered() == 0 && conn.arrivals.known():
		if err := answers.flushWritten(); err != nil {
			return err
		}
		conn.syncs.here()
	case !others || !answers.hasRoom():
		conn.syncs.flush()
	}
	return b.give(conn, p, answers, others)
}

// more tells whether another whole request has been read.
func more(r *bufio.Reader) bool {
	if r.Buffered() < 4 {
		return false
	}
	size, _ := r.Peek(4) // that many are there
	return int64(binary.BigEndian.Uint32(size))+4 <= int64(r.Buffered())
}

// serveRaw takes a message of an authentication that comes without a request.
func (b *Broker) serveRaw(conn *Conn, frame []byte, answers *answers) error {
	answer, err := b.authenticate(conn, frame)
	if err != nil {
		return errUnauthenticated
	}
	conn.auth.raw = !conn.auth.done
	p := &pending{isRaw: true, raw: answer, ready: make(chan kmsg.Response, 1)}
	p.ready <- nil
	return answers.give(p, false)
}

// readRequest decodes the body of a request. A panic of the decoder, which is not
// ours, ends a connection as any other request that cannot be read: it holds no lock
// and has changed nothing.
func readRequest(req kmsg.Request, body []byte) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("the decoder panicked: %v", fault)
		}
	}()
	return req.ReadFrom(body)
}

// decodeHeader reads the header of a request and returns what is behind it.
func (b *Broker) decodeHeader(conn *Conn, frame []byte) (h served, p *pending, body []byte, err error) {
	rd := kbin.Reader{Src: frame}
	key, version, correlation := rd.Int16(), rd.Int16(), rd.Int32()
	clientID := rd.NullableString()
	if err := rd.Complete(); err != nil {
		return h, nil, nil, err
	}
	if clientID != nil {
		conn.ClientID = (*clientID)[:min(len(*clientID), maxClientID)]
	}
	h, ok := b.handlers[key]
	if !ok {
		return h, nil, nil, refusef("request key %d is not served", key)
	}
	p = &pending{correlation: correlation, version: version, usage: usage{client: conn.ClientID}, ready: make(chan kmsg.Response, 1)}
	if version < h.min || version > h.max {
		if h.key == kmsg.ApiVersions {
			return h, p, nil, nil // the answer is version 0
		}
		return h, nil, nil, refusef("%s version %d is not served: %d to %d are", kmsg.NameForKey(key), version, h.min, h.max)
	}
	w := walker{rest: rd.Src, left: maxElements}
	if version >= h.flexible {
		w.tags(false)
		// The header of an answer to ApiVersions is never flexible (KIP-511).
		p.flexible = h.key != kmsg.ApiVersions
	}
	if w.err != nil {
		return h, nil, nil, refusef("%s version %d: %v", kmsg.NameForKey(key), version, w.err)
	}
	return h, p, w.rest, nil
}

// decode reads header and body of a request. The body is walked over first: see
// shape.
func (b *Broker) decode(conn *Conn, frame []byte) (kmsg.Request, *pending, error) {
	h, p, body, err := b.decodeHeader(conn, frame)
	if err != nil {
		return nil, nil, err
	}
	req := h.empty()
	if p.version < h.min || p.version > h.max {
		req.SetVersion(h.max + 1) // any that is refused
		return req, p, nil
	}
	req.SetVersion(p.version)
	if err = checkShape(h, p.version, body); err == nil {
		err = readRequest(req, body)
	}
	if err != nil {
		return nil, nil, refusef("%s version %d: %v", kmsg.NameForKey(int16(h.key)), p.version, err)
	}
	return req, p, nil
}
