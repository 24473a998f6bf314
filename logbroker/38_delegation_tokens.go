package logbroker

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleDelegationToken answers CreateDelegationToken and DescribeDelegationToken,
// versions 1 to 3, RenewDelegationToken and ExpireDelegationToken, 1 and 2
// (KIP-48), as a Kafka without a key for them: who is nobody, or sends what others
// can read, may not ask, and to all others tokens are disabled.
func (b *Broker) handleDelegationToken(r *request) {
	err := kerr.DelegationTokenAuthDisabled
	switch l := r.conn.listener; {
	case l == nil, l.TLS == nil && len(l.SASL) == 0, r.conn.principal == anonymous:
		err = kerr.DelegationTokenRequestNotAllowed
	}
	switch resp := r.msg.ResponseKind().(type) {
	case *kmsg.CreateDelegationTokenResponse:
		resp.ErrorCode = err.Code
		resp.IssueTimestamp, resp.ExpiryTimestamp, resp.MaxTimestamp = -1, -1, -1
		resp.PrincipalType, resp.PrincipalName, _ = strings.Cut(r.conn.principal, ":")
		resp.TokenRequesterPrincipalType, resp.TokenRequesterPrincipalName = resp.PrincipalType, resp.PrincipalName
		r.respond(resp)
	case *kmsg.RenewDelegationTokenResponse:
		resp.ErrorCode, resp.ExpiryTimestamp = err.Code, -1
		r.respond(resp)
	case *kmsg.ExpireDelegationTokenResponse:
		resp.ErrorCode, resp.ExpiryTimestamp = err.Code, -1
		r.respond(resp)
	case *kmsg.DescribeDelegationTokenResponse:
		resp.ErrorCode = err.Code
		r.respond(resp)
	}
}
