package sasl

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	client "github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// testServer knows ann, with the password secret, under both mechanisms.
func testServer(t testing.TB) *Server {
	t.Helper()
	users := map[string]Credential{}
	for _, mechanism := range []string{SCRAM256, SCRAM512} {
		c, err := FromPassword(mechanism, []byte("secret"), []byte("some salt"), MinIterations)
		if err != nil {
			t.Fatal(err)
		}
		users[mechanism+"ann"], users[mechanism+"a,b=c"] = c, c
	}
	n := 0
	return &Server{
		Secret: []byte("the server's"), Nonce: func() (string, error) { n++; return fmt.Sprintf("nonce%d", n), nil },
		Credentials: func(mechanism, user string) (Credential, bool) { c, ok := users[mechanism+user]; return c, ok },
	}
}

// converse lets a client of another library authenticate.
func converse(t *testing.T, s *Server, m client.Mechanism) (Exchange, error) {
	t.Helper()
	x, err := s.Start(m.Name())
	if err != nil {
		return nil, err
	}
	session, message, err := m.Authenticate(context.Background(), "host")
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		answer, done, err := x.Next(message)
		if err != nil {
			return nil, err
		}
		clientDone, next, err := session.Challenge(answer)
		if err != nil {
			return nil, fmt.Errorf("the client refuses: %w", err)
		}
		if done {
			if !clientDone {
				t.Fatal("the server is done, the client is not")
			}
			return x, nil
		}
		message = next
	}
	return nil, errors.New("no end")
}

func TestClientsAuthenticate(t *testing.T) {
	for _, user := range []string{"ann", "a,b=c"} {
		for name, m := range map[string]client.Mechanism{
			"PLAIN":         plain.Auth{User: user, Pass: "secret"}.AsMechanism(),
			"SCRAM-SHA-256": scram.Auth{User: user, Pass: "secret"}.AsSha256Mechanism(),
			"SCRAM-SHA-512": scram.Auth{User: user, Pass: "secret"}.AsSha512Mechanism(),
		} {
			x, err := converse(t, testServer(t), m)
			if err != nil {
				t.Errorf("%s, %s: %v", name, user, err)
				continue
			}
			if got, expires := x.User(); got != user || !expires.IsZero() {
				t.Errorf("%s: authenticated %q until %v", name, got, expires)
			}
		}
	}
}

func TestOthersDoNot(t *testing.T) {
	for name, m := range map[string]client.Mechanism{
		"wrong password": plain.Auth{User: "ann", Pass: "Secret"}.AsMechanism(),
		"nobody":         plain.Auth{User: "eve", Pass: "secret"}.AsMechanism(),
		"as another":     plain.Auth{Zid: "admin", User: "ann", Pass: "secret"}.AsMechanism(),
		"wrong, 256":     scram.Auth{User: "ann", Pass: "Secret"}.AsSha256Mechanism(),
		"nobody, 256":    scram.Auth{User: "eve", Pass: "secret"}.AsSha256Mechanism(),
		"wrong, 512":     scram.Auth{User: "ann", Pass: "Secret"}.AsSha512Mechanism(),
		"another, 512":   scram.Auth{Zid: "admin", User: "ann", Pass: "secret"}.AsSha512Mechanism(),
		"token":          scram.Auth{User: "ann", Pass: "secret", IsToken: true}.AsSha512Mechanism(),
	} {
		if _, err := converse(t, testServer(t), m); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error has the password: %v", name, err)
		}
	}
}

// TestNobodyLearnsWhoExists: a user that does not exist is asked for its proof as
// one that does, and has the same salt each time.
func TestNobodyLearnsWhoExists(t *testing.T) {
	s := testServer(t)
	salt := func(user string) string {
		x, err := s.Start(SCRAM256)
		if err != nil {
			t.Fatal(err)
		}
		answer, done, err := x.Next([]byte("n,,n=" + user + ",r=abc"))
		if err != nil || done {
			t.Fatalf("%s: %v", user, err)
		}
		return strings.Split(string(answer), ",")[1]
	}
	if once := salt("eve"); once != salt("eve") || once == salt("mallory") {
		t.Error("the salts of users that do not exist give them away")
	}
}

