package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
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
	cert, key := certificate(t, dir)
	users := filepath.Join(dir, "users")
	writeFile(t, users, "admin:adminpass\n")
	secured := func(scheme string) string {
		cmd := exec.Command(binary, "server", "--data", filepath.Join(dir, scheme), "--listen", scheme+"://127.0.0.1:0", "--users", users, "--tls-cert", cert, "--tls-key", key, "--output", "json")
		return startCommand(t, cmd).address
	}
	sasl, encrypted := secured("sasl"), secured("tls")
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
		"no credentials":               {[]string{"-b", sasl}, exitInput, []string{"-X user=NAME", "LEVADA_PASS", "SCRAM-SHA-256, SCRAM-SHA-512"}},
		"a wrong password":             {[]string{"-b", sasl, "-X", "user=admin", "-X", "pass=wrong"}, exitInput, []string{"LEVADA_PASS"}},
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

// certificate makes one for 127.0.0.1, which is its own authority.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
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
