package logbroker

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/levada/levada/logbroker/sasl"
)

// TestSecretsAreNowhere: passwords, right and wrong, tokens and salted passwords are
// in no line of the log, no answer to any request of an administrator, nothing that
// prints the configuration, and no file.
func TestSecretsAreNowhere(t *testing.T) {
	const password, wrong, token, salted = "canary-password-7f3a", "canary-wrong-91bc", "canary.token.55de", "canary-salted-password-of-32-byte"
	log, dir := &syncBuffer{}, filepath.Join(t.TempDir(), "data")
	keys := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(keys, []byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"e1","x":"6jvpZPpwBCbYxdtVB760zKfURyhbjDqG2JkSDEPzwtA","y":"fceczdbFVDN6eTi5ji4QGuWA-EOVYeTMXWT3-oNQmXY","alg":"ES256"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	security := Security{
		Users: map[string]Password{"ann": password}, SuperUsers: []string{"User:ann"}, Authorize: true,
		Tokens: sasl.TokenConfig{Keys: keys, Issuer: "i", Audience: "a"},
	}
	cfg := Config{Dir: dir, Security: security, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	b, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- b.ServeListener(ln, Listener{SASL: []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"}, PlainUnencrypted: true})
	}()
	var seen bytes.Buffer // all that anybody is told
	addr := ln.Addr().String()
	for _, user := range []string{"ann", "bob"} {
		for _, secret := range []string{password, wrong} {
			fmt.Fprintln(&seen, login(t, addr, kgo.SASL(plain.Auth{User: user, Pass: secret}.AsMechanism())))
			fmt.Fprintln(&seen, login(t, addr, kgo.SASL(scram.Auth{User: user, Pass: secret}.AsSha256Mechanism())))
		}
	}
	fmt.Fprintln(&seen, login(t, addr, kgo.SASL(oauth.Auth{Token: token}.AsMechanism())))
	w := dialWire(t, addr) // which hears the refusal out, unlike the library
	fmt.Fprintln(&seen, w.handshake(1, "OAUTHBEARER"))
	for _, message := range []string{"n,,\x01auth=Bearer " + token + "\x01\x01", "\x01"} {
		req := kmsg.NewPtrSASLAuthenticateRequest()
		req.Version, req.SASLAuthBytes = 2, []byte(message)
		resp, err := w.call(req)
		fmt.Fprintf(&seen, "%v\n", err)
		if err == nil {
			seen.Write(resp.AppendTo(nil))
		}
	}
	if !strings.Contains(seen.String(), "invalid_token") {
		t.Error("the token did not get to the broker")
	}
	upsert := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	u := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
	u.Name, u.Mechanism, u.Iterations, u.Salt, u.SaltedPassword = "carl", 1, 4096, []byte("salt"), []byte(salted)
	bad := u
	bad.Iterations = 1
	bad.Name = "dora"
	upsert.Upsertions = append(upsert.Upsertions, u, bad)
	fmt.Fprintf(&seen, "%+v\n", wait[*kmsg.AlterUserSCRAMCredentialsResponse](b, upsert))
	for key, h := range b.handlers {
		if kmsg.Key(key) == kmsg.Produce || kmsg.Key(key) == kmsg.SASLAuthenticate {
			continue
		}
		for v := h.min; v <= h.max; v++ {
			req := kmsg.RequestForKey(key)
			req.SetVersion(v)
			seen.Write(wait[kmsg.Response](b, req).AppendTo(nil))
			name(rand.New(rand.NewPCG(uint64(key), uint64(v))), reflect.ValueOf(req).Elem(), [16]byte{1})
			if f, ok := req.(*kmsg.FetchRequest); ok {
				f.SessionEpoch = noSessionEpoch
			}
			if kmsg.Key(key) != kmsg.JoinGroup { // it may wait
				seen.Write(wait[kmsg.Response](b, req).AppendTo(nil))
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		fmt.Fprintf(&seen, verb+"\n", cfg.Security)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	seen.WriteString(log.String())
	if !strings.Contains(seen.String(), "carl") || !strings.Contains(log.String(), "authentication") {
		t.Error("the test looks at nothing")
	}
	err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		seen.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{password, wrong, token, salted} {
		for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret)), fmt.Sprint([]byte(secret))} {
			if at := strings.Index(seen.String(), form); at >= 0 {
				t.Errorf("%q is told: …%q…", form, seen.String()[max(0, at-60):at+len(form)])
			}
		}
	}
}
