package logbroker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/levada/levada/logbroker/quota"
)

// serveSecured serves one listener of a broker, and returns its address and log.
func serveSecured(t *testing.T, cfg Config, l Listener) (*Broker, string, *syncBuffer) {
	t.Helper()
	log := &syncBuffer{}
	cfg.CompactionInterval = unhurried
	cfg.Dir, cfg.FS, cfg.Logger = "data", vfs.NewMem(), slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.ServeListener(ln, l) }()
	t.Cleanup(func() {
		if err := errors.Join(b.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return b, ln.Addr().String(), log
}

// login asks for the topics as a client of another library does.
func login(t *testing.T, addr string, opts ...kgo.Opt) error {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(addr), kgo.RequestRetries(0), kgo.DialTimeout(5*time.Second))...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	if len(resp.Topics) > 0 {
		return kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	return nil
}

// TestLogins: users get in with their password by every mechanism, others do not,
// and no password is in the log.
func TestLogins(t *testing.T) {
	const secret = "correct-horse-battery"
	users := Security{Users: map[string]Password{"ann": secret}}
	_, addr, log := serveSecured(t, Config{Security: users}, Listener{SASL: []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}, PlainUnencrypted: true})
	for name, m := range map[string]func(user, pass string) sasl.Mechanism{
		"PLAIN": func(u, p string) sasl.Mechanism { return plain.Auth{User: u, Pass: p}.AsMechanism() },
		"256":   func(u, p string) sasl.Mechanism { return scram.Auth{User: u, Pass: p}.AsSha256Mechanism() },
		"512":   func(u, p string) sasl.Mechanism { return scram.Auth{User: u, Pass: p}.AsSha512Mechanism() },
	} {
		if err := login(t, addr, kgo.SASL(m("ann", secret))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, who := range []sasl.Mechanism{m("ann", secret+"x"), m("eve", secret)} {
			if err := login(t, addr, kgo.SASL(who)); !errors.Is(err, kerr.SaslAuthenticationFailed) {
				t.Errorf("%s: another: %v", name, err)
			}
		}
	}
	if err := login(t, addr); err == nil {
		t.Error("nobody in particular gets in")
	}
	if text := log.String(); strings.Contains(text, secret) || !strings.Contains(text, "authentication") {
		t.Errorf("the log:\n%s", text)
	}
}

// TestListenersThatAreNotSafe: what would give secrets away is not served.
func TestListenersThatAreNotSafe(t *testing.T) {
	b, err := Open(Config{Dir: "data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for name, l := range map[string]Listener{
		"PLAIN in the clear": {SASL: []string{"PLAIN"}}, "unknown": {SASL: []string{"GSSAPI"}}, "tokens without keys": {SASL: []string{"OAUTHBEARER"}},
		"old TLS": {TLS: &tls.Config{MinVersion: tls.VersionTLS10}}, "SASL by no mechanism": {SASL: []string{}}, "SASL by a nameless one": {SASL: []string{""}},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := b.ServeListener(ln, l); err == nil {
			t.Errorf("%s: served", name)
		}
		_ = ln.Close()
	}
}

// wire is a connection on which a test speaks the protocol itself.
type wire struct {
	t *testing.T
	net.Conn
}

func dialWire(t *testing.T, addr string) *wire {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { _ = c.Close() })
	return &wire{t, c}
}

func (w *wire) send(frame []byte) {
	w.t.Helper()
	if _, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) receive() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(w, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(w, frame)
	return frame, err
}

// call sends a request and reads its answer into resp.
func (w *wire) call(req kmsg.Request) (kmsg.Response, error) {
	w.t.Helper()
	w.send(frameOf(req))
	frame, err := w.receive()
	if err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	head := 4
	if req.IsFlexible() && req.Key() != int16(kmsg.ApiVersions) {
		head++
	}
	if err := resp.ReadFrom(frame[head:]); err != nil {
		w.t.Fatalf("%s: %v", kmsg.NameForKey(req.Key()), err)
	}
	return resp, nil
}

func (w *wire) handshake(version int16, mechanism string) int16 {
	w.t.Helper()
	req := kmsg.NewPtrSASLHandshakeRequest()
	req.Version, req.Mechanism = version, mechanism
	resp, err := w.call(req)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.(*kmsg.SASLHandshakeResponse).ErrorCode
}

func (w *wire) plain(user, password string) (*kmsg.SASLAuthenticateResponse, error) {
	w.t.Helper()
	req := kmsg.NewPtrSASLAuthenticateRequest()
	req.Version, req.SASLAuthBytes = 2, []byte("\x00"+user+"\x00"+password)
	resp, err := w.call(req)
	if err != nil {
		return nil, err
	}
	return resp.(*kmsg.SASLAuthenticateResponse), nil
}

func (w *wire) metadata() error {
	w.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 9
	_, err := w.call(req)
	return err
}

// TestStrangers: before authentication nothing is served but what leads to it, and
// little is read.
func TestStrangers(t *testing.T) {
	_, addr, log := serveSecured(t, Config{Security: Security{Users: map[string]Password{"ann": "secret"}}}, Listener{SASL: []string{"PLAIN"}, PlainUnencrypted: true})
	ended := func(name string, do func(w *wire)) {
		w := dialWire(t, addr)
		do(w)
		if n, err := io.Copy(io.Discard, w); n > 0 {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
	ended("metadata", func(w *wire) { w.send(frameOf(&kmsg.MetadataRequest{Version: 9})) })
	ended("a large request", func(w *wire) {
		_, _ = w.Write(binary.BigEndian.AppendUint32(nil, 1<<20))
		_, _ = w.Write(make([]byte, 100)) // it may have closed by now
	})
	ended("metadata between the steps", func(w *wire) {
		if code := w.handshake(1, "PLAIN"); code != 0 {
			t.Errorf("handshake: %d", code)
		}
		w.send(frameOf(&kmsg.MetadataRequest{Version: 9}))
	})
	ended("after a failure", func(w *wire) {
		if code := w.handshake(1, "PLAIN"); code != 0 {
			t.Errorf("handshake: %d", code)
		}
		if resp, err := w.plain("ann", "wrong"); err != nil || resp.ErrorCode != kerr.SaslAuthenticationFailed.Code {
			t.Errorf("answer %+v, %v", resp, err)
		}
	})
	ended("no handshake", func(w *wire) {
		if resp, err := w.plain("ann", "secret"); err != nil || resp.ErrorCode != kerr.IllegalSaslState.Code {
			t.Errorf("answer %+v, %v", resp, err)
		}
	})
	w := dialWire(t, addr)
	if code := w.handshake(1, "GSSAPI"); code != kerr.UnsupportedSaslMechanism.Code {
		t.Errorf("an unknown mechanism: %d", code)
	}
	if code := w.handshake(1, "PLAIN"); code != 0 {
		t.Errorf("then a known one: %d", code)
	}
	if resp, err := w.plain("ann", "secret"); err != nil || resp.ErrorCode != 0 {
		t.Errorf("answer %+v, %v", resp, err)
	}
	if err := w.metadata(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "before authentication") {
		t.Errorf("the log does not say why:\n%s", log.String())
	}
}

// TestOldHandshake: clients of version 0 send their messages bare.
func TestOldHandshake(t *testing.T) {
	_, addr, _ := serveSecured(t, Config{Security: Security{Users: map[string]Password{"ann": "secret"}}}, Listener{SASL: []string{"PLAIN"}, PlainUnencrypted: true})
	w := dialWire(t, addr)
	if code := w.handshake(0, "PLAIN"); code != 0 {
		t.Fatalf("handshake: %d", code)
	}
	w.send([]byte("\x00ann\x00secret"))
	if answer, err := w.receive(); err != nil || len(answer) > 0 {
		t.Fatalf("answer %q, %v", answer, err)
	}
	if err := w.metadata(); err != nil {
		t.Error(err)
	}
	w = dialWire(t, addr)
	if code := w.handshake(0, "PLAIN"); code != 0 {
		t.Fatalf("handshake: %d", code)
	}
	w.send([]byte("\x00ann\x00wrong"))
	if answer, err := w.receive(); err == nil {
		t.Errorf("answer %q to a wrong password", answer)
	}
}

// TestReauthentication: a session ends when it is told to, unless the same user
// comes again; nobody takes a connection over.
func TestReauthentication(t *testing.T) {
	var ahead atomic.Int64
	cfg := Config{
		Now:      func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		Security: Security{Users: map[string]Password{"ann": "secret", "bob": "secret"}, Reauthenticate: time.Hour},
	}
	_, addr, _ := serveSecured(t, cfg, Listener{SASL: []string{"PLAIN", "SCRAM-SHA-256"}, PlainUnencrypted: true})
	enter := func() *wire {
		w := dialWire(t, addr)
		if code := w.handshake(1, "PLAIN"); code != 0 {
			t.Fatalf("handshake: %d", code)
		}
		resp, err := w.plain("ann", "secret")
		if err != nil || resp.ErrorCode != 0 || resp.SessionLifetimeMillis < 3_500_000 || resp.SessionLifetimeMillis > 3_600_000 {
			t.Fatalf("answer %+v, %v", resp, err)
		}
		return w
	}
	late, again, other, mechanism := enter(), enter(), enter(), enter()
	ahead.Store(int64(59 * time.Minute))
	if code := again.handshake(1, "PLAIN"); code != 0 {
		t.Errorf("handshake: %d", code)
	}
	if resp, err := again.plain("ann", "secret"); err != nil || resp.ErrorCode != 0 {
		t.Errorf("again: %+v, %v", resp, err)
	}
	if code := other.handshake(1, "PLAIN"); code != 0 {
		t.Errorf("handshake: %d", code)
	}
	if resp, err := other.plain("bob", "secret"); err != nil || resp.ErrorCode != kerr.SaslAuthenticationFailed.Code {
		t.Errorf("as another: %+v, %v", resp, err)
	}
	if err := other.metadata(); err == nil {
		t.Error("the connection goes on after somebody else came")
	}
	if code := mechanism.handshake(1, "SCRAM-SHA-256"); code != kerr.SaslAuthenticationFailed.Code {
		t.Errorf("with another mechanism: %d", code)
	}
	ahead.Store(int64(61 * time.Minute))
	if err := again.metadata(); err != nil {
		t.Errorf("who came again: %v", err)
	}
	if err := late.metadata(); err == nil {
		t.Error("a session goes on after its end")
	}
}

// authority signs certificates for a test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	c := a.issue("authority", time.Hour)
	var err error
	if a.cert, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) issue(name string, valid time.Duration) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, Organization: []string{"Levada"}},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(valid),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.ExtKeyUsage = true, true, nil
		parent, signer, a.key = template, key, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// TestCertificates: a certificate says who the client is; one that is old, of
// another authority, or missing does not let it in.
func TestCertificates(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	cfg := Config{Security: Security{Authorize: true, SuperUsers: []string{"User:ann"}}}
	l := Listener{
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.issue("server", time.Hour)}, ClientCAs: ca.pool(), ClientAuth: tls.RequireAndVerifyClientCert},
		Principal: func(dn string) (string, error) {
			name, ok := strings.CutSuffix(strings.TrimPrefix(dn, "CN="), ",O=Levada")
			if !ok {
				return "", errors.New("not of this house")
			}
			return name, nil
		},
	}
	b, addr, log := serveSecured(t, cfg, l)
	if _, err := b.topics.create("t", 1, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	with := func(certs ...tls.Certificate) kgo.Opt {
		return kgo.DialTLSConfig(&tls.Config{RootCAs: ca.pool(), Certificates: certs})
	}
	if err := login(t, addr, with(ca.issue("ann", time.Hour))); err != nil {
		t.Errorf("ann: %v", err)
	}
	if err := login(t, addr, with(ca.issue("bob", time.Hour))); err != nil { // gets in and sees nothing
		t.Errorf("bob: %v", err)
	}
	for name, opt := range map[string]kgo.Opt{
		"expired": with(ca.issue("ann", -time.Hour)), "of another authority": with(other.issue("ann", time.Hour)), "none": with(),
	} {
		if err := login(t, addr, opt); err == nil {
			t.Errorf("a certificate that is %s lets in", name)
		}
	}
	if err := login(t, addr); err == nil {
		t.Error("a client without TLS gets in")
	}
	if !strings.Contains(log.String(), "TLS handshake") {
		t.Errorf("the log:\n%s", log.String())
	}
}

// TestSubjects: a user's name has all parts of the certificate's subject in their
// order, so that nobody becomes another by a part more.
func TestSubjects(t *testing.T) {
	part := func(oid asn1.ObjectIdentifier, value string) pkix.RelativeDistinguishedNameSET {
		return pkix.RelativeDistinguishedNameSET{{Type: oid, Value: value}}
	}
	country, org, unit, common := asn1.ObjectIdentifier{2, 5, 4, 6}, asn1.ObjectIdentifier{2, 5, 4, 10}, asn1.ObjectIdentifier{2, 5, 4, 11}, asn1.ObjectIdentifier{2, 5, 4, 3}
	for want, subject := range map[string]pkix.RDNSequence{
		"CN=admin,O=Levada":            {part(org, "Levada"), part(common, "admin")},
		"O=Levada,CN=admin":            {part(common, "admin"), part(org, "Levada")},
		"CN=admin,CN=mallory,O=Levada": {part(org, "Levada"), part(common, "mallory"), part(common, "admin")},
		"CN=app,OU=B,OU=A,O=X,C=PT":    {part(country, "PT"), part(org, "X"), part(unit, "A"), part(unit, "B"), part(common, "app")},
		`CN=a\,O=Levada`:               {part(common, "a,O=Levada")},
	} {
		raw, err := asn1.Marshal(subject)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), RawSubject: raw}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := subjectOf(cert); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}

