package logbroker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/levada/levada/internal/loopback"
	"github.com/levada/levada/logbroker/sasl"
)

// Listener says how the clients of one listener are served.
type Listener struct {
	// TLS encrypts the connections; nil leaves them plain. If it verifies client
	// certificates, they say who the client is.
	TLS *tls.Config
	// Principal makes the name of a user of the distinguished name in its
	// certificate. Default: the name as it is (RFC 2253).
	Principal func(distinguishedName string) (string, error)
	// SASL are the mechanisms of which a client must use one. Nil: clients need
	// not authenticate. A list that is empty is refused: whoever made one wanted
	// clients to authenticate.
	SASL []string
	// PlainUnencrypted allows PLAIN, which sends passwords, without TLS.
	PlainUnencrypted bool
	// AdvertisedHost and AdvertisedPort are where clients are told to connect.
	// Default: Config's, then the listener's own address.
	AdvertisedHost string
	AdvertisedPort int32
}

// listener is one that is served.
type listener struct {
	Listener
	address  string // its own, as the log names it
	nodes    advertised
	refusals refusals
}

// handshakeTimeout bounds the TLS handshake, and how long a client may take to
// authenticate.
const handshakeTimeout = 30 * time.Second

// CheckListener refuses a listener that could not be served: the error says why.
func (b *Broker) CheckListener(l Listener) error {
	if l.SASL != nil && len(l.SASL) == 0 {
		return errors.New("logbroker: SASL without a mechanism would let everybody in: name one, or set SASL to nil")
	}
	for _, m := range l.SASL {
		switch {
		case !sasl.Known(m):
			return fmt.Errorf("logbroker: there is no SASL mechanism %q; %q are", m, sasl.Mechanisms)
		case m == sasl.Plain && l.TLS == nil && !l.PlainUnencrypted:
			return errors.New("logbroker: PLAIN without TLS sends passwords that anybody on the way can read: add TLS, or force it")
		case m == sasl.OAuthBearer && b.security.sasl.Tokens == nil:
			return errors.New("logbroker: OAUTHBEARER needs the keys that tokens are checked with: set Security.Tokens")
		}
	}
	if l.TLS != nil && l.TLS.MinVersion != 0 && l.TLS.MinVersion < tls.VersionTLS12 {
		return errors.New("logbroker: TLS below 1.2 is not safe")
	}
	return nil
}

// ServeListener serves the Kafka protocol on a listener until it or the broker is
// closed; then it returns nil. Several may be served at a time, each with its own
// rules. A Synchronous broker refuses.
func (b *Broker) ServeListener(ln net.Listener, l Listener) error {
	if b.cfg.Synchronous {
		return errors.New("logbroker: a Synchronous broker has no goroutines to serve a listener")
	}
	if err := b.CheckListener(l); err != nil {
		return err
	}
	l.SASL = slices.Clone(l.SASL)
	loopback.Unpace(ln)
	served := &listener{Listener: l, address: ln.Addr().String()}
	if !b.addListener(ln, served) {
		return ln.Close()
	}
	defer func() {
		b.run.mu.Lock()
		delete(b.run.listener, ln)
		b.run.mu.Unlock()
	}()
	return b.acceptFrom(ln, served)
}

// acceptFrom takes connections on until the listener or the broker is closed. That
// one cannot be for now is no reason to let go of those that are: it tries again.
func (b *Broker) acceptFrom(ln net.Listener, l *listener) error {
	var pause time.Duration
	var told time.Time
	for {
		c, err := ln.Accept()
		switch {
		case err == nil:
			if pause = 0; !b.addConn(c, l) {
				_ = c.Close() // one too many, or the broker is closing
			}
			continue
		case b.run.closed.Load() || errors.Is(err, net.ErrClosed):
			return nil
		case !passes(err):
			return fmt.Errorf("logbroker: accept on %s: %w", ln.Addr(), err)
		}
		if now := time.Now(); now.Sub(told) >= acceptSilence {
			told = now
			b.log.Warn("no connection can be taken on for now; are there enough open files for the limit of connections?", "listener", ln.Addr().String(), "error", err)
		}
		pause = nextPause(pause)
		alarm := time.NewTimer(pause)
		select {
		case <-alarm.C:
		case <-b.run.stop:
			alarm.Stop()
		}
	}
}

// Pauses after a connection could not be accepted, and how often that is told.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
	acceptSilence  = 10 * time.Second
)

// nextPause is the pause after one that did not help.
func nextPause(last time.Duration) time.Duration {
	return min(max(2*last, minAcceptPause), maxAcceptPause)
}

// passes tells whether an error of Accept is about the moment, or about one
// connection, rather than about the listener: see accept(2).
func passes(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EPERM,
		syscall.EPROTO, syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH:
		return true
	}
	return errno.Temporary()
}

// addListener remembers a listener to close it, and what to tell its clients, unless
// the broker is closed.
func (b *Broker) addListener(ln net.Listener, l *listener) bool {
	l.nodes = advertised{l.AdvertisedHost, l.AdvertisedPort}
	if l.nodes.host == "" {
		l.nodes = advertised{b.cfg.AdvertisedHost, b.cfg.AdvertisedPort}
	}
	if addr, ok := ln.Addr().(*net.TCPAddr); ok && l.nodes.host == "" {
		l.nodes = advertised{addr.IP.String(), int32(addr.Port)}
		if addr.IP.IsUnspecified() {
			l.nodes.host = "localhost"
		}
	}
	b.run.mu.Lock()
	defer b.run.mu.Unlock()
	if b.run.closed.Load() {
		return false
	}
	b.run.listener[ln] = struct{}{}
	if b.run.nodes.host == "" {
		b.run.nodes = l.nodes
	}
	return true
}

// secure does the TLS handshake of a connection, and tells who the client is if it
// showed a certificate.
func (l *listener) secure(c net.Conn) (net.Conn, string, error) {
	if l.TLS == nil {
		return c, anonymous, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	secured := tls.Server(c, l.TLS)
	if err := secured.HandshakeContext(ctx); err != nil {
		return c, "", refusef("TLS handshake: %v", err)
	}
	state := secured.ConnectionState()
	if state.Version < tls.VersionTLS12 { // a configuration for this client, or GODEBUG, took it
		return c, "", refusef("%s is not safe", tls.VersionName(state.Version))
	}
	chains := state.VerifiedChains
	if len(chains) == 0 {
		return secured, anonymous, nil
	}
	name, err := subjectOf(chains[0][0])
	if err != nil {
		return c, "", refusef("certificate: %v", err)
	}
	if l.Principal != nil {
		mapped, err := l.Principal(name)
		if err != nil {
			return c, "", refusef("certificate of %q: %v", name, err)
		}
		name = mapped
	}
	return secured, "User:" + name, nil
}

// subjectOf is the distinguished name of a certificate with all its parts in their
// order (RFC 2253). The Subject of crypto/x509 keeps one common name of several, and
// an order of its own: different names would become one user.
func subjectOf(cert *x509.Certificate) (string, error) {
	var name pkix.RDNSequence
	if _, err := asn1.Unmarshal(cert.RawSubject, &name); err != nil {
		return "", fmt.Errorf("the subject cannot be read: %w", err)
	}
	return name.String(), nil
}
