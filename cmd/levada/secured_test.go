package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// house is an authority that signs certificates and tokens, and the folder of their files.
type house struct {
	t       *testing.T
	dir, ca string
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir()}
	h.ca, _ = h.issue("authority", "Levada")
	return h
}

// issue makes a certificate for a subject, and its key.
func (h *house) issue(name, organization string) (cert, key string) {
	h.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, Organization: []string{organization}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	parent, signer := h.cert, h.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid = true, true
		parent, signer, h.key = template, private, private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	if err != nil {
		h.t.Fatal(err)
	}
	if h.cert == nil {
		if h.cert, err = x509.ParseCertificate(der); err != nil {
			h.t.Fatal(err)
		}
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		h.t.Fatal(err)
	}
	cert, key = filepath.Join(h.dir, name+".pem"), filepath.Join(h.dir, name+".key")
	writeFile(h.t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(h.t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	return cert, key
}

// keys writes the set of keys that the house's tokens are checked with.
func (h *house) keys() string {
	h.t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: crypto.PublicKey(&h.key.PublicKey), KeyID: "k", Algorithm: "ES256"}}})
	if err != nil {
		h.t.Fatal(err)
	}
	name := filepath.Join(h.dir, "keys.json")
	writeFile(h.t, name, string(text))
	return name
}

// token signs one that is valid for so long.
func (h *house) token(user, issuer, audience string, valid time.Duration) string {
	h.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: h.key, KeyID: "k"}}, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(jwt.Claims{Subject: user, Issuer: issuer, Audience: jwt.Audience{audience}, Expiry: jwt.NewNumericDate(time.Now().Add(valid))}).Serialize()
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

