package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAdviceFitsTheFault: a broker runs, or not, and what is wrong with how it is
// called is said with the setting that mends it.
func TestAdviceFitsTheFault(t *testing.T) {
	dir := t.TempDir()
	plain := startServer(t, filepath.Join(dir, "plain"), "127.0.0.1:0").address
	cert, key := certificate(t, dir, time.Hour)
	late := filepath.Join(dir, "late")
	if err := os.Mkdir(late, 0o700); err != nil {
		t.Fatal(err)
	}
	lateCert, lateKey := certificate(t, late, -time.Minute)
	users := filepath.Join(dir, "users")
	writeFile(t, users, "admin:adminpass\n")
	secured := func(name, scheme, cert, key string, more ...string) string {
		args := []string{"server", "--data", filepath.Join(dir, name), "--listen", scheme + "://127.0.0.1:0", "--users", users, "--tls-cert", cert, "--tls-key", key, "--output", "json"}
		return startCommand(t, exec.Command(binary, append(args, more...)...)).address
	}
	sasl, encrypted := secured("sasl", "sasl", cert, key), secured("tls", "tls", cert, key)
	keys := filepath.Join(dir, "keys")
	writeFile(t, keys, `{"keys":[{"kty":"EC","crv":"P-256","kid":"e1","x":"6jvpZPpwBCbYxdtVB760zKfURyhbjDqG2JkSDEPzwtA","y":"fceczdbFVDN6eTi5ji4QGuWA-EOVYeTMXWT3-oNQmXY","alg":"ES256"}]}`)
	tokens := secured("tokens", "sasl", cert, key, "--sasl", "OAUTHBEARER", "--oauth-keys", keys, "--oauth-issuer", "i", "--oauth-audience", "a")
	expired, mutual := secured("expired", "tls", lateCert, lateKey), secured("mutual", "tls", cert, key, "--tls-client-ca", cert, "--tls-client-required")
	for name, c := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"TLS to a plain port":          {[]string{"-b", plain, "-X", "tls.enabled=true"}, exitInput, []string{plain, "-X tls.enabled=false"}},
		"SASL to a plain port":         {[]string{"-b", plain, "-X", "user=a", "-X", "pass=b"}, exitInput, []string{plain, "-X user="}},
		"TLS missing":                  {[]string{"-b", encrypted}, exitInput, []string{"-X tls.enabled=true", "-X tls.ca=FILE"}},
		"an authority nobody knows":    {[]string{"-b", encrypted, "-X", "tls.enabled=true"}, exitInput, []string{"-X tls.ca=FILE"}},
		"a name that it does not have": {[]string{"-b", encrypted, "-X", "tls.ca=" + cert, "-X", "tls.server_name=elsewhere"}, exitInput, []string{"-X tls.server_name=NAME"}},
		"a certificate of the past":    {[]string{"-b", expired, "-X", "tls.ca=" + lateCert}, exitEnvironment, []string{"expired", "another certificate"}},
		"no certificate of its own":    {[]string{"-b", mutual, "-X", "tls.ca=" + cert}, exitInput, []string{"-X tls.cert=FILE -X tls.key=FILE"}},
		"no credentials":               {[]string{"-b", sasl}, exitInput, []string{"-X user=NAME", "LEVADA_PASS", "SCRAM-SHA-256, SCRAM-SHA-512"}},
		"a wrong password":             {[]string{"-b", sasl, "-X", "user=admin", "-X", "pass=wrong"}, exitInput, []string{"LEVADA_PASS"}},
		"a token of nobody":            {[]string{"-b", tokens, "-X", "token=e30.e30.x"}, exitInput, []string{"the credentials are not valid", "LEVADA_TOKEN"}},
		"a mechanism not offered":      {[]string{"-b", sasl, "-X", "user=admin", "-X", "pass=b", "-X", "sasl.mechanism=PLAIN"}, exitInput, []string{"SCRAM-SHA-256, SCRAM-SHA-512", "-X sasl.mechanism="}},
		"no time":                      {[]string{"-b", plain, "--timeout", "0"}, exitInput, []string{"--timeout 0s", "positive"}},
		"a port that cannot be":        {[]string{"-b", "127.0.0.1:99999"}, exitInput, []string{"127.0.0.1:99999", "65535"}},
		"a host that cannot be":        {[]string{"-b", "nowhere.invalid:9092"}, exitEnvironment, []string{"nowhere.invalid", "cannot be found"}},
		"no such file":                 {[]string{"-b", plain, "-X", "tls.ca=/nope"}, exitInput, []string{"tls.ca", "/nope"}},
		"nobody there":                 {[]string{"-b", "127.0.0.1:1"}, exitEnvironment, []string{"127.0.0.1:1", "levada server --data DIR"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := levada(t, "", append([]string{"topic", "list", "--timeout", "2s"}, c.args...)...)
			if out.code != c.code {
				t.Errorf("exit %d, want %d", out.code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(out.stderr, want) {
					t.Errorf("no %q in %s", want, out.stderr)
				}
			}
			if starts := strings.Contains(out.stderr, "levada server"); starts != (name == "nobody there") || strings.Contains(out.stderr, "logclient") {
				t.Errorf("advice that does not fit: %s", out.stderr)
			}
		})
	}
}

// certificate makes one for 127.0.0.1, which is its own authority, valid for so long
// from now on.
func certificate(t *testing.T, dir string, valid time.Duration) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeFile(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	return cert, key
}
