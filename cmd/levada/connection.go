package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	client "github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/levada/levada/internal/tlsfiles"
	"github.com/levada/levada/logbroker/sasl"
)

// settingNames are the settings of -X, each of which can also be given in the
// environment: tls.ca is LEVADA_TLS_CA.
var settingNames = []string{
	"brokers", "tls.enabled", "tls.ca", "tls.cert", "tls.key", "tls.server_name", "sasl.mechanism", "user", "pass", "token",
}

// settings are how to reach a cluster.
type settings map[string]string

// readSettings reads -X, for what it does not name the environment, and for the rest
// a profile. No error repeats a value: it may be a password.
func readSettings(flags []string, environment func(string) string, profile settings) (settings, error) {
	s := settings{}
	maps.Copy(s, profile)
	for _, name := range settingNames {
		if v := environment("LEVADA_" + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))); v != "" {
			s[name] = v
		}
	}
	for _, f := range flags {
		name, value, ok := strings.Cut(f, "=")
		switch {
		case !ok:
			return nil, fmt.Errorf("-X %s: write NAME=VALUE", name)
		case !slices.Contains(settingNames, name):
			return nil, fmt.Errorf("-X %s: there is no such setting; %s are", name, strings.Join(settingNames, ", "))
		}
		s[name] = value
	}
	return s, nil
}

// options are the settings as the client library takes them.
func (s settings) options() (encryption, authentication []kgo.Opt, err error) {
	config, err := s.tls()
	if err != nil {
		return nil, nil, err
	}
	if config != nil {
		encryption = append(encryption, kgo.DialTLSConfig(config))
	}
	mechanism, err := s.mechanism()
	if err != nil {
		return nil, nil, err
	}
	if mechanism != nil {
		authentication = append(authentication, kgo.SASL(mechanism))
	}
	return encryption, authentication, nil
}

// usesTLS is what tls.enabled says, or whether another setting of TLS is given.
func (s settings) usesTLS() bool {
	switch s["tls.enabled"] {
	case "true":
		return true
	case "false":
		return false
	}
	return s["tls.ca"]+s["tls.cert"]+s["tls.key"]+s["tls.server_name"] != ""
}

func (s settings) tls() (*tls.Config, error) {
	if v := s["tls.enabled"]; v != "" && v != "true" && v != "false" {
		return nil, fmt.Errorf("tls.enabled is %q; use true or false", v)
	}
	if !s.usesTLS() {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s["tls.server_name"]}
	if name := s["tls.ca"]; name != "" {
		pool, err := tlsfiles.Authorities(name)
		if err != nil {
			return nil, fmt.Errorf("tls.ca: %w", err)
		}
		config.RootCAs = pool
	}
	if s["tls.cert"]+s["tls.key"] != "" {
		cert, err := tls.LoadX509KeyPair(s["tls.cert"], s["tls.key"])
		if err != nil {
			return nil, fmt.Errorf("tls.cert and tls.key: %w", err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config, nil
}

func (s settings) mechanism() (client.Mechanism, error) {
	name := strings.ToUpper(s["sasl.mechanism"])
	switch {
	case name == "" && s["token"] != "":
		name = sasl.OAuthBearer
	case name == "" && s["user"]+s["pass"] != "":
		name = sasl.SCRAM256
	}
	switch name {
	case "":
		return nil, nil
	case sasl.OAuthBearer:
		if s["token"] == "" {
			return nil, errors.New("OAUTHBEARER needs a token: -X token=… or LEVADA_TOKEN")
		}
		return bearer{oauth.Auth{Token: s["token"]}.AsMechanism()}, nil
	}
	if s["user"] == "" || s["pass"] == "" {
		return nil, fmt.Errorf("%s needs user and pass: -X user=… and LEVADA_PASS", name)
	}
	switch name {
	case sasl.Plain:
		return plain.Auth{User: s["user"], Pass: s["pass"]}.AsMechanism(), nil
	case sasl.SCRAM256:
		return scram.Auth{User: s["user"], Pass: s["pass"]}.AsSha256Mechanism(), nil
	case sasl.SCRAM512:
		return scram.Auth{User: s["user"], Pass: s["pass"]}.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("sasl.mechanism: %s is none of %s", name, strings.Join(sasl.Mechanisms, ", "))
}

// connection is how to reach a cluster.
type connection struct {
	brokers                    []string
	settings                   settings
	encryption, authentication []kgo.Opt
	timeout                    time.Duration
}

// connection is what -b, -X, the environment and the profile say.
func (cl *cluster) connection() (*connection, error) {
	n := &connection{timeout: cl.timeout}
	if n.timeout <= 0 {
		return nil, inputError(fmt.Errorf("--timeout %v: use a positive time, such as 10s", n.timeout))
	}
	var profile settings
	known, err := readProfiles()
	if err == nil {
		profile, err = known.chosen(cl.profile)
	}
	if err == nil {
		n.settings, err = readSettings(cl.settings, os.Getenv, profile)
	}
	if err == nil {
		n.encryption, n.authentication, err = n.settings.options()
	}
	if err != nil {
		return nil, inputError(err)
	}
	n.brokers = strings.Split(cmp.Or(cl.brokers, n.settings["brokers"], defaultBrokers), ",")
	return n, checkBrokers(n.brokers)
}

// bearer is OAUTHBEARER that hears a refusal out: the broker first sends why, in a
// form for programs, and says that it refused only to who answers that (RFC 7628).
type bearer struct{ client.Mechanism }

// Authenticate implements sasl.Mechanism.
func (m bearer) Authenticate(ctx context.Context, host string) (client.Session, []byte, error) {
	session, first, err := m.Mechanism.Authenticate(ctx, host)
	return bearerSession{session}, first, err
}

type bearerSession struct{ client.Session }

// Challenge implements sasl.Session.
func (s bearerSession) Challenge(answer []byte) (bool, []byte, error) {
	if len(answer) > 0 {
		return false, []byte{1}, nil
	}
	return s.Session.Challenge(answer)
}