// TestNobodyLooksLikeSomebody: who does not exist has as many iterations and as long a
// salt as users are given, and who has one mechanism has those under the other, too.
func TestNobodyLooksLikeSomebody(t *testing.T) {
	s := testServer(t)
	kafkas, err := FromPassword(SCRAM512, []byte("secret"), bytes.Repeat([]byte("s"), 90), 5000)
	if err != nil {
		t.Fatal(err)
	}
	s.Credentials = func(mechanism, user string) (Credential, bool) {
		if user == "one" && mechanism == SCRAM512 {
			return kafkas, true
		}
		return Credential{}, false
	}
	for _, mechanism := range []string{SCRAM256, SCRAM512} {
		for user, want := range map[string]Credential{"nobody": {Salt: make([]byte, DefaultSaltBytes), Iterations: DefaultIterations}, "one": kafkas} {
			x, err := s.Start(mechanism)
			if err != nil {
				t.Fatal(err)
			}
			answer, _, err := x.Next([]byte("n,,n=" + user + ",r=abc"))
			if err != nil {
				t.Fatal(err)
			}
			fields := strings.Split(string(answer), ",")
			salt, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(fields[1], "s="))
			if err != nil || len(salt) != len(want.Salt) || fields[2] != fmt.Sprint("i=", want.Iterations) {
				t.Errorf("%s, %s: %s with a salt of %d bytes: %v; want that of %v", mechanism, user, fields[2], len(salt), err, want)
			}
		}
	}
}

