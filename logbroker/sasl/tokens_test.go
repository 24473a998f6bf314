package sasl

import (
	"strings"
	"testing"
)

// TestKeysOverPlainHTTP: keys come over http from this machine only, however the URL is
// written to look like it.
func TestKeysOverPlainHTTP(t *testing.T) {
	for url, ok := range map[string]bool{
		"http://127.0.0.1:1/keys": true, "http://localhost:1/keys": true, "http://[::1]:1/keys": true, "http://127.0.0.1/keys": true,
		"HTTP://LOCALHOST:1/keys": true, "https://example.com:1/keys": true, "/etc/keys": true,
		"http://example.com/keys": false, "HTTP://example.com/keys": false, "http://localhost.example.com:1/keys": false,
		"http://127.0.0.1:1@example.com/keys": false, "http://localhost:x@example.com/keys": false, "http://ann:secret@localhost:1/keys": false,
		"https://ann:secret@example.com/keys": false, "http://10.0.0.1:1/keys": false, "http://:1/keys": false, "http://localhost:port/keys": false,
	} {
		err := checkKeys(url)
		if (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error has the password: %v", err)
		}
	}
	for _, url := range []string{"http://127.0.0.1:1@example.com/keys", "http://localhost:x@example.com/keys"} {
		if _, err := NewTokens(TokenConfig{Keys: url, Issuer: "i", Audience: "a"}); err == nil || !strings.Contains(err.Error(), "name and a password") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
