package sasl

import (
	"bytes"
	"fmt"
	"time"
	"unicode/utf8"
)

// plainExchange is PLAIN: the client sends its password, so the connection should be
// encrypted. The password is compared with what SCRAM knows, so that a user has
// one password for all mechanisms.
type plainExchange struct {
	server *Server
	user   string
}

// Next implements Exchange.
func (p *plainExchange) Next(message []byte) ([]byte, bool, error) {
	if err := checkSize(message); err != nil {
		return nil, false, err
	}
	parts := bytes.Split(message, []byte{0})
	if len(parts) != 3 || !utf8.Valid(message) {
		return nil, false, fmt.Errorf("%w: a PLAIN message has three parts", ErrRefused)
	}
	as, user, password := string(parts[0]), string(parts[1]), parts[2]
	if user == "" || len(password) == 0 || as != "" && as != user {
		return nil, false, ErrRefused
	}
	for _, mechanism := range []string{SCRAM256, SCRAM512} {
		c, ok := p.server.Credentials(mechanism, user)
		if !ok {
			continue
		}
		if !c.matches(mechanism, password) {
			return nil, false, ErrRefused
		}
		p.user = user
		return []byte{}, true, nil
	}
	// A user that does not exist takes as long as one that does.
	fake := p.server.fake(SCRAM256, user)
	fake.matches(SCRAM256, password)
	return nil, false, ErrRefused
}

// User implements Exchange.
func (p *plainExchange) User() (string, time.Time) { return p.user, time.Time{} }
