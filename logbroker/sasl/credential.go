package sasl

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"fmt"
	"hash"
)

// Bounds of the iterations of a credential: fewer are too easily guessed, more
// take too long. They are Kafka's.
const (
	MinIterations = 4096
	MaxIterations = 16384
)

// What a credential is made of unless somebody wants it otherwise. That of a user
// who does not exist looks the same, so all that make credentials keep to it.
const (
	DefaultIterations = 8192
	// DefaultSaltBytes is also what the client of levada user makes.
	DefaultSaltBytes = 24
)

// Credential is what is known of a user's password (RFC 5802): enough to check a
// proof, not enough to make one.
type Credential struct {
	Salt       []byte `json:"salt"`
	StoredKey  []byte `json:"stored_key"`
	ServerKey  []byte `json:"server_key"`
	Iterations int    `json:"iterations"`
}

// String hides what is secret.
func (c Credential) String() string { return fmt.Sprintf("credential of %d iterations", c.Iterations) }

// GoString hides what is secret.
func (c Credential) GoString() string { return c.String() }

// hashes are those of the mechanisms. Tests count what they are asked for.
var hashes = map[string]func() hash.Hash{SCRAM256: sha256.New, SCRAM512: sha512.New}

func hashOf(mechanism string) func() hash.Hash { return hashes[mechanism] }

// FromPassword makes the credential of a password.
func FromPassword(mechanism string, password, salt []byte, iterations int) (Credential, error) {
	h := hashOf(mechanism)
	salted, err := pbkdf2.Key(h, string(password), salt, iterations, h().Size())
	if err != nil {
		return Credential{}, fmt.Errorf("%s: %w", mechanism, err)
	}
	return FromSalted(mechanism, salted, salt, iterations), nil
}

// FromSalted makes the credential of a salted password, which is what clients
// send to set one.
func FromSalted(mechanism string, salted, salt []byte, iterations int) Credential {
	h := hashOf(mechanism)
	client := sum(h, salted, "Client Key")
	stored := h()
	stored.Write(client)
	return Credential{Salt: salt, StoredKey: stored.Sum(nil), ServerKey: sum(h, salted, "Server Key"), Iterations: iterations}
}

func sum(h func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// matches tells whether the credential is of the password.
func (c Credential) matches(mechanism string, password []byte) bool {
	other, err := FromPassword(mechanism, password, c.Salt, c.Iterations)
	return err == nil && subtle.ConstantTimeCompare(other.StoredKey, c.StoredKey) == 1
}

// fill does what is left of the work for one mechanism after the credential was
// held against a password, up to most iterations and one.
func (c Credential) fill(mechanism string, password []byte, most int) {
	c.Iterations = max(most-c.Iterations+1, 1)
	c.matches(mechanism, password)
}

// Salt makes the salt of a user from a secret: always the same, and another for each
// mechanism. Those of users that do not exist are made so, too.
func Salt(mechanism string, secret []byte, user string, size int) []byte {
	h := hashOf(mechanism)
	salt := sum(h, secret, "salt "+user)
	for len(salt) < size {
		salt = append(salt, sum(h, secret, string(salt))...)
	}
	return salt[:size]
}

// fake makes a credential for a user that does not exist, always the same, so
// that nobody learns who does. No password fits. Of a user that has only another
// mechanism it looks like that one's, as if both had been set at once.
func (s *Server) fake(mechanism, user string) Credential {
	iterations, size := DefaultIterations, DefaultSaltBytes
	other := SCRAM256
	if mechanism == SCRAM256 {
		other = SCRAM512
	}
	if c, ok := s.Credentials(other, user); ok {
		iterations, size = c.Iterations, len(c.Salt)
	}
	h := hashOf(mechanism)
	return Credential{
		Salt: Salt(mechanism, s.Secret, user, size), StoredKey: sum(h, s.Secret, "stored "+user), ServerKey: sum(h, s.Secret, "server "+user),
		Iterations: iterations,
	}
}
