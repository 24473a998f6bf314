package sasl

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// proven authenticates ann, who knows her password, with a header of her choice, and
// another that she says in the end that it was.
func proven(t *testing.T, header, said string) error {
	t.Helper()
	x, err := testServer(t).Start(SCRAM256)
	if err != nil {
		t.Fatal(err)
	}
	const bare = "n=ann,r=abc"
	answer, _, err := x.Next([]byte(header + bare))
	if err != nil {
		return err
	}
	nonce, _, _ := strings.Cut(string(answer), ",")
	salted, err := pbkdf2.Key(sha256.New, "secret", []byte("some salt"), MinIterations, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	key := mac(salted, "Client Key")
	stored := sha256.Sum256(key)
	without := "c=" + base64.StdEncoding.EncodeToString([]byte(said)) + "," + nonce
	subtle.XORBytes(key, key, mac(stored[:], bare+","+string(answer)+","+without))
	_, done, err := x.Next([]byte(without + ",p=" + base64.StdEncoding.EncodeToString(key)))
	if err == nil && !done {
		t.Fatal("the exchange goes on")
	}
	return err
}

// TestTheHeaderIsThatOfTheBeginning: the right password does not help who says that the
// exchange began otherwise, as somebody on the way would have changed it, nor who wants
// to be another user.
func TestTheHeaderIsThatOfTheBeginning(t *testing.T) {
	for _, test := range []struct {
		header, said string
		ok           bool
	}{
		{"n,,", "n,,", true},
		{"y,,", "y,,", true},
		{"n,a=ann,", "n,a=ann,", true},
		{"n,,", "y,,", false},
		{"y,,", "n,,", false},
		{"n,,", "p=tls-unique,,", false},
		{"n,,", "n,a=ann,", false},
		{"n,a=admin,", "n,a=admin,", false},
		{"n,a=admin,", "n,,", false},
		{"p=tls-unique,,", "p=tls-unique,,", false},
	} {
		if err := proven(t, test.header, test.said); (err == nil) != test.ok || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%q, said to be %q: %v", test.header, test.said, err)
		}
	}
}

// TestKeysThatAreNotTaken: keys that are secret, too many bytes of them, and those of
// another place than was named.
func TestKeysThatAreNotTaken(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	set := func(key any) []byte {
		b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: "k"}}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := set(private.Public())
	var web *httptest.Server
	web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, web.URL+"/keys", http.StatusFound)
			return
		}
		_, _ = w.Write(good)
	}))
	defer web.Close()
	file := func(b []byte) string {
		path := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for keys, want := range map[string]string{
		file(good): "", web.URL + "/keys": "",
		web.URL + "/moved": "redirected",
		file(set(private)): "no public key",
		file(set([]byte("symmetric, as it is known to all"))):       "no public key",
		file(append(good, []byte(strings.Repeat(" ", maxKeys))...)): "more than",
	} {
		_, err := NewTokens(TokenConfig{Keys: keys, Issuer: "i", Audience: "a"})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", keys, err, want)
		}
	}
}
