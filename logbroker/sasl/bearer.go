package sasl

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// bearer is OAUTHBEARER (RFC 7628): the client shows a token.
type bearer struct {
	tokens  *Tokens
	refused error
	user    string
	expires time.Time
}

// Next implements Exchange.
func (x *bearer) Next(message []byte) ([]byte, bool, error) {
	if err := checkSize(message); err != nil {
		return nil, false, err
	}
	if x.refused != nil {
		// The client has seen why, and says so with a single byte.
		return nil, false, x.refused
	}
	token, as, err := readBearer(message)
	if err != nil {
		return nil, false, err
	}
	user, expires, err := x.tokens.Check(token)
	if err == nil && as != "" && as != user {
		err = errOther
	}
	if err != nil {
		x.refused = err
		return []byte(`{"status":"invalid_token"}`), false, nil
	}
	x.user, x.expires = user, expires
	return []byte{}, true, nil
}

// Refused implements Exchange.
func (x *bearer) Refused() error { return x.refused }

// User implements Exchange.
func (x *bearer) User() (string, time.Time) { return x.user, x.expires }

// readBearer reads "n,[a=name],^Aauth=Bearer token^A[key=value^A...]^A".
func readBearer(message []byte) (token, as string, err error) {
	parts := bytes.SplitN(message, []byte(","), 3)
	if len(parts) != 3 || string(parts[0]) != "n" && string(parts[0]) != "y" {
		return "", "", fmt.Errorf("%w: the message does not begin with n,,", ErrRefused)
	}
	as = strings.TrimPrefix(string(parts[1]), "a=")
	for _, pair := range bytes.Split(parts[2], []byte{1}) {
		value, ok := strings.CutPrefix(string(pair), "auth=")
		if !ok {
			continue
		}
		kind, token, ok := strings.Cut(strings.TrimSpace(value), " ")
		if ok && strings.EqualFold(kind, "bearer") {
			return strings.TrimSpace(token), as, nil
		}
	}
	return "", "", fmt.Errorf("%w: the message has no token", ErrRefused)
}
