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
	if user == "" || len(password) == 0 {
		return nil, false, fmt.Errorf("%w: the user or the password is empty", ErrRefused)
	}
	if as != "" && as != user {
		return nil, false, errOther
	}
	if !p.server.passes(user, password) {
		return nil, false, errCredentials
	}
	p.user = user
	return []byte{}, true, nil
}

// passes tells whether a password is the user's: by the first mechanism that the user
// has. What is wrong takes the work of both with the most iterations there are, so that
// the time tells neither who exists nor what is known of them.
func (s *Server) passes(user string, password []byte) bool {
	most, found := s.most(), false
	for _, mechanism := range []string{SCRAM256, SCRAM512} {
		c, known := s.credential(mechanism, user)
		if c.matches(mechanism, password) && known && !found {
			return true
		}
		found = found || known
		c.fill(mechanism, password, most)
	}
	return false
}

// Refused implements Exchange: all that is refused is said by Next.
func (p *plainExchange) Refused() error { return nil }

// User implements Exchange.
func (p *plainExchange) User() (string, time.Time) { return p.user, time.Time{} }
