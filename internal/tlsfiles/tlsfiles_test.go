package tlsfiles

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// write makes a certificate that signed itself, and its key.
func write(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	err = errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// shown is the name in the certificate that a client is shown.
func shown(t *testing.T, server *tls.Config) string {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() { done <- tls.Server(a, server).Handshake() }()
	client := tls.Client(b, &tls.Config{InsecureSkipVerify: true})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return client.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// TestFilesAreFollowed: a new certificate is shown without a restart, a broken one
// is not.
func TestFilesAreFollowed(t *testing.T) {
	dir := t.TempDir()
	cert, key := write(t, dir, "first")
	now := time.Now()
	config, err := Server(Files{Cert: cert, Key: key, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		now = now.Add(2 * lookEvery)
		if got := shown(t, config); got != want {
			t.Errorf("shows %q, want %q", got, want)
		}
	}
	expect("first")
	write(t, dir, "the second")
	expect("the second")
	if err := os.WriteFile(cert, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect("the second")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	expect("the second")
	write(t, dir, "number three")
	expect("number three")
}

// meet lets a client and a server shake hands, and returns what the client has of it.
func meet(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := ln.Accept(); err == nil {
			_, _ = c.Write([]byte("x"))
			_, _ = io.Copy(io.Discard, c) // a close with more to read would take the alert back
			_ = c.Close()
		}
	}()
	defer func() { _ = ln.Close(); <-done }()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	c := tls.Client(raw, client)
	_, err = io.ReadFull(c, make([]byte, 1))
	return c.ConnectionState(), err
}

// TestOldVersions: TLS below 1.2 is refused by the configuration that is made of the
// files, too, for it is the one that counts.
func TestOldVersions(t *testing.T) {
	cert, key := write(t, t.TempDir(), "one")
	config, err := Server(Files{Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	of, err := config.GetConfigForClient(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	for name, server := range map[string]*tls.Config{"the first": config, "that of the files": of} {
		for version := uint16(tls.VersionTLS10); version <= tls.VersionTLS13; version++ {
			state, err := meet(t, server, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
			switch {
			case version >= tls.VersionTLS12 && (err != nil || state.Version != version):
				t.Errorf("%s, %s: %v", name, tls.VersionName(version), err)
			case version < tls.VersionTLS12 && (err == nil || err.Error() != "remote error: tls: protocol version not supported"):
				t.Errorf("%s, %s: %v", name, tls.VersionName(version), err)
			}
		}
	}
}

// TestAuthoritiesAreFollowed: the clients of new authorities get in without a restart, those
// of the old ones no more, not even to go on with a session; a broken file changes nothing.
func TestAuthoritiesAreFollowed(t *testing.T) {
	dir, authorities := t.TempDir(), filepath.Join(t.TempDir(), "clients.pem")
	cert, key := write(t, dir, "server")
	now := time.Now()
	pems, clients := map[string][]byte{}, map[string]*tls.Config{}
	for _, name := range []string{"ann", "bob"} {
		c, k := write(t, t.TempDir(), name)
		pair, err := tls.LoadX509KeyPair(c, k)
		if err != nil {
			t.Fatal(err)
		}
		if pems[name], err = os.ReadFile(c); err != nil {
			t.Fatal(err)
		}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			clients[name+" by "+tls.VersionName(version)] = &tls.Config{
				InsecureSkipVerify: true, ServerName: "server", ClientSessionCache: tls.NewLRUClientSessionCache(4), MaxVersion: version,
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
			}
		}
	}
	change := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(authorities, content, 0o600); err != nil {
			t.Fatal(err)
		}
		now = now.Add(2 * lookEvery)
		if err := os.Chtimes(authorities, now, now); err != nil {
			t.Fatal(err)
		}
	}
	change(pems["ann"])
	config, err := Server(Files{Cert: cert, Key: key, ClientCA: authorities, ClientRequired: true, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what string, want ...string) {
		t.Helper()
		for name, client := range clients {
			_, err := meet(t, config, client)
			if in := slices.Contains(want, name[:3]); in != (err == nil) {
				t.Errorf("%s: %s: %v", what, name, err)
			}
			if state, err := meet(t, config, client); err == nil && !state.DidResume {
				t.Errorf("%s: %s has no session to go on with", what, name)
			}
		}
	}
	expect("the first", "ann")
	change([]byte("broken"))
	expect("a broken file", "ann")
	change(append(slices.Clone(pems["ann"]), pems["bob"]...))
	expect("both", "ann", "bob")
	change(pems["bob"])
	expect("another", "bob")
}

// TestFaultsAreSaidOnce: files that are missing or broken are in the log once for each change
// of them, however many clients come, and are read as soon as they can be.
func TestFaultsAreSaidOnce(t *testing.T) {
	dir := t.TempDir()
	cert, key := write(t, dir, "first")
	now := time.Now()
	var log bytes.Buffer
	config, err := Server(Files{Cert: cert, Key: key, Now: func() time.Time { return now }, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what, name string, errors, read int) {
		t.Helper()
		log.Reset()
		for range 3 {
			now = now.Add(2 * lookEvery)
			if got := shown(t, config); got != name {
				t.Errorf("%s: shows %q, want %q", what, got, name)
			}
		}
		if e, i := strings.Count(log.String(), "level=ERROR"), strings.Count(log.String(), "level=INFO"); e != errors || i != read {
			t.Errorf("%s: %d errors and %d times read, want %d and %d:\n%s", what, e, i, errors, read, &log)
		}
	}
	change := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	change(os.Rename(key, key+".away"))
	expect("a missing key", "first", 1, 0)
	change(os.Rename(cert, cert+".away"))
	expect("a missing certificate, too", "first", 1, 0)
	change(os.Rename(cert+".away", cert))
	change(os.Rename(key+".away", key))
	expect("the old ones", "first", 0, 0)
	change(os.Remove(key))
	expect("a missing key again", "first", 1, 0)
	change(os.WriteFile(key, []byte("broken"), 0o600))
	expect("a broken key", "first", 1, 0)
	change(os.WriteFile(key, []byte("broken otherwise"), 0o600))
	expect("another broken key", "first", 1, 0)
	write(t, dir, "the second")
	expect("new ones", "the second", 0, 1)
}

func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := write(t, dir, "one")
	for name, f := range map[string]Files{
		"no certificate": {Cert: filepath.Join(dir, "none"), Key: key},
		"no key":         {Cert: cert, Key: cert},
		"no authority":   {Cert: cert, Key: key, ClientCA: key},
		"required only":  {Cert: cert, Key: key, ClientRequired: true},
	} {
		if _, err := Server(f); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestPrincipalRules(t *testing.T) {
	const rules = `RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/, RULE:^CN=(.*?),O=(.*?),C=DE$/$1x@$2/L,RULE:CN=a\/b/slash/U,DEFAULT`
	for text, cases := range map[string]map[string]string{
		rules: {
			"CN=app,OU=ServiceUsers,O=X": "app", "CN=Ann,O=Levada,C=DE": "annx@levada", "CN=a/b": "SLASH", "CN=other": "CN=other",
		},
		"RULE:CN=(a)/$1/": {"CN=a": "a", "CN=ab": "", "xCN=a": ""}, // the whole name
		"":                {"CN=a": ""},
	} {
		mapper, err := PrincipalRules(text)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range cases {
			if got, err := mapper(name); got != want || (err != nil) != (want == "") {
				t.Errorf("%q of %q: %q, %v; want %q", name, text, got, err, want)
			}
		}
	}
	for _, bad := range []string{"CN=a", "RULE:a", "RULE:a/b", "RULE:(/b/", "RULE:a/b/X", "DEFAULT,x"} {
		if _, err := PrincipalRules(bad); err == nil || !strings.Contains(err.Error(), "principal rule") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
