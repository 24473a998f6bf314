package logbroker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleSASLHandshake answers SaslHandshake, versions 0 and 1 (KIP-43, KIP-152):
// the client chooses a mechanism. After version 0 its messages come bare, after 1
// in SaslAuthenticate. A client that has authenticated may do so again (KIP-368).
func (b *Broker) handleSASLHandshake(r *request) {
	req := r.msg.(*kmsg.SASLHandshakeRequest)
	resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
	c := r.conn
	if c.listener == nil || len(c.listener.SASL) == 0 {
		resp.ErrorCode = kerr.IllegalSaslState.Code
		r.respond(resp)
		return
	}
	resp.SupportedMechanisms = c.listener.SASL
	switch {
	case c.auth.exchange != nil:
		resp.ErrorCode = kerr.IllegalSaslState.Code
	case !slices.Contains(c.listener.SASL, req.Mechanism):
		resp.ErrorCode = kerr.UnsupportedSaslMechanism.Code
	case c.auth.done && (req.Mechanism != c.auth.first || req.Version == 0):
		// Somebody else cannot take over a connection.
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
	default:
		exchange, err := b.security.sasl.Start(req.Mechanism)
		if err != nil {
			resp.ErrorCode = kerr.UnsupportedSaslMechanism.Code
			break
		}
		c.auth.mechanism, c.auth.exchange, c.auth.raw = req.Mechanism, exchange, req.Version == 0
	}
	r.respond(resp)
}
