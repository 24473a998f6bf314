package sasl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// keysAge is how long keys are used before they are read again; keysRetry how
	// soon that may be for a key that is not known.
	keysAge   = time.Hour
	keysRetry = 10 * time.Second
	// maxKeys is the size of a key set, in bytes.
	maxKeys = 1 << 20
	// clockSkew is how far clocks may be apart.
	clockSkew = 30 * time.Second
)

// algorithms are the signatures that are taken: those with public keys.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// TokenConfig says which tokens are taken.
type TokenConfig struct {
	// Keys is where the public keys are, a JWK set: a file, or an https URL (http
	// on loopback only) without a user in it.
	Keys string
	// Issuer and Audience must be those of a token.
	Issuer, Audience string
	// UserClaim is the claim that names the user. Default: sub.
	UserClaim string
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Tokens checks JSON web tokens (RFC 7519). It is safe for concurrent use.
type Tokens struct {
	cfg    TokenConfig
	client *http.Client

	mu    sync.Mutex // guards what follows; not held while keys are read
	keys  jose.JSONWebKeySet
	read  time.Time     // when keys were read last
	tried time.Time     // when that was begun last, with or without success
	busy  chan struct{} // closed when the reading under way is over; nil without one
}

// Check says what is wrong with the configuration, without reading the keys.
func (c TokenConfig) Check() error {
	switch {
	case c.Keys == "":
		return errors.New("no keys to check them with: name a file or a URL with a JWK set")
	case c.Issuer == "" || c.Audience == "":
		return errors.New("name the issuer and the audience that tokens must have")
	}
	return checkKeys(c.Keys)
}

// NewTokens checks the configuration and reads the keys.
func NewTokens(cfg TokenConfig) (*Tokens, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.UserClaim == "" {
		cfg.UserClaim = "sub"
	}
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	t := &Tokens{cfg: cfg, client: &http.Client{
		Timeout: 10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("keys are not taken from where they are redirected to")
		},
	}}
	keys, err := t.load()
	t.keys, t.read, t.tried = keys, cfg.Now(), cfg.Now()
	return t, err
}

// overWeb tells whether keys are at a URL rather than in a file.
func overWeb(keys string) bool {
	scheme, _, found := strings.Cut(keys, "://")
	return found && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https"))
}

// checkKeys refuses a URL whose keys others could put theirs in place of. It must have
// no user: that makes a host look like another, and would be in the log.
func checkKeys(keys string) error {
	if !overWeb(keys) {
		return nil
	}
	at, err := url.Parse(keys)
	switch {
	case err != nil: // which shows all of the URL
		return errors.New("the URL of the keys is none")
	case at.User != nil:
		return errors.New("the URL of the keys has a name and a password in it")
	case at.Hostname() == "":
		return fmt.Errorf("the URL %s of the keys has no host", keys)
	case at.Scheme == "http" && !loopback(at.Hostname()):
		return fmt.Errorf("keys from %s can be forged on the way: use https", keys)
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// load reads the keys.
func (t *Tokens) load() (jose.JSONWebKeySet, error) {
	var keys jose.JSONWebKeySet
	b, err := t.fetch()
	if err != nil {
		return keys, fmt.Errorf("tokens: keys from %s: %w", t.cfg.Keys, err)
	}
	if err := json.Unmarshal(b, &keys); err != nil {
		return keys, fmt.Errorf("tokens: keys from %s: no JWK set: %w", t.cfg.Keys, err)
	}
	keys.Keys = slices.DeleteFunc(keys.Keys, func(k jose.JSONWebKey) bool { return !k.Valid() || !k.IsPublic() })
	if len(keys.Keys) == 0 {
		return keys, fmt.Errorf("tokens: keys from %s: there is no public key among them", t.cfg.Keys)
	}
	return keys, nil
}

func (t *Tokens) fetch() ([]byte, error) {
	var r io.ReadCloser
	if overWeb(t.cfg.Keys) {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, t.cfg.Keys, nil)
		if err != nil {
			return nil, err
		}
		resp, err := t.client.Do(req)
		if err != nil {
			return nil, err
		}
		r = resp.Body
		if resp.StatusCode != http.StatusOK {
			return nil, errors.Join(errors.New(resp.Status), r.Close())
		}
	} else {
		f, err := os.Open(t.cfg.Keys)
		if err != nil {
			return nil, err
		}
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, maxKeys+1))
	if err == nil && len(b) > maxKeys {
		err = fmt.Errorf("more than %d bytes", maxKeys)
	}
	return b, errors.Join(err, r.Close())
}

