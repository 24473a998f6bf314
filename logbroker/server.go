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
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// writeTimeout bounds how long an answer may take a client to read.
	writeTimeout = time.Minute
	// idleTimeout ends a connection that says nothing, as Kafka's
	// connections.max.idle.ms.
	idleTimeout = 10 * time.Minute
	// frameTimeout bounds how long the rest of a request may take to come.
	frameTimeout   = time.Minute
	maxClientID    = 1 << 10
	readBufferSize = 64 << 10
)

// Serve serves the Kafka protocol on a listener until it or the broker is
// closed; then it returns nil. A Synchronous broker refuses.
func (b *Broker) Serve(ln net.Listener) error {
	if b.cfg.Synchronous {
		return errors.New("logbroker: a Synchronous broker has no goroutines to serve a listener")
	}
	if err := b.addListener(ln); err != nil {
		return err
	}
	defer func() {
		b.run.mu.Lock()
		delete(b.run.listener, ln)
		b.run.mu.Unlock()
	}()
	for {
		c, err := ln.Accept()
		if err != nil {
			if b.run.closed.Load() || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("logbroker: accept on %s: %w", ln.Addr(), err)
		}
		if !b.addConn(c) {
			_ = c.Close() // one too many, or the broker is closing
			continue
		}
	}
}

// addListener remembers a listener to close it, and what to tell clients.
func (b *Broker) addListener(ln net.Listener) error {
	b.run.mu.Lock()
	defer b.run.mu.Unlock()
	if b.run.closed.Load() {
		return errClosed
	}
	if b.run.listener == nil {
		b.run.listener = map[net.Listener]struct{}{}
	}
	b.run.listener[ln] = struct{}{}
	if b.run.nodes.host != "" {
		return nil
	}
	b.run.nodes = advertised{b.cfg.AdvertisedHost, b.cfg.AdvertisedPort}
	if addr, ok := ln.Addr().(*net.TCPAddr); ok && b.run.nodes.host == "" {
		b.run.nodes = advertised{addr.IP.String(), int32(addr.Port)}
		if addr.IP.IsUnspecified() {
			b.run.nodes.host = "localhost"
		}
	}
	return nil
}

func (b *Broker) addConn(c net.Conn) bool {
	b.run.mu.Lock()
	defer b.run.mu.Unlock()
	if b.run.closed.Load() || len(b.run.conns) >= b.cfg.Limits.Connections {
		return false
	}
	if b.run.conns == nil {
		b.run.conns = map[net.Conn]struct{}{}
	}
	b.run.conns[c] = struct{}{}
	b.run.work.Go(func() {
		b.serveConn(c)
		b.run.mu.Lock()
		delete(b.run.conns, c)
		b.run.mu.Unlock()
	})
	return true
}

// pending is an answer that is due in its turn; ready holds it.
type pending struct {
	correlation int32
	flexible    bool
	ready       chan kmsg.Response // capacity 1: an answer never waits for the writer
}

// serveConn reads requests, handles them in order, and writes their answers in
// that order. At most Limits.Pipelined wait at a time.
func (b *Broker) serveConn(c net.Conn) {
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	queue := make(chan *pending, b.cfg.Limits.Pipelined)
	closed := make(chan struct{})
	var once sync.Once
	end := func() { once.Do(func() { _ = c.Close(); close(closed) }) }
	var writer sync.WaitGroup
	writer.Go(func() {
		defer end()
		b.writeAnswers(c, queue, closed)
	})
	conn := &Conn{Host: "/" + host, onFail: func(error) { end() }}
	b.logEnd(c.RemoteAddr().String(), conn.ClientID, b.readRequests(c, conn, queue, closed))
	end()
	close(queue)
	writer.Wait()
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

func (b *Broker) readRequests(c net.Conn, conn *Conn, queue chan<- *pending, closed <-chan struct{}) error {
	r := bufio.NewReaderSize(c, readBufferSize)
	var size [4]byte
	for {
		_ = c.SetReadDeadline(time.Now().Add(idleTimeout))
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(frameTimeout))
		key, err := r.Peek(2)
		if err != nil {
			return err
		}
		n := int64(int32(binary.BigEndian.Uint32(size[:])))
		limit, name := int64(b.cfg.Limits.RequestBytes), "RequestBytes"
		if int16(binary.BigEndian.Uint16(key)) == int16(kmsg.Produce) {
			limit, name = int64(b.cfg.Limits.ProduceBytes), "ProduceBytes"
		}
		if n < 8 {
			return refusef("request of %d bytes: no request is smaller than 8; is this a client of Kafka?", n)
		}
		if n > limit {
			return refusef("request of %d bytes: at most %d are taken; send less at once, or raise Limits.%s", n, limit, name)
		}
		frame, err := readFrame(r, int(n))
		if err != nil {
			return err
		}
		if err := b.serveFrame(conn, frame, queue, closed); err != nil {
			return err
		}
	}
}

