package logbroker

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/sasl"
)

// admitted is an exchange that ends at once: the client is ann until expires.
type admitted struct{ expires time.Time }

func (a admitted) Next([]byte) ([]byte, bool, error) { return []byte{}, true, nil }
func (a admitted) Refused() error                    { return nil }
func (a admitted) User() (string, time.Time)         { return "ann", a.expires }

// stranger is a client of a listener that wants SASL.
func stranger() *Conn {
	c := eve()
	c.principal, c.listener.SASL = anonymous, []string{sasl.Plain}
	return c
}

// TestStrangersGetNothingElse: before it has authenticated, while it does so again, and
// when its time is over, a client is served three requests, in every version, and any
// other ends the connection.
func TestStrangersGetNothingElse(t *testing.T) {
	w := newWorkbench(t)
	for state, change := range map[string]func(*Conn){
		"before":                      func(*Conn) {},
		"after a handshake":           func(c *Conn) { c.auth.exchange = admitted{} },
		"while it authenticates anew": func(c *Conn) { c.auth.done, c.auth.exchange = true, admitted{} },
		"when its time is over":       func(c *Conn) { c.auth.done, c.auth.expires = true, w.now.Add(-time.Second) },
	} {
		w.eachVersion(func(req kmsg.Request) {
			leads := false
			switch req.(type) {
			case *kmsg.ApiVersionsRequest, *kmsg.SASLHandshakeRequest, *kmsg.SASLAuthenticateRequest:
				leads = true
			}
			c := stranger()
			change(c)
			var resp kmsg.Response
			w.Handle(c, req, func(r kmsg.Response) { resp = r })
			if served := resp != nil; served != leads || c.closed.Load() == leads {
				t.Errorf("%s, %s: answered %t, ended %t", state, nameOf(req), served, c.closed.Load())
			}
		})
	}
}

// TestASessionEndsWithItsToken: an authentication is good until the token ends, or as
// long as the broker is told, whatever comes first; and the client is told how long.
func TestASessionEndsWithItsToken(t *testing.T) {
	for _, test := range []struct{ token, broker, want time.Duration }{
		{time.Hour, 0, time.Hour}, {time.Hour, 2 * time.Hour, time.Hour}, {2 * time.Hour, time.Hour, time.Hour}, {0, time.Hour, time.Hour}, {0, 0, 0},
	} {
		t.Run(fmt.Sprint(test.token, " and ", test.broker), func(t *testing.T) {
			w := newWorkbench(t)
			w.Kill()
			w.cfg.Security.Reauthenticate = test.broker
			w.open()
			c := stranger()
			exchange := admitted{}
			if test.token > 0 {
				exchange.expires = w.now.Add(test.token)
			}
			c.auth.exchange = exchange
			served := func() (ok bool) {
				w.Handle(c, &kmsg.MetadataRequest{Version: 9}, func(r kmsg.Response) { ok = r != nil })
				return ok
			}
			var resp *kmsg.SASLAuthenticateResponse
			w.Handle(c, &kmsg.SASLAuthenticateRequest{Version: 1}, func(r kmsg.Response) { resp = r.(*kmsg.SASLAuthenticateResponse) })
			if w.want(resp.ErrorCode, nil); resp.SessionLifetimeMillis != test.want.Milliseconds() {
				t.Errorf("told %d ms, want %v", resp.SessionLifetimeMillis, test.want)
			}
			if w.now = w.now.Add(time.Hour - time.Second); !served() {
				t.Error("the session is over before its end")
			}
			if w.now = w.now.Add(2 * time.Second); served() != (test.want == 0) {
				t.Errorf("served after its end: %t", test.want > 0)
			}
		})
	}
}

// TestStrangersSendLittle: what a client may send before it has authenticated is
// refused by its length, before any of it has come.
func TestStrangersSendLittle(t *testing.T) {
	length := func(n int32, key kmsg.Key) []byte {
		return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(nil, uint32(n)), uint16(key))
	}
	for _, test := range []struct {
		what  string
		old   bool // the messages come bare
		begun []byte
		want  string
	}{
		{"a request", false, length(maxStrangeBytes+1, kmsg.SASLAuthenticate), "before authentication"},
		{"a produce", false, length(maxStrangeBytes+1, kmsg.Produce), "before authentication"},
		{"a bare message", true, length(maxStrangeBytes+1, 0), "an authentication of"},
		{"a bare message of a negative length", true, length(-1, 0), "an authentication of -1 bytes"},
	} {
		_, addr, log := serveSecured(t, Config{Security: Security{Users: map[string]Password{"ann": "secret"}}}, Listener{SASL: []string{"PLAIN"}, PlainUnencrypted: true})
		w := dialWire(t, addr)
		if test.old {
			if code := w.handshake(0, "PLAIN"); code != 0 {
				t.Fatal(kerr.ErrorForCode(code))
			}
		}
		if _, err := w.Write(test.begun); err != nil {
			t.Fatal(err)
		}
		if !eventually(10*time.Second, func() bool { return strings.Contains(log.String(), test.want) }) {
			t.Errorf("%s of %d bytes is not refused:\n%s", test.what, maxStrangeBytes+1, log.String())
		}
	}
}

// TestLongNamesOfClientsAreCut: groups and limits keep what a client calls itself.
func TestLongNamesOfClientsAreCut(t *testing.T) {
	w := newWorkbench(t)
	frame := frameOf(kmsg.NewPtrApiVersionsRequest())
	long := strings.Repeat("x", 30_000)
	head := binary.BigEndian.AppendUint16(append([]byte{}, frame[:8]...), uint16(len(long)))
	c := eve()
	_, p, err := w.decode(c, append(append(head, long...), frame[11:]...))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.ClientID) != maxClientID || p.usage.client != c.ClientID {
		t.Errorf("a name of %d bytes is kept with %d", len(long), len(c.ClientID))
	}
}

// TestStrangersCannotFillTheLog: however many connections end because of what was sent,
// one line a second says so.
func TestStrangersCannotFillTheLog(t *testing.T) {
	var ahead atomic.Int64
	begin := time.Now()
	_, addr, log := serveSecured(t, Config{Now: func() time.Time { return begin.Add(time.Duration(ahead.Load())) }}, Listener{})
	for second := range 3 {
		ahead.Store(int64(second) * int64(time.Second))
		for range 20 {
			w := dialWire(t, addr)
			if _, err := w.Write([]byte{0, 0, 0, 1}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.receive(); err == nil {
				t.Fatal("answered")
			}
		}
		if n := strings.Count(log.String(), `level=WARN msg="connection ended"`); n != second+1 {
			t.Errorf("%d lines in %d seconds:\n%s", n, second+1, log.String())
		}
	}
}