// TestOverTheLimit: a client that writes too fast is told to wait, and made to; the
// others are not.
func TestOverTheLimit(t *testing.T) {
	b, addr, _ := serveSecured(t, Config{AutoCreateTopics: true}, Listener{})
	name := "greedy"
	op := kmsg.NewAlterClientQuotasRequestEntryOp()
	op.Key, op.Value = quota.ProducerBytes, 1450 // of which 10 s pass at once
	if err := b.alterQuota(quota.Entity{Client: quota.Named(name)}, []kmsg.AlterClientQuotasRequestEntryOp{op}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := b.topics.create("t", 1, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	produce := func(w *wire, client string) *kmsg.ProduceResponse {
		req := kmsg.NewPtrProduceRequest()
		req.Version, req.Acks = 8, -1
		pt := kmsg.NewProduceRequestTopic()
		pt.Topic = "t"
		p := kmsg.NewProduceRequestTopicPartition()
		p.Records = oneRecord(-1, -1, -1, false, strings.Repeat("x", 15_000))
		pt.Partitions = append(pt.Partitions, p)
		req.Topics = append(req.Topics, pt)
		frame := frameOf(req)
		head := append([]byte{}, frame[:8]...)
		head = binary.BigEndian.AppendUint16(head, uint16(len(client)))
		w.send(append(append(head, client...), frame[11:]...))
		answer, err := w.receive()
		if err != nil {
			t.Fatal(err)
		}
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		if err := resp.ReadFrom(answer[4:]); err != nil {
			t.Fatal(err)
		}
		return resp
	}
	greedy, modest := dialWire(t, addr), dialWire(t, addr)
	first := produce(greedy, "greedy")
	if first.Topics[0].Partitions[0].ErrorCode != 0 || first.ThrottleMillis < 300 || first.ThrottleMillis > 600 {
		t.Errorf("answer %+v", first)
	}
	start := time.Now()
	if got := produce(modest, "modest"); got.ThrottleMillis != 0 {
		t.Errorf("another client waits %d ms", got.ThrottleMillis)
	}
	if err := greedy.metadata(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 250*time.Millisecond {
		t.Errorf("the next request was served after %v", took)
	}
}

// TestOneHostCannotTakeAllConnections: beyond its share it gets none, until one of its
// own ends.
func TestOneHostCannotTakeAllConnections(t *testing.T) {
	_, addr, _ := serveSecured(t, Config{Limits: Limits{ConnectionsPerHost: 3}}, Listener{})
	var conns []*wire
	for range 3 {
		w := dialWire(t, addr)
		if err := w.metadata(); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, w)
	}
	over := dialWire(t, addr)
	over.send(frameOf(&kmsg.MetadataRequest{Version: 9}))
	if _, err := over.receive(); err == nil {
		t.Error("a fourth connection is served")
	}
	if err := conns[0].metadata(); err != nil {
		t.Errorf("the others: %v", err)
	}
	_ = conns[1].Close()
	if !eventually(10*time.Second, func() bool { return dialWire(t, addr).metadata() == nil }) {
		t.Error("none is served after one has ended")
	}
}

// TestNoAcksAreMetered: a client that wants no answers is made to wait as others are.
func TestNoAcksAreMetered(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.want(w.setQuota(map[string]*string{"user": nil}, quota.ProducerBytes, 10_000), nil)
	for _, acks := range []int16{-1, 1, 0} {
		c := eve()
		c.principal = fmt.Sprint("User:acks", acks)
		req := kmsg.NewPtrProduceRequest()
		req.Version, req.Acks = 8, acks
		answered := false
		w.Handle(c, req, func(resp kmsg.Response) {
			answered = true
			w.metered(c, &usage{client: c.ClientID, key: int16(kmsg.Produce), size: 120_000, begun: w.now}, resp)
			if (resp == nil) != (acks == 0) {
				t.Errorf("acks %d: answer %v", acks, resp)
			}
		})
		if wait := c.mutedFor(w.now); !answered || wait < time.Second || wait > 3*time.Second {
			t.Errorf("acks %d: muted for %v", acks, wait)
		}
	}
}
