package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/levada/levada/internal/tlsfiles"
	"github.com/levada/levada/logbroker/acl"
	"github.com/levada/levada/logbroker/sasl"
)

// faults are what is wrong with the values of flags, said before anything is opened.
// What cannot be seen without the network or the data is said later.
func (f *securityFlags) faults() error {
	var faults []error
	for _, p := range f.superUsers {
		if _, _, err := acl.ParsePrincipal(p); err != nil {
			faults = append(faults, fmt.Errorf("--super-user %q: write TYPE:NAME, such as User:ann", p))
		}
	}
	for _, m := range f.mechanisms {
		if !sasl.Known(m) {
			faults = append(faults, fmt.Errorf("--sasl %q: use one or more of %s", m, strings.Join(sasl.Mechanisms, ",")))
		}
	}
	if f.reauthenticate < 0 {
		faults = append(faults, fmt.Errorf("--reauthenticate %v: use 0 or more", f.reauthenticate))
	}
	return errors.Join(append(faults, f.tokenFaults(), f.tlsFaults())...)
}

// tokenFaults does not repeat the URL of keys, which may have a password in it.
func (f *securityFlags) tokenFaults() error {
	t := f.tokens
	switch {
	case t.UserClaim == "":
		return errors.New("--oauth-user-claim is empty: name the claim that has the user's name, such as sub")
	case t.Keys == "" && (t.Issuer != "" || t.Audience != ""):
		return errors.New("--oauth-issuer and --oauth-audience need --oauth-keys: name the file or URL with the JWK set")
	case t.Keys == "":
		return nil
	case t.Issuer == "" || t.Audience == "":
		return errors.New("--oauth-keys needs --oauth-issuer and --oauth-audience: name those that tokens must have")
	}
	if err := t.Check(); err != nil {
		return fmt.Errorf("--oauth-keys: %w", err)
	}
	if !strings.Contains(t.Keys, "://") {
		return readable("--oauth-keys", t.Keys)
	}
	return nil
}

func (f *securityFlags) tlsFaults() error {
	var faults []error
	for _, file := range []struct{ flag, name string }{{"--tls-cert", f.tls.Cert}, {"--tls-key", f.tls.Key}, {"--tls-client-ca", f.tls.ClientCA}} {
		if file.name != "" {
			faults = append(faults, readable(file.flag, file.name))
		}
	}
	if f.tls.ClientRequired && f.tls.ClientCA == "" {
		faults = append(faults, errors.New("--tls-client-required needs --tls-client-ca: name the authorities of client certificates"))
	}
	return errors.Join(faults...)
}

// saslFault is what is wrong with the mechanisms for one listener.
func (f *securityFlags) saslFault(listen string, tls bool) error {
	switch {
	case len(f.mechanisms) == 0:
		return fmt.Errorf("--sasl is empty, and --listen %q wants clients to authenticate: name a mechanism of %s", listen, strings.Join(sasl.Mechanisms, ", "))
	case slices.Contains(f.mechanisms, sasl.Plain) && !tls && !f.plainUnencrypted:
		return fmt.Errorf("--listen %q with --sasl PLAIN: PLAIN without TLS sends passwords that anybody on the way can read: use sasl+tls://, or --plain-unencrypted", listen)
	case slices.Contains(f.mechanisms, sasl.OAuthBearer) && f.tokens.Keys == "":
		return errors.New("--sasl OAUTHBEARER needs the keys that tokens are checked with: name them with --oauth-keys")
	}
	return nil
}

// tlsFault names the flags of the files that do not make a TLS configuration.
func (f *securityFlags) tlsFault(err error) error {
	if f.tls.ClientCA != "" {
		if _, err := tlsfiles.Authorities(f.tls.ClientCA); err != nil {
			return fmt.Errorf("--tls-client-ca: %w", err)
		}
	}
	return fmt.Errorf("--tls-cert and --tls-key: %w", err)
}

// readable opens a file to see whether it can be.
func readable(flag, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return unreadable(flag, name, err)
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return fmt.Errorf("%s %q is a directory: name a file", flag, name)
	}
	return nil
}

// unreadable says why a file that a flag names cannot be opened.
func unreadable(flag, name string, err error) error {
	why := err
	var at *fs.PathError
	if errors.As(err, &at) {
		why = at.Err
	}
	return fmt.Errorf("%s %q: %w: name another file", flag, name, why)
}