// serveFrame decodes one request and hands it on.
func (b *Broker) serveFrame(conn *Conn, frame []byte, queue chan<- *pending, closed <-chan struct{}) error {
	req, p, clientID, err := b.decode(frame)
	if err != nil {
		return err
	}
	if clientID != nil {
		conn.ClientID = (*clientID)[:min(len(*clientID), maxClientID)]
	}
	select {
	case queue <- p:
	case <-closed:
		return net.ErrClosed
	}
	b.Handle(conn, req, func(resp kmsg.Response) { p.ready <- resp })
	return nil
}

// decode reads header and body of a request. The body is walked over first: see
// shape.
func (b *Broker) decode(frame []byte) (kmsg.Request, *pending, *string, error) {
	rd := kbin.Reader{Src: frame}
	key, version, correlation := rd.Int16(), rd.Int16(), rd.Int32()
	clientID := rd.NullableString()
	if err := rd.Complete(); err != nil {
		return nil, nil, nil, err
	}
	h, ok := b.handlers[key]
	if !ok {
		return nil, nil, nil, refusef("request key %d is not served", key)
	}
	req := kmsg.RequestForKey(key)
	p := &pending{correlation: correlation, ready: make(chan kmsg.Response, 1)}
	switch {
	case version >= h.min && version <= h.max:
		req.SetVersion(version)
	case key == int16(kmsg.ApiVersions):
		req.SetVersion(h.max + 1) // any that is refused: the answer is version 0
		return req, p, clientID, nil
	default:
		return nil, nil, nil, refusef("%s version %d is not served: %d to %d are", kmsg.NameForKey(key), version, h.min, h.max)
	}
	w := walker{rest: rd.Src, left: maxElements}
	if req.IsFlexible() {
		w.tags(false) // of the header
	}
	err := w.err
	if err == nil {
		err = checkShape(h, version, w.rest)
	}
	if err == nil {
		err = req.ReadFrom(w.rest)
	}
	if err != nil {
		return nil, nil, nil, refusef("%s version %d: %v", kmsg.NameForKey(key), version, err)
	}
	// The header of an answer to ApiVersions is never flexible (KIP-511).
	p.flexible = req.IsFlexible() && key != int16(kmsg.ApiVersions)
	return req, p, clientID, nil
}

// writeAnswers writes answers as they become ready, in the order of their
// requests. A nil answer is none.
func (b *Broker) writeAnswers(c net.Conn, queue <-chan *pending, closed <-chan struct{}) {
	w := bufio.NewWriterSize(c, readBufferSize)
	var head []byte
	for p := range queue {
		var resp kmsg.Response
		select {
		case resp = <-p.ready:
		default:
			// What is written must not wait for an answer that is not there yet.
			if err := w.Flush(); err != nil {
				return
			}
			select {
			case resp = <-p.ready:
			case <-closed:
				return
			case <-b.run.stop:
				return
			}
		}
		if resp == nil {
			continue
		}
		head = append(head[:0], 0, 0, 0, 0)
		head = binary.BigEndian.AppendUint32(head, uint32(p.correlation))
		if p.flexible {
			head = append(head, 0)
		}
		frame := resp.AppendTo(head)
		binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
		_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := w.Write(frame); err != nil {
			return
		}
		if len(queue) == 0 {
			if err := w.Flush(); err != nil {
				return
			}
		}
		if cap(frame) <= 1<<20 {
			head = frame
		}
	}
}