// start starts a server with the house's certificate where only User:admin may
// do anything.
func (h *house) start(scheme string, flags ...string) string {
	h.t.Helper()
	cert, key := h.issue("server", "Levada")
	args := []string{"server", "--data", filepath.Join(h.dir, "data"), "--listen", scheme + "://127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, "--authorize", "--super-user", "User:admin", "--output", "json"}
	return startCommand(h.t, exec.Command(binary, append(args, flags...)...)).address
}

// give makes, as the administrator, the topic orders, which ann may read and write.
func give(t *testing.T, admin []string) {
	t.Helper()
	mustLevada(t, "", append([]string{"topic", "create", "orders", "-p", "1"}, admin...)...)
	mustLevada(t, "", append([]string{"acl", "create", "--allow", "User:ann", "--operation", "read,write", "--topic", "orders"}, admin...)...)
	mustLevada(t, "", append([]string{"acl", "create", "--allow", "User:ann", "--operation", "read", "--group", "orders"}, admin...)...)
}

// writesAndReads produces a record and reads it back.
func writesAndReads(t *testing.T, what string, settings []string) {
	t.Helper()
	mustLevada(t, what+"\n", append([]string{"topic", "produce", "orders"}, settings...)...)
	if out := mustLevada(t, "", append([]string{"topic", "consume", "orders", "--format", `%v\n`}, settings...)...); !strings.HasSuffix(out, what+"\n") {
		t.Errorf("%s: read %q", what, out)
	}
}

// refused is a command that must fail and say how to mend that, without a secret.
func refused(t *testing.T, what string, settings []string, wants ...string) {
	t.Helper()
	out := levada(t, "x\n", append([]string{"topic", "produce", "orders", "--timeout", "5s"}, settings...)...)
	if out.code != exitInput || strings.Contains(out.stderr, "wrong-password") || strings.Contains(out.stderr, "eyJ") {
		t.Errorf("%s: exit %d\n%s", what, out.code, out.stderr)
	}
	for _, want := range wants {
		if !strings.Contains(out.stderr, want) {
			t.Errorf("%s: no %q in\n%s", what, want, out.stderr)
		}
	}
}

// x are settings, each after its -X.
func x(settings ...string) []string {
	var out []string
	for _, s := range settings {
		out = append(out, "-X", s)
	}
	return out
}

// peer runs a program of others, if it is there, with an input, and returns what it
// printed.
func peer(t *testing.T, stdin, program string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed: make deps installs it", program)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestMutualTLS: the name in a client's certificate, as the rules map it, has the rights
// that it was given; a client without one that counts is told so.
func TestMutualTLS(t *testing.T) {
	needsE2E(t)
	t.Setenv("LEVADA_PROFILES", filepath.Join(t.TempDir(), "profiles.json"))
	h, other := newHouse(t), newHouse(t)
	address := h.start("tls", "--tls-client-ca", h.ca, "--tls-client-required", "--principal-rules", `RULE:^CN=(.*?),O=Levada$/$1/L`)
	as := func(h *house, ca, name, organization string) []string {
		cert, key := h.issue(name, organization)
		return x("brokers="+address, "tls.ca="+ca, "tls.cert="+cert, "tls.key="+key)
	}
	give(t, as(h, h.ca, "Admin", "Levada"))
	ann := as(h, h.ca, "Ann", "Levada")
	writesAndReads(t, "by settings", ann)
	mustLevada(t, "", append([]string{"profile", "set", "ann"}, ann...)...)
	mustLevada(t, "", "profile", "use", "-")
	writesAndReads(t, "by a profile", []string{"--profile", "ann"})
	refused(t, "without the right", as(h, h.ca, "Bob", "Levada"), "--operation write --topic orders")
	refused(t, "a name that no rule takes", as(h, h.ca, "Admin", "Elsewhere"), "--principal-rules")
	refused(t, "no certificate", x("brokers="+address, "tls.ca="+h.ca), "-X tls.cert=FILE -X tls.key=FILE")
	refused(t, "a certificate of another authority", as(other, h.ca, "Ann", "Levada"), "-X tls.cert=FILE -X tls.key=FILE")
	refused(t, "another authority", as(h, other.ca, "Ann", "Levada"), "-X tls.ca=FILE")
	t.Run("kcat", func(t *testing.T) {
		settings := []string{"-b", address, "-t", "orders", "-X", "security.protocol=ssl", "-X", "ssl.ca.location=" + h.ca, "-X", "ssl.certificate.location=" + filepath.Join(h.dir, "Ann.pem"), "-X", "ssl.key.location=" + filepath.Join(h.dir, "Ann.key")}
		peer(t, "by kcat\n", "kcat", append(settings, "-P")...)
		if out := peer(t, "", "kcat", append(settings, "-C", "-e", "-q")...); !strings.HasSuffix(out, "by kcat\n") {
			t.Errorf("kcat printed %q", out)
		}
	})
}

// TestSASLOverTLS: passwords and tokens let in by every mechanism, over TLS; what is wrong
// with one is said.
func TestSASLOverTLS(t *testing.T) {
	needsE2E(t)
	t.Setenv("LEVADA_PROFILES", filepath.Join(t.TempDir(), "profiles.json"))
	h, other := newHouse(t), newHouse(t)
	users := filepath.Join(h.dir, "users")
	writeFile(t, users, "admin:adminpass\nann:annpass\nbob:bobpass\n")
	address := h.start("sasl+tls", "--users", users, "--sasl", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
		"--oauth-keys", h.keys(), "--oauth-issuer", "https://issuer", "--oauth-audience", "levada")
	with := func(settings ...string) []string {
		return x(append([]string{"brokers=" + address, "tls.ca=" + h.ca}, settings...)...)
	}
	give(t, with("user=admin", "pass=adminpass"))
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		ann := with("sasl.mechanism="+mechanism, "user=ann", "pass=annpass")
		writesAndReads(t, "by "+mechanism, ann)
		mustLevada(t, "", append([]string{"profile", "set", "ann"}, ann...)...)
		mustLevada(t, "", "profile", "use", "-")
		writesAndReads(t, "by a profile with "+mechanism, []string{"--profile", "ann"})
		refused(t, mechanism, with("sasl.mechanism="+mechanism, "user=ann", "pass=wrong-password"), "the credentials are not valid", "LEVADA_PASS")
	}
	good := h.token("ann", "https://issuer", "levada", time.Hour)
	writesAndReads(t, "by token", with("token="+good))
	mustLevada(t, "", append([]string{"profile", "set", "token"}, with("token="+good)...)...)
	writesAndReads(t, "by a profile with a token", []string{"--profile", "token"})
	for what, token := range map[string]string{
		"another audience": h.token("ann", "https://issuer", "other", time.Hour),
		"another issuer":   h.token("ann", "https://other", "levada", time.Hour),
		"an old token":     h.token("ann", "https://issuer", "levada", -time.Hour),
		"another's token":  other.token("ann", "https://issuer", "levada", time.Hour),
	} {
		refused(t, what, with("token="+token), "the credentials are not valid", "LEVADA_TOKEN")
	}
	refused(t, "a token without the right", with("token="+h.token("bob", "https://issuer", "levada", time.Hour)), "--operation write --topic orders")
	refused(t, "another authority", x("brokers="+address, "tls.ca="+other.ca, "user=ann", "pass=annpass"), "-X tls.ca=FILE")
	refused(t, "no TLS", x("brokers="+address, "user=ann", "pass=annpass"), "-X tls.enabled=true")
	t.Run("kcat", func(t *testing.T) {
		settings := []string{"-b", address, "-t", "orders", "-X", "security.protocol=sasl_ssl", "-X", "ssl.ca.location=" + h.ca, "-X", "sasl.mechanism=SCRAM-SHA-512", "-X", "sasl.username=ann", "-X", "sasl.password=annpass"}
		peer(t, "by kcat\n", "kcat", append(settings, "-P")...)
		if out := peer(t, "", "kcat", append(settings, "-C", "-e", "-q")...); !strings.HasSuffix(out, "by kcat\n") {
			t.Errorf("kcat printed %q", out)
		}
	})
	t.Run("confluent", func(t *testing.T) {
		const python = "/usr/bin/python3" // Debian's, which has Debian's packages
		if exec.Command(python, "-c", "import confluent_kafka").Run() != nil {
			t.Skip("python3-confluent-kafka is not installed: make deps installs it")
		}
		if out := peer(t, "", python, "testdata/oauth.py", address, h.ca, good); out != "by confluent\n" {
			t.Errorf("it printed %q", out)
		}
	})
}
