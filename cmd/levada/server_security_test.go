package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBadSecurityFlags: each says which flag, what is wrong and how to mend it, and
// none repeats a password.
func TestBadSecurityFlags(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	users := write("users", "ann:secret\n", 0o600)
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"scheme":         {[]string{"--listen", "quic://127.0.0.1:0"}, `"quic" is none of`},
		"address":        {[]string{"--listen", "tls://nowhere"}, "write [SCHEME://]HOST:PORT"},
		"advertised":     {[]string{"--listen", "127.0.0.1:0=x"}, `advertised address "x": write HOST:PORT`},
		"no certificate": {[]string{"--listen", "tls://127.0.0.1:0"}, "TLS needs --tls-cert and --tls-key"},
		"no such file":   {[]string{"--listen", "tls://127.0.0.1:0", "--tls-cert", "/none", "--tls-key", "/none"}, "/none"},
		"PLAIN":          {[]string{"--listen", "sasl://127.0.0.1:0", "--sasl", "PLAIN", "--users", users}, "PLAIN without TLS"},
		"mechanism":      {[]string{"--listen", "sasl://127.0.0.1:0", "--sasl", "GSSAPI", "--users", users}, `--sasl "GSSAPI": use one or more of`},
		"no mechanism":   {[]string{"--listen", "sasl://127.0.0.1:0", "--sasl", ""}, "--sasl is empty"},
		"tokens":         {[]string{"--listen", "sasl://127.0.0.1:0", "--sasl", "OAUTHBEARER"}, "OAUTHBEARER needs the keys"},
		"readable users": {[]string{"--users", write("open", "ann:secret\n", 0o644)}, "chmod 600"},
		"no password":    {[]string{"--users", write("half", "# users\n\nann:secret\nsecret\n", 0o600)}, "line 4: write NAME:PASSWORD"},
		"twice":          {[]string{"--users", write("twice", "ann:secret\nann:secret\n", 0o600)}, `line 2: user "ann" is there twice`},
		"no users":       {[]string{"--users", "/none"}, "/none"},
		"super user":     {[]string{"--super-user", "admin"}, "write TYPE:NAME"},
		"rules":          {[]string{"--principal-rules", "CN=x"}, "principal rule"},
	} {
		t.Run(name, func(t *testing.T) {
			r := levada(t, "", append([]string{"server", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0"}, test.args...)...)
			if r.code != exitInput || !strings.Contains(r.stderr, test.want) || strings.Contains(r.stderr, "secret") {
				t.Errorf("exit %d:\n%s\nwant %q", r.code, r.stderr, test.want)
			}
		})
	}
}
