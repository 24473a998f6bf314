package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// remoteAlert is the operation of the net.OpError that crypto/tls makes of an alert.
const remoteAlert = "remote error"

// checkBrokers refuses addresses that no broker can have.
func checkBrokers(brokers []string) error {
	for _, b := range brokers {
		host, port, err := net.SplitHostPort(b)
		if err != nil {
			continue // a host without a port, or an address of IPv6: the client takes those
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || host == "" {
			return inputError(fmt.Errorf("broker %q: write HOST:PORT, with a port of 1 to 65535 (-b or -X brokers)", b))
		}
	}
	return nil
}

// unreachable says why no broker of the connection answered as a broker does, and
// what to change: most often one runs, and another listener or setting is meant.
func (n *connection) unreachable(ctx context.Context, err error) error {
	at := strings.Join(n.brokers, ",")
	wrong := func(format string, args ...any) error {
		return inputError(fmt.Errorf("broker at %s: %s", at, fmt.Sprintf(format, args...)))
	}
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var dns *net.DNSError
	var invalid x509.CertificateInvalidError
	var alert *net.OpError
	early := (*kgo.ErrFirstReadEOF)(nil)
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return wrong("%v (-X user and the password in LEVADA_PASS, or the token in LEVADA_TOKEN)", err)
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return wrong("it does not offer this mechanism%s: choose another with -X sasl.mechanism=NAME", offers(n.mechanisms(ctx)))
	case errors.Is(err, kerr.IllegalSaslState):
		return wrong("this listener authenticates nobody: take away user, pass, token and sasl.mechanism (empty values do: -X user= -X pass=), or name its SASL listener with -b")
	case errors.As(err, &authority):
		return wrong("%v: name a file with the authority that signed it with -X tls.ca=FILE", err)
	case errors.As(err, &name):
		return wrong("%v: connect to a name that it has, or give one with -X tls.server_name=NAME", name)
	case errors.As(err, &invalid):
		return environmentError(fmt.Errorf("broker at %s: %w: it needs another certificate, unless the clock here is wrong", at, err))
	case errors.As(err, &alert) && alert.Op == remoteAlert && !strings.Contains(alert.Error(), "certificate"):
		return wrong("%v: it refuses this form of TLS", err)
	case errors.As(err, &alert) && alert.Op == remoteAlert:
		return wrong("%v: show a certificate that it takes with -X tls.cert=FILE -X tls.key=FILE", err)
	case errors.As(err, &early), errors.As(err, new(tls.RecordHeaderError)):
		return n.closedAtOnce(ctx, wrong)
	case errors.As(err, &dns):
		return environmentError(fmt.Errorf("no broker can be reached at %s: the host %s cannot be found: check the name (-b or -X brokers)", at, dns.Name))
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return environmentError(fmt.Errorf("no broker answers at %s within --timeout: %w; check the address (-b or -X brokers) and what lies between", at, err))
	}
	return environmentError(fmt.Errorf("no broker can be reached at %s: %w; check the address (-b or -X brokers), or start one with: %s server --data DIR", at, err, program))
}

// closedAtOnce is why a broker closes a connection without a word: TLS where there is
// none, none where there is, or no credentials.
func (n *connection) closedAtOnce(ctx context.Context, wrong func(string, ...any) error) error {
	if found := n.mechanisms(ctx); len(found) > 0 {
		return wrong("it takes only users who authenticate%s: say who you are with -X user=NAME, and the password in LEVADA_PASS", offers(found))
	}
	if n.encrypted(ctx) {
		return wrong("it closes the connection after TLS was agreed on: perhaps no rule of its --principal-rules takes the certificate of -X tls.cert=FILE; its log says why")
	}
	if n.settings.usesTLS() {
		return wrong("this listener is not encrypted: use -X tls.enabled=false, or name its TLS listener with -b")
	}
	return wrong("it closes the connection at once, as a listener with TLS does: use -X tls.enabled=true, with -X tls.ca=FILE if a private authority signed its certificate")
}

// encrypted tells whether a broker speaks TLS with these settings.
func (n *connection) encrypted(ctx context.Context) bool {
	config, err := n.settings.tls()
	if err != nil || config == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	return slices.ContainsFunc(n.brokers, func(broker string) bool {
		c, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", broker)
		return err == nil && c.Close() == nil
	})
}

// mechanisms asks what the broker offers to authenticate with; none if it offers
// nothing, or cannot be asked.
func (n *connection) mechanisms(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	client, err := kgo.NewClient(append(slices.Clone(n.encryption), kgo.SeedBrokers(n.brokers...), kgo.ClientID("levada"), kgo.DialTimeout(n.timeout), kgo.RetryTimeout(n.timeout), kgo.RequestRetries(0))...)
	if err != nil {
		return nil
	}
	defer client.Close()
	req := kmsg.NewPtrSASLHandshakeRequest()
	req.Mechanism = "?" // to be told which there are
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil
	}
	return resp.SupportedMechanisms
}

func offers(mechanisms []string) string {
	if len(mechanisms) == 0 {
		return ""
	}
	return " (it offers " + strings.Join(mechanisms, ", ") + ")"
}