// TestForgedExchanges changes single messages of an exchange that would succeed.
func TestForgedExchanges(t *testing.T) {
	for name, test := range map[string]struct{ first, final func(string) string }{
		"channel binding":       {first: func(m string) string { return "p=tls-unique" + m[1:] }},
		"no name":               {first: func(m string) string { return strings.Replace(m, "n=ann,", "", 1) }},
		"empty name":            {first: func(m string) string { return strings.Replace(m, "n=ann,", "n=,", 1) }},
		"no nonce":              {first: func(m string) string { return m[:strings.Index(m, "r=")+2] }},
		"bad escape":            {first: func(m string) string { return strings.Replace(m, "n=ann", "n=a=nn", 1) }},
		"not UTF-8":             {first: func(m string) string { return m + "\xff" }},
		"too long":              {first: func(m string) string { return m + strings.Repeat("x", maxMessage) }},
		"another nonce":         {final: func(m string) string { return strings.Replace(m, "nonce1", "nonce2", 1) }},
		"the client's own part": {final: func(m string) string { return strings.Replace(m, "nonce1", "", 1) }},
		"another header":        {final: func(m string) string { return strings.Replace(m, "c=biws", "c=eSws", 1) }},
		"no proof":              {final: func(m string) string { return m[:strings.Index(m, ",p=")] }},
		"short proof":           {final: func(m string) string { return m[:strings.Index(m, ",p=")] + ",p=AAAA" }},
		"empty proof":           {final: func(m string) string { return m[:strings.Index(m, ",p=")] + ",p=" }},
		"zero proof": {final: func(m string) string {
			return m[:strings.Index(m, ",p=")] + ",p=" + base64.StdEncoding.EncodeToString(make([]byte, 32))
		}},
	} {
		s := testServer(t)
		session, message, err := scram.Auth{User: "ann", Pass: "secret"}.AsSha256Mechanism().Authenticate(context.Background(), "")
		if err != nil {
			t.Fatal(err)
		}
		x, err := s.Start(SCRAM256)
		if err != nil {
			t.Fatal(err)
		}
		if test.first != nil {
			message = []byte(test.first(string(message)))
		}
		answer, done, err := x.Next(message)
		if test.first != nil {
			if !errors.Is(err, ErrRefused) || done {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_, message, err = session.Challenge(answer)
		if err != nil {
			t.Fatal(err)
		}
		if _, done, err = x.Next([]byte(test.final(string(message)))); !errors.Is(err, ErrRefused) || done {
			t.Errorf("%s: %v", name, err)
		}
		// What would have been right does not help any more.
		if _, done, err = x.Next(message); err == nil || done {
			t.Errorf("%s: then the true message is taken", name)
		}
	}
}

// TestARecordedExchangeIsWorthless: the messages of one exchange do not pass in
// another.
func TestARecordedExchangeIsWorthless(t *testing.T) {
	s := testServer(t)
	session, first, err := scram.Auth{User: "ann", Pass: "secret"}.AsSha256Mechanism().Authenticate(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	one, _ := s.Start(SCRAM256)
	answer, _, err := one.Next(first)
	if err != nil {
		t.Fatal(err)
	}
	_, final, err := session.Challenge(answer)
	if err != nil {
		t.Fatal(err)
	}
	if _, done, err := one.Next(final); err != nil || !done {
		t.Fatal(err)
	}
	two, _ := s.Start(SCRAM256)
	if _, _, err := two.Next(first); err != nil {
		t.Fatal(err)
	}
	if _, done, err := two.Next(final); !errors.Is(err, ErrRefused) || done {
		t.Errorf("replayed: %v", err)
	}
}

// TestNonceTwice: librdkafka before 2.6.1 writes its part of the nonce twice.
func TestNonceTwice(t *testing.T) {
	s := testServer(t)
	x, err := s.Start(SCRAM256)
	if err != nil {
		t.Fatal(err)
	}
	answer, _, err := x.Next([]byte("n,,n=ann,r=abc"))
	if err != nil {
		t.Fatal(err)
	}
	salted, err := pbkdf2.Key(sha256.New, "secret", []byte("some salt"), MinIterations, 32)
	if err != nil {
		t.Fatal(err)
	}
	key := sum(sha256.New, salted, "Client Key")
	stored := sha256.Sum256(key)
	final := func(nonce string) []byte {
		without := "c=biws,r=" + nonce
		signature := sum(sha256.New, stored[:], "n=ann,r=abc,"+string(answer)+","+without)
		proof := make([]byte, len(key))
		for i := range key {
			proof[i] = key[i] ^ signature[i]
		}
		return []byte(without + ",p=" + base64.StdEncoding.EncodeToString(proof))
	}
	if _, done, err := x.Next(final("abcabcnonce1")); err != nil || !done {
		t.Errorf("%v, %v", done, err)
	}
	// A nonce that the server did not choose is refused, even signed by who knows
	// the password.
	for _, nonce := range []string{"abc", "", "abcnonce1", "nonce1", "abcnonce2x", "xabcnonce2"} {
		x, err := s.Start(SCRAM256)
		if err != nil {
			t.Fatal(err)
		}
		if answer, _, err = x.Next([]byte("n,,n=ann,r=abc")); err != nil {
			t.Fatal(err)
		}
		if _, done, err := x.Next(final(nonce)); !errors.Is(err, ErrRefused) || done {
			t.Errorf("nonce %q: %v", nonce, err)
		}
	}
}

func TestCredentialsAreNotPrinted(t *testing.T) {
	c, err := FromPassword(SCRAM256, []byte("secret"), []byte("pepper"), MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, c); text != "credential of 4096 iterations" {
			t.Errorf("%s prints %q", verb, text)
		}
	}
}

type signer struct {
	id  string
	alg jose.SignatureAlgorithm
	key any
}

func (s signer) token(t *testing.T, claims map[string]any) string {
	t.Helper()
	opts := (&jose.SignerOptions{}).WithType("JWT")
	if s.id != "" {
		opts = opts.WithHeader("kid", s.id)
	}
	sig, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: s.key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(sig).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTokens(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	otherKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{KeyID: "rsa", Key: &rsaKey.PublicKey, Algorithm: "RS256"}, {KeyID: "ec", Key: &ecKey.PublicKey}}}
	text, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_700_000_000, 0)
	tokens, err := NewTokens(TokenConfig{Keys: file, Issuer: "https://issuer", Audience: "kafka", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	server := testServer(t)
	server.Tokens = tokens
	good := func(change func(map[string]any)) map[string]any {
		c := map[string]any{"iss": "https://issuer", "aud": []string{"kafka", "x"}, "sub": "ann", "exp": now.Add(time.Hour).Unix()}
		if change != nil {
			change(c)
		}
		return c
	}
	ec, rs := signer{"ec", jose.ES256, ecKey}, signer{"rsa", jose.RS256, rsaKey}
	for name, test := range map[string]struct {
		token string
		why   string // it is refused; empty if it is not
	}{
		"ec":               {ec.token(t, good(nil)), ""},
		"rsa":              {rs.token(t, good(nil)), ""},
		"no key id":        {signer{"", jose.ES256, ecKey}.token(t, good(nil)), ""},
		"a little late":    {ec.token(t, good(func(c map[string]any) { c["exp"] = now.Add(-10 * time.Second).Unix() })), ""},
		"expired":          {ec.token(t, good(func(c map[string]any) { c["exp"] = now.Add(-time.Minute).Unix() })), "the token expired 1m0s ago"},
		"never expires":    {ec.token(t, good(func(c map[string]any) { delete(c, "exp") })), "the token never expires"},
		"not yet":          {ec.token(t, good(func(c map[string]any) { c["nbf"] = now.Add(time.Minute).Unix() })), "the token is not valid yet; are the clocks right?"},
		"another issuer":   {ec.token(t, good(func(c map[string]any) { c["iss"] = "https://other" })), "the token is not of the issuer \"https://issuer\""},
		"no issuer":        {ec.token(t, good(func(c map[string]any) { delete(c, "iss") })), "the token is not of the issuer \"https://issuer\""},
		"another audience": {ec.token(t, good(func(c map[string]any) { c["aud"] = "shop" })), "the token is not for the audience \"kafka\""},
		"no audience":      {ec.token(t, good(func(c map[string]any) { delete(c, "aud") })), "the token is not for the audience \"kafka\""},
		"nobody":           {ec.token(t, good(func(c map[string]any) { delete(c, "sub") })), "the token names nobody in its claim \"sub\""},
		"unknown key":      {signer{"new", jose.ES256, otherKey}.token(t, good(nil)), "the token is signed with a key that is not among those known"},
		"forged":           {signer{"ec", jose.ES256, otherKey}.token(t, good(nil)), "the token has a signature that is wrong, or claims that cannot be read"},
		"HMAC of the key":  {signer{"rsa", jose.HS256, text}.token(t, good(nil)), "the token is no JWT, or is not signed with a public key"},
		"wrong algorithm":  {signer{"rsa", jose.PS256, rsaKey}.token(t, good(nil)), "the token is signed with a key that is not among those known"},
		"unsigned":         {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(ec.token(t, good(nil)), ".")[1] + ".", "the token is no JWT, or is not signed with a public key"},
		"no token":         {"x", "the token is no JWT, or is not signed with a public key"},
	} {
		x, err := converse(t, server, oauth.Auth{Token: test.token}.AsMechanism())
		if (err == nil) != (test.why == "") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if test.why == "" {
			if user, expires := x.User(); user != "ann" || expires.IsZero() {
				t.Errorf("%s: %q until %v", name, user, expires)
			}
		} else if _, _, err := tokens.Check(test.token); !errors.Is(err, ErrRefused) || Reason(err) != test.why {
			t.Errorf("%s: refused with %v, want %q", name, err, test.why)
		}
	}
	// The error is told with a message, and then the exchange is over.
	x, err := server.Start(OAuthBearer)
	if err != nil {
		t.Fatal(err)
	}
	answer, done, err := x.Next([]byte("n,,\x01auth=Bearer x\x01\x01"))
	if err != nil || done || string(answer) != `{"status":"invalid_token"}` {
		t.Errorf("answer %q, %v, %v", answer, done, err)
	}
	if _, done, err := x.Next([]byte{1}); !errors.Is(err, ErrRefused) || done {
		t.Errorf("then %v, %v", done, err)
	}
}

// TestKeysAreReadAgain: a token of a key that is not known makes the keys be read
// again, but not with every token; and they come over HTTP.
func TestKeysAreReadAgain(t *testing.T) {
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{KeyID: "old", Key: &ecKey.PublicKey}}}
	reads := 0
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reads++
		if err := json.NewEncoder(w).Encode(keys); err != nil {
			t.Error(err)
		}
	}))
	defer web.Close()
	now := time.Unix(1_700_000_000, 0)
	tokens, err := NewTokens(TokenConfig{Keys: web.URL, Issuer: "i", Audience: "a", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{"iss": "i", "aud": "a", "sub": "ann", "exp": now.Add(time.Hour).Unix()}
	token := signer{"new", jose.ES256, ecKey}.token(t, claims)
	for range 3 {
		if _, _, err := tokens.Check(token); err == nil {
			t.Fatal("an unknown key is taken")
		}
	}
	if reads != 1 {
		t.Errorf("keys read %d times at once", reads)
	}
	keys.Keys[0].KeyID = "new"
	now = now.Add(11 * time.Second)
	if _, _, err := tokens.Check(token); err != nil || reads != 2 {
		t.Errorf("with the new key: %v, read %d times", err, reads)
	}
	for name, cfg := range map[string]TokenConfig{
		"no keys": {Issuer: "i", Audience: "a"}, "no issuer": {Keys: web.URL, Audience: "a"}, "no audience": {Keys: web.URL, Issuer: "i"},
		"plain http": {Keys: "http://example.com/keys", Issuer: "i", Audience: "a"}, "no file": {Keys: "/nonexistent", Issuer: "i", Audience: "a"},
	} {
		if _, err := NewTokens(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// FuzzExchange feeds any messages to every mechanism: nobody gets in.
func FuzzExchange(f *testing.F) {
	f.Add(uint8(0), []byte("\x00ann\x00x"), []byte{})
	f.Add(uint8(1), []byte("n,,n=ann,r=x"), []byte("c=biws,r=xnonce1,p=AAAA"))
	f.Add(uint8(3), []byte("n,,\x01auth=Bearer a.b.c\x01\x01"), []byte{1})
	s := testServer(f)
	s.Tokens = &Tokens{cfg: TokenConfig{Issuer: "i", Audience: "a", UserClaim: "sub", Now: time.Now, Keys: "/nonexistent"}}
	f.Fuzz(func(t *testing.T, which uint8, first, second []byte) {
		mechanism := Mechanisms[int(which)%len(Mechanisms)]
		x, err := s.Start(mechanism)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range [][]byte{first, second} {
			_, done, err := x.Next(m)
			if done && !strings.Contains(string(m), "secret") {
				t.Fatalf("%s let %q in", mechanism, m)
			}
			if err != nil {
				return
			}
		}
	})
}

// TestMadeUpTokensHoldNobodyUp: while keys cannot be read, a token of a key that is
// not known waits, and has them read again once in a while; one of a key that is known
// does not wait, however old the keys are.
func TestMadeUpTokensHoldNobodyUp(t *testing.T) {
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{KeyID: "known", Key: &ecKey.PublicKey}}})
	if err != nil {
		t.Fatal(err)
	}
	var broken atomic.Bool
	entered, hold := make(chan struct{}, 100), make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !broken.Load() {
			_, _ = w.Write(keys)
			return
		}
		entered <- struct{}{}
		<-hold
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer web.Close()
	free := sync.OnceFunc(func() { close(hold) })
	defer free()
	start := time.Unix(1_700_000_000, 0)
	var ahead atomic.Int64
	now := func() time.Time { return start.Add(time.Duration(ahead.Load())) }
	tokens, err := NewTokens(TokenConfig{Keys: web.URL, Issuer: "i", Audience: "a", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{"iss": "i", "aud": "a", "sub": "ann", "exp": start.Add(24 * time.Hour).Unix()}
	known, junk := signer{"known", jose.ES256, ecKey}.token(t, claims), signer{"junk", jose.ES256, ecKey}.token(t, claims)
	broken.Store(true)
	ahead.Store(int64(time.Minute))
	refused := make(chan error, 5)
	for range cap(refused) {
		go func() {
			_, _, err := tokens.Check(junk)
			refused <- err
		}()
	}
	<-entered
	for _, age := range []time.Duration{time.Minute, 2 * time.Hour} {
		ahead.Store(int64(age))
		checked := make(chan error, 1)
		go func() {
			_, _, err := tokens.Check(known)
			checked <- err
		}()
		select {
		case err := <-checked:
			if err != nil {
				t.Errorf("keys of %v ago: %v", age, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("keys of %v ago: a token of a known key waits for others", age)
		}
	}
	free()
	for range cap(refused) {
		if err := <-refused; !errors.Is(err, ErrRefused) {
			t.Errorf("a made-up token: %v", err)
		}
	}
	for len(entered) > 0 { // one that began late has had them read once more
		<-entered
	}
	for range 5 {
		ahead.Add(int64(11 * time.Second))
		for range 5 {
			if _, _, err := tokens.Check(junk); !errors.Is(err, ErrRefused) {
				t.Errorf("a made-up token: %v", err)
			}
		}
	}
	if n := len(entered); n != 5 {
		t.Errorf("keys read %d times in five times eleven seconds", n)
	}
}