// find returns the keys that may have signed a token. They are read anew if they are
// old, or if none is known; only then the token waits for them, so that nobody with
// a token that is made up holds up the others.
func (t *Tokens) find(id string) []jose.JSONWebKey {
	t.mu.Lock()
	now := t.cfg.Now()
	known := t.known(id)
	if due := now.Sub(t.read) > keysAge || len(known) == 0; due && t.busy == nil && now.Sub(t.tried) > keysRetry {
		t.tried, t.busy = now, make(chan struct{})
		go t.reload(t.busy)
	}
	busy := t.busy
	t.mu.Unlock()
	if len(known) > 0 || busy == nil {
		return known
	}
	<-busy
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known(id)
}

// known are the keys of an id, or all. mu is held.
func (t *Tokens) known(id string) []jose.JSONWebKey {
	if id == "" {
		return t.keys.Keys
	}
	return t.keys.Key(id)
}

// reload reads the keys anew; without success the old ones do for now.
func (t *Tokens) reload(done chan struct{}) {
	keys, err := t.load()
	t.mu.Lock()
	if t.busy = nil; err == nil {
		t.keys, t.read = keys, t.cfg.Now()
	}
	t.mu.Unlock()
	close(done)
}

// Check checks a token and tells whose it is and when it ends. Every error wraps
// ErrRefused.
func (t *Tokens) Check(token string) (user string, expires time.Time, err error) {
	refuse := func(why string) (string, time.Time, error) {
		return "", time.Time{}, fmt.Errorf("%w: the token %s", ErrRefused, why)
	}
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return refuse("is no JWT, or is not signed with a public key")
	}
	if len(parsed.Headers) != 1 {
		return refuse("has not one signature")
	}
	var claims jwt.Claims
	var all map[string]any
	known := false
	for _, key := range t.find(parsed.Headers[0].KeyID) {
		if key.Algorithm != "" && key.Algorithm != parsed.Headers[0].Algorithm {
			continue
		}
		known = true
		if err = parsed.Claims(key.Key, &claims, &all); err == nil {
			break
		}
	}
	switch {
	case !known:
		return refuse("is signed with a key that is not among those known")
	case err != nil:
		return refuse("has a signature that is wrong, or claims that cannot be read")
	}
	now := t.cfg.Now()
	if err := claims.ValidateWithLeeway(jwt.Expected{Issuer: t.cfg.Issuer, AnyAudience: jwt.Audience{t.cfg.Audience}, Time: now}, clockSkew); err != nil {
		return refuse(t.invalid(err, &claims, now))
	}
	if claims.Expiry == nil {
		return refuse("never expires")
	}
	user, _ = all[t.cfg.UserClaim].(string)
	if user == "" {
		return refuse(fmt.Sprintf("names nobody in its claim %q", t.cfg.UserClaim))
	}
	return user, claims.Expiry.Time(), nil
}

// invalid is what is wrong with the claims of a token that was signed as it must be.
func (t *Tokens) invalid(err error, claims *jwt.Claims, now time.Time) string {
	switch {
	case errors.Is(err, jwt.ErrExpired):
		return fmt.Sprintf("expired %v ago", now.Sub(claims.Expiry.Time()).Round(time.Second))
	case errors.Is(err, jwt.ErrInvalidAudience):
		return fmt.Sprintf("is not for the audience %q", t.cfg.Audience)
	case errors.Is(err, jwt.ErrInvalidIssuer):
		return fmt.Sprintf("is not of the issuer %q", t.cfg.Issuer)
	case errors.Is(err, jwt.ErrNotValidYet):
		return "is not valid yet; are the clocks right?"
	case errors.Is(err, jwt.ErrIssuedInTheFuture):
		return "was issued in the future; are the clocks right?"
	}
	return "has claims that do not hold"
}
