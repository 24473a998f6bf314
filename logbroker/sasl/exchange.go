package sasl

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Names of the mechanisms.
const (
	Plain       = "PLAIN"
	SCRAM256    = "SCRAM-SHA-256"
	SCRAM512    = "SCRAM-SHA-512"
	OAuthBearer = "OAUTHBEARER"
)

// Mechanisms are all mechanisms.
var Mechanisms = []string{Plain, SCRAM256, SCRAM512, OAuthBearer}

// ErrRefused is what every exchange that fails ends with; the text says no more
// than a client may know.
var ErrRefused = errors.New("authentication failed: the credentials are not valid")

// errCredentials refuses whoever is not known, or does not know the password: which of the
// two is nobody's business.
var errCredentials = fmt.Errorf("%w: unknown user or wrong password", ErrRefused)

// errOther refuses one user who would be another.
var errOther = fmt.Errorf("%w: a user may not act as another", ErrRefused)

// Reason is why an exchange has failed, for the log of the server alone, in words that hold
// nothing of what the client sent.
func Reason(err error) string {
	return strings.TrimPrefix(err.Error(), ErrRefused.Error()+": ")
}

// maxMessage is the largest message of a client, in bytes. Tokens are the longest.
const maxMessage = 64 << 10

// Exchange is one authentication under way. It is not safe for concurrent use.
type Exchange interface {
	// Next takes a message of the client. done tells that it is authenticated, as
	// user; expires, if it is not zero, is when that ends. answer is to be sent
	// in any case without an error. After an error, which wraps ErrRefused if the
	// client is to blame, the exchange is over.
	Next(message []byte) (answer []byte, done bool, err error)
	// Refused is why the client is refused, as soon as that is known: one that shows a
	// token may go without a last message. It wraps ErrRefused.
	Refused() error
	// User is who was authenticated, and until when; the zero time is for ever.
	User() (name string, expires time.Time)
}

// Server makes exchanges. Its fields are not changed while it is in use.
type Server struct {
	// Credentials finds what is known of a user under a SCRAM mechanism.
	Credentials func(mechanism, user string) (Credential, bool)
	// MostIterations is the most that a credential has, or more: what a wrong password
	// costs, whoever it is said to be of. Nil is DefaultIterations.
	MostIterations func() int
	// Secret is random and stays the same, over restarts too: it makes up the salts
	// of users that do not exist.
	Secret []byte
	// Nonce returns random printable text.
	Nonce func() (string, error)
	// Tokens checks tokens; nil refuses them.
	Tokens *Tokens
}

// Start begins an exchange.
func (s *Server) Start(mechanism string) (Exchange, error) {
	switch mechanism {
	case Plain:
		return &plainExchange{server: s}, nil
	case SCRAM256, SCRAM512:
		return &scramExchange{server: s, mechanism: mechanism}, nil
	case OAuthBearer:
		if s.Tokens != nil {
			return &bearer{tokens: s.Tokens}, nil
		}
	}
	return nil, fmt.Errorf("there is no mechanism %q", mechanism)
}

// Known tells whether there is a mechanism of the name.
func Known(mechanism string) bool { return slices.Contains(Mechanisms, mechanism) }

// credential is what is known of a user, or what is made up. That is made in any case:
// it takes time, too.
func (s *Server) credential(mechanism, user string) (c Credential, known bool) {
	fake := s.fake(mechanism, user)
	if c, known = s.Credentials(mechanism, user); !known {
		return fake, false
	}
	return c, true
}

// most is the most iterations of any credential, those that are made up among them.
func (s *Server) most() int {
	if s.MostIterations == nil {
		return DefaultIterations
	}
	return max(s.MostIterations(), DefaultIterations)
}

func checkSize(message []byte) error {
	if len(message) > maxMessage {
		return fmt.Errorf("%w: a message of %d bytes", ErrRefused, len(message))
	}
	return nil
}
