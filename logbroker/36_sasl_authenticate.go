package logbroker

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/sasl"
)

// handleSASLAuthenticate answers SaslAuthenticate, versions 0 to 2 (KIP-152): 1
// says for how long the authentication is good (KIP-368).
func (b *Broker) handleSASLAuthenticate(r *request) {
	req := r.msg.(*kmsg.SASLAuthenticateRequest)
	resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
	answer, err := b.authenticate(r.conn, req.SASLAuthBytes)
	resp.SASLAuthBytes = answer
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = alterError(err)
		resp.SASLAuthBytes = []byte{}
	}
	if until := r.conn.auth.expires; err == nil && !until.IsZero() {
		resp.SessionLifetimeMillis = max(0, until.Sub(b.now()).Milliseconds())
	}
	r.respond(resp)
}

// authenticate takes a message of the exchange that is under way. After an error
// the connection is over.
func (b *Broker) authenticate(c *Conn, message []byte) ([]byte, error) {
	if c.auth.exchange == nil {
		c.auth.failed = true
		b.logRefused(c, "a handshake comes first")
		return nil, fmt.Errorf("%w: a handshake comes first", kerr.IllegalSaslState)
	}
	exchange := c.auth.exchange
	told := exchange.Refused() != nil
	answer, done, err := exchange.Next(message)
	if why := cmp.Or(err, exchange.Refused()); !told && errors.Is(why, sasl.ErrRefused) {
		b.logRefused(c, sasl.Reason(why))
	}
	if err != nil {
		c.auth.exchange, c.auth.done, c.auth.failed = nil, false, true
		if !errors.Is(err, sasl.ErrRefused) {
			b.log.Error("authentication", "error", err)
			return nil, kerr.UnknownServerError
		}
		return nil, fmt.Errorf("%w: %w", kerr.SaslAuthenticationFailed, sasl.ErrRefused)
	}
	if !done {
		return answer, nil
	}
	name, expires := exchange.User()
	c.auth.exchange = nil
	principal := "User:" + name
	if c.auth.done && principal != c.principal {
		c.auth.done, c.auth.failed = false, true
		b.logRefused(c, "the connection is another user's")
		return nil, fmt.Errorf("%w: the connection is another user's", kerr.SaslAuthenticationFailed)
	}
	if !c.auth.done { // requests that still go on read it, and it would be the same
		c.principal = principal
	}
	c.auth.done, c.auth.first = true, c.auth.mechanism
	c.auth.expires = earlier(expires, b.cfg.Security.Reauthenticate, b.now())
	return answer, nil
}

// refusals are the logins that a listener has refused.
type refusals struct {
	mu      sync.Mutex
	told    time.Time // when one was logged last
	leftOut int       // how many were not since then
}

// logRefused says that a login was refused, and why: once a second at most for a listener, so
// that a client cannot fill the log.
func (b *Broker) logRefused(c *Conn, reason string) {
	if c.listener == nil {
		return
	}
	r := &c.listener.refusals
	now := b.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if since := now.Sub(r.told); since >= 0 && since < time.Second {
		r.leftOut++
		return
	}
	b.log.Warn("login refused", "listener", c.listener.address, "client", c.address(), "mechanism", c.auth.mechanism, "reason", reason, "left_out", r.leftOut)
	r.told, r.leftOut = now, 0
}

// earlier is when an authentication ends: with the token, or after a while.
func earlier(expires time.Time, after time.Duration, now time.Time) time.Time {
	if after > 0 && (expires.IsZero() || now.Add(after).Before(expires)) {
		return now.Add(after)
	}
	return expires
}
