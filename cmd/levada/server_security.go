package main

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/levada/levada/internal/tlsfiles"
	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/logbroker/sasl"
)

// securityFlags are the flags of the server that say who is let in.
type securityFlags struct {
	tls              tlsfiles.Files
	principalRules   string
	mechanisms       []string
	plainUnencrypted bool
	users            string
	superUsers       []string
	authorize        bool
	tokens           sasl.TokenConfig
	reauthenticate   time.Duration
}

func (f *securityFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.tls.Cert, "tls-cert", "", "PEM file with the server's certificate; files are read again when they change")
	flags.StringVar(&f.tls.Key, "tls-key", "", "PEM file with its private key")
	flags.StringVar(&f.tls.ClientCA, "tls-client-ca", "", "PEM file with the authorities of client certificates, which then say who the client is")
	flags.BoolVar(&f.tls.ClientRequired, "tls-client-required", false, "refuse clients without a certificate")
	flags.StringVar(&f.principalRules, "principal-rules", "DEFAULT", "how the name in a certificate becomes a user's: RULE:pattern/replacement/[LU],DEFAULT")
	flags.StringSliceVar(&f.mechanisms, "sasl", []string{sasl.SCRAM256, sasl.SCRAM512}, "mechanisms of sasl listeners: "+strings.Join(sasl.Mechanisms, ", "))
	flags.BoolVar(&f.plainUnencrypted, "plain-unencrypted", false, "allow PLAIN without TLS, which sends passwords in the clear")
	flags.StringVar(&f.users, "users", "", "file with users, a line NAME:PASSWORD each, that only its owner can read")
	flags.BoolVar(&f.authorize, "authorize", false, "refuse what no access rule allows")
	flags.StringArrayVar(&f.superUsers, "super-user", nil, "principal that may do everything, such as User:admin; can be repeated")
	flags.StringVar(&f.tokens.Keys, "oauth-keys", "", "file or URL with the JWK set that tokens are checked with")
	flags.StringVar(&f.tokens.Issuer, "oauth-issuer", "", "issuer that tokens must have")
	flags.StringVar(&f.tokens.Audience, "oauth-audience", "", "audience that tokens must have")
	flags.StringVar(&f.tokens.UserClaim, "oauth-user-claim", "sub", "claim that names the user")
	flags.DurationVar(&f.reauthenticate, "reauthenticate", 0, "how long an authentication is good for; 0 is as long as the connection")
}

// security is what the flags say.
func (f *securityFlags) security() (logbroker.Security, error) {
	s := logbroker.Security{Authorize: f.authorize, SuperUsers: f.superUsers, Tokens: f.tokens, Reauthenticate: f.reauthenticate}
	if f.users == "" {
		return s, nil
	}
	var err error
	s.Users, err = readUsers(f.users)
	return s, err
}

// maxUsersFile bounds the file of users, in bytes.
const maxUsersFile = 10 << 20

// readUsers reads a file of users. No error repeats what is in a line: it may be a
// password.
func readUsers(name string) (map[string]logbroker.Password, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, unreadable("--users", name, err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("--users: %w", err)
	case info.IsDir():
		return nil, fmt.Errorf("--users %q is a directory: name a file", name)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("--users: others can read %s, which has passwords: chmod 600 %s", name, name)
	case info.Size() > maxUsersFile:
		return nil, fmt.Errorf("--users: %s has %d bytes, at most %d are read", name, info.Size(), maxUsersFile)
	}
	out := map[string]logbroker.Password{}
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, password, ok := strings.Cut(line, ":")
		if !ok || user == "" || password == "" {
			return nil, fmt.Errorf("--users: %s line %d: write NAME:PASSWORD", name, n)
		}
		if _, twice := out[user]; twice {
			return nil, fmt.Errorf("--users: %s line %d: user %q is there twice", name, n, user)
		}
		out[user] = logbroker.Password(password)
	}
	return out, lines.Err()
}

// endpoint is one address that is listened on, and how.
type endpoint struct {
	scheme  string
	address string
	with    logbroker.Listener
}

// schemes are the ways to listen, Kafka's names for them among them: with TLS, and
// with SASL.
var schemes = map[string]struct{ tls, sasl bool }{
	"plain": {}, "plaintext": {}, "tls": {tls: true}, "ssl": {tls: true}, "sasl": {sasl: true}, "sasl_plaintext": {sasl: true},
	"sasl+tls": {tls: true, sasl: true}, "tls+sasl": {tls: true, sasl: true}, "sasl_ssl": {tls: true, sasl: true},
}

// endpoints reads --listen: [SCHEME://]HOST:PORT[=ADVERTISED], and makes listeners
// of them. advertise is for the first without an address of its own to tell.
func (f *securityFlags) endpoints(listen []string, advertise string, logger *slog.Logger) ([]endpoint, error) {
	var out []endpoint
	principal, err := tlsfiles.PrincipalRules(f.principalRules)
	var faults []error
	if err != nil {
		faults = append(faults, fmt.Errorf("--principal-rules: %w", err))
	}
	for i, text := range listen {
		e, told, err := parseListen(text)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		flag := fmt.Sprintf("--listen %q: ", text)
		if told == "" && i == 0 {
			told, flag = advertise, "--advertise: "
		}
		if e.with.AdvertisedHost, e.with.AdvertisedPort, err = splitAdvertised(told); err != nil {
			faults = append(faults, fmt.Errorf("%s%w", flag, err))
		}
		if schemes[e.scheme].sasl {
			faults = append(faults, f.saslFault(text, schemes[e.scheme].tls))
			e.with.SASL, e.with.PlainUnencrypted = f.mechanisms, f.plainUnencrypted
		}
		if schemes[e.scheme].tls {
			f.tls.Logger = logger
			if f.tls.Cert == "" || f.tls.Key == "" {
				faults = append(faults, fmt.Errorf("--listen %q: TLS needs --tls-cert and --tls-key", text))
			} else if e.with.TLS, err = tlsfiles.Server(f.tls); err != nil && f.tlsFaults() == nil {
				faults = append(faults, f.tlsFault(err))
			}
			e.with.Principal = principal
		}
		out = append(out, e)
	}
	if len(listen) == 0 {
		faults = append(faults, errors.New("--listen is empty: write HOST:PORT"))
	}
	return out, errors.Join(faults...)
}

func parseListen(text string) (e endpoint, told string, err error) {
	e.scheme, e.address = "plain", text
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		e.scheme, e.address = strings.ToLower(scheme), rest
	}
	if address, advertised, ok := strings.Cut(e.address, "="); ok {
		e.address, told = address, advertised
	}
	if _, ok := schemes[e.scheme]; !ok {
		return e, told, fmt.Errorf("--listen %q: %q is none of plain, tls, sasl and sasl+tls", text, e.scheme)
	}
	_, port, err := net.SplitHostPort(e.address)
	if err != nil {
		return e, told, fmt.Errorf("--listen %q: write [SCHEME://]HOST:PORT[=ADVERTISED_HOST:PORT]", text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return e, told, fmt.Errorf("--listen %q: %q is no port: use a number from 0 (any that is free) to 65535", text, port)
	}
	return e, told, nil
}
