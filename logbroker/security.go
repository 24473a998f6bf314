package logbroker

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/acl"
	"github.com/levada/levada/logbroker/meta"
	"github.com/levada/levada/logbroker/quota"
	"github.com/levada/levada/logbroker/sasl"
)

// Security says who is let in and what they may do. The zero value lets everybody
// do everything.
type Security struct {
	// Users are users with their passwords, for PLAIN and SCRAM. Others can be
	// added to the data directory while the broker runs.
	Users map[string]Password
	// Tokens, if its Keys are set, says which tokens OAUTHBEARER takes.
	Tokens sasl.TokenConfig
	// Reauthenticate is how long an authentication is good for (KIP-368). 0 is for
	// as long as the connection, or the token, lasts.
	Reauthenticate time.Duration
	// Authorize refuses whatever no access rule allows. Without it everybody may do
	// everything.
	Authorize bool
	// SuperUsers may do everything, whatever the rules say: principals, such as
	// User:admin.
	SuperUsers []string
}

// Password is a secret that is never printed.
type Password string

// String hides the password.
func (Password) String() string { return "(hidden)" }

// GoString hides the password.
func (Password) GoString() string { return "(hidden)" }

// maxRules and maxUsers bound what administrators can store.
const (
	maxRules = 100_000
	maxUsers = 100_000
)

// security is what Security comes to, with what the data directory holds.
type security struct {
	super  map[string]bool
	rules  atomic.Pointer[acl.Set]
	quotas *quota.Table
	sasl   *sasl.Server
	secret []byte // stays with the data directory

	edit  sync.Mutex                 // held by whoever changes rules, users or quotas
	mu    sync.RWMutex               // guards what follows
	users map[string]sasl.Credential // by mechanism/user; from the data directory
	given map[string]sasl.Credential // the same, from the configuration
	most  int                        // iterations that one of users has, or had
}

// editSecurity makes a change of rules, users or quotas, one at a time, and answers.
func (b *Broker) editSecurity(r *request, resp kmsg.Response, change func()) {
	b.spawn(func() {
		func() {
			b.security.edit.Lock()
			defer b.security.edit.Unlock()
			change()
		}()
		r.respond(resp)
	})
}

func credentialKey(mechanism, user string) string { return mechanism + "/" + user }

// openSecurity reads rules, users and quotas.
func (b *Broker) openSecurity() error {
	s := &b.security
	cfg := b.cfg.Security
	s.super, s.quotas = map[string]bool{}, quota.New()
	s.users, s.given = map[string]sasl.Credential{}, map[string]sasl.Credential{}
	for _, p := range cfg.SuperUsers {
		if _, _, err := acl.ParsePrincipal(p); err != nil {
			return fmt.Errorf("super user: %w", err)
		}
		s.super[p] = true
	}
	if err := b.giveUsers(cfg.Users); err != nil {
		return err
	}
	var rules []acl.Rule
	err := errors.Join(
		b.meta.Settings(meta.ACLs, func(_ string, value []byte) error {
			r, err := acl.Decode(value)
			rules = append(rules, r)
			return err
		}),
		b.meta.Settings(meta.Credentials, func(name string, value []byte) error {
			var c sasl.Credential
			err := json.Unmarshal(value, &c)
			s.users[name], s.most = c, max(s.most, c.Iterations)
			return err
		}),
		b.meta.Settings(meta.Quotas, func(name string, value []byte) error {
			e, err := quota.ParseKey(name)
			var limits map[string]float64
			err = errors.Join(err, json.Unmarshal(value, &limits))
			s.quotas.Set(e, limits)
			return err
		}),
	)
	if err != nil {
		return err
	}
	s.rules.Store(acl.NewSet(rules))
	return b.openSASL()
}

// openSASL makes the server's side of authentication.
func (b *Broker) openSASL() error {
	b.security.sasl = &sasl.Server{Secret: b.security.secret, Credentials: b.security.credential, MostIterations: b.security.mostIterations, Nonce: randomText}
	cfg := b.cfg.Security.Tokens
	if cfg.Keys == "" {
		return nil
	}
	cfg.Now = b.cfg.Now
	tokens, err := sasl.NewTokens(cfg)
	b.security.sasl.Tokens = tokens
	return err
}

// randomText is printable, and nobody can guess it.
func randomText() (string, error) {
	var raw [18]byte
	_, err := rand.Read(raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:]), err
}

// giveUsers makes the credentials of users from their passwords. The salts are the
// same after a restart: clients may keep what they made of a password and its salt.
func (b *Broker) giveUsers(users map[string]Password) error {
	for _, name := range slices.Sorted(maps.Keys(users)) {
		if name == "" || users[name] == "" {
			return fmt.Errorf("user %q: a user has a name and a password", name)
		}
		for _, mechanism := range []string{sasl.SCRAM256, sasl.SCRAM512} {
			salt := sasl.Salt(mechanism, b.security.secret, name, sasl.DefaultSaltBytes)
			c, err := sasl.FromPassword(mechanism, []byte(users[name]), salt, sasl.DefaultIterations)
			if err != nil {
				return fmt.Errorf("user %q: %w", name, err)
			}
			b.security.given[credentialKey(mechanism, name)] = c
		}
	}
	return nil
}

// credential finds a user: the configuration's go before those of the data
// directory.
func (s *security) credential(mechanism, user string) (sasl.Credential, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	key := credentialKey(mechanism, user)
	if c, ok := s.given[key]; ok {
		return c, true
	}
	c, ok := s.users[key]
	return c, ok
}

// mostIterations is the most that a credential has, or had since the start.
func (s *security) mostIterations() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.most
}

// isGiven tells whether a user is of the configuration, under whatever mechanism.
func (s *security) isGiven(user string) bool {
	for _, mechanism := range scramMechanisms {
		if _, ok := s.given[credentialKey(mechanism, user)]; ok {
			return true
		}
	}
	return false
}

// userNames lists the users that have credentials.
func (s *security) userNames() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var names []string
	for _, users := range []map[string]sasl.Credential{s.given, s.users} {
		for key := range users {
			_, name, _ := strings.Cut(key, "/")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
