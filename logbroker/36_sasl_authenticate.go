package logbroker

import (
	"errors"
	"fmt"
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
		return nil, fmt.Errorf("%w: a handshake comes first", kerr.IllegalSaslState)
	}
	answer, done, err := c.auth.exchange.Next(message)
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
	name, expires := c.auth.exchange.User()
	c.auth.exchange = nil
	principal := "User:" + name
	if c.auth.done && principal != c.principal {
		c.auth.done, c.auth.failed = false, true
		return nil, fmt.Errorf("%w: the connection is another user's", kerr.SaslAuthenticationFailed)
	}
	if !c.auth.done { // requests that still go on read it, and it would be the same
		c.principal = principal
	}
	c.auth.done, c.auth.first = true, c.auth.mechanism
	c.auth.expires = earlier(expires, b.cfg.Security.Reauthenticate, b.now())
	return answer, nil
}

// earlier is when an authentication ends: with the token, or after a while.
func earlier(expires time.Time, after time.Duration, now time.Time) time.Time {
	if after > 0 && (expires.IsZero() || now.Add(after).Before(expires)) {
		return now.Add(after)
	}
	return expires
}
