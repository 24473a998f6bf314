package logbroker

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/sasl"
)

// The listeners of a doorstep.
const (
	plainDoor = iota
	saslDoor
	tlsDoor
	doors
)

const (
	// exchangeDeadline is how long an exchange may take, to the end of the
	// connection.
	exchangeDeadline = 20 * time.Second
	// bytesPerExchange and bytesPerByte bound the memory that is taken for one.
	bytesPerExchange = 8 << 20
	bytesPerByte     = 1000
)

// doorstep is a broker that serves TCP on a disk in memory, with a clock that only
// the test moves.
type doorstep struct {
	b           *Broker
	certificate tls.Certificate
	now         atomic.Int64 // ms since 1970
	addrs       [doors]string
	stop        func() error
	runs        int
}

func newDoorstep(t testing.TB) *doorstep {
	t.Helper()
	d := &doorstep{certificate: newAuthority(t).issue("server", time.Hour)}
	d.open(t)
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// open begins with an empty disk.
func (d *doorstep) open(t testing.TB) {
	t.Helper()
	d.now.Store(1_700_000_000_000)
	b, err := Open(Config{
		Dir: "data", FS: vfs.NewMem(), Now: func() time.Time { return time.UnixMilli(d.now.Load()) }, BootID: func() string { return "boot" },
		Security: Security{Users: map[string]Password{"ann": "secret"}},
		Limits:   Limits{Partitions: 100, ProduceBytes: 4 << 20, RequestBytes: 1 << 20},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.topics.create("a", 1, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, doors)
	for i, l := range [doors]Listener{
		{}, {SASL: []string{sasl.Plain, sasl.SCRAM256, sasl.SCRAM512}, PlainUnencrypted: true}, {TLS: &tls.Config{Certificates: []tls.Certificate{d.certificate}}},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		d.addrs[i] = ln.Addr().String()
		go func() { served <- b.ServeListener(ln, l) }()
	}
	d.b = b
	d.stop = func() error {
		err := b.Close()
		for range doors {
			err = errors.Join(err, <-served)
		}
		return err
	}
}

// renew begins anew now and then: what the broker stores must not grow for ever.
func (d *doorstep) renew(t testing.TB) {
	t.Helper()
	if d.runs++; d.runs%500 == 0 {
		if err := d.stop(); err != nil {
			t.Fatal(err)
		}
		d.open(t)
	}
}

// framed puts the length before a frame.
func framed(frame []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
}

// expected counts the answers that a stream of requests asks for, up to the first
// that is refused.
func (d *doorstep) expected(stream []byte) (answers int) {
	for len(stream) >= 4 {
		n := int64(int32(binary.BigEndian.Uint32(stream)))
		if n < 8 || n > int64(len(stream)-4) {
			return answers
		}
		req, _, err := d.b.decode(&Conn{}, stream[4:4+n])
		if err != nil {
			return answers
		}
		if p, ok := req.(*kmsg.ProduceRequest); !ok || p.Acks != 0 {
			answers++
		}
		stream = stream[4+n:]
	}
	return answers
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// exchange sends bytes over a connection and waits for as many answers as they ask
// for, or until the broker closes it; then the connection has to end.
func (d *doorstep) exchange(t testing.TB, door int, message []byte, handshake bool) {
	t.Helper()
	answers := 0
	if door != saslDoor && (door != tlsDoor || handshake) {
		answers = d.expected(message)
	}
	before := allocated()
	plain, err := net.Dial("tcp", d.addrs[door])
	if err != nil {
		t.Fatal(err)
	}
	_ = plain.(*net.TCPConn).SetLinger(0) // there are very many
	c := plain
	if door == tlsDoor && handshake {
		secured := tls.Client(plain, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
		if err := secured.Handshake(); err != nil {
			t.Fatal(err)
		}
		c = secured
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = c.Write(message) // the broker may have closed the connection
	}()
	deadline := time.Now().Add(exchangeDeadline)
	open := d.receive(t, c, answers, deadline)
	if open {
		_ = plain.(*net.TCPConn).CloseWrite() // at the latest now the broker ends it
		d.receive(t, c, -1, deadline)
	}
	_ = plain.Close()
	<-sent
	if took, limit := allocated()-before, uint64(bytesPerExchange+bytesPerByte*len(message)); took > limit {
		t.Fatalf("%d bytes took %d bytes of memory, more than %d", len(message), took, limit)
	}
	if err := d.b.failure(); err != nil {
		t.Fatal(err)
	}
}

// receive reads a number of answers, all that come if it is negative, and tells
// whether the connection is open still. While none comes the clock moves on.
func (d *doorstep) receive(t testing.TB, c net.Conn, answers int, deadline time.Time) (open bool) {
	t.Helper()
	buf := make([]byte, 16<<10)
	have := []byte(nil)
	skip, step := 0, time.Second
	for n := 0; answers < 0 || n < answers; {
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
		m, err := c.Read(buf)
		if timeout := net.Error(nil); err != nil && !(errors.As(err, &timeout) && timeout.Timeout()) {
			return false
		} else if err != nil && time.Now().After(deadline) {
			t.Fatalf("%d of %d answers, and the connection is not closed", n, answers)
		} else if err != nil && answers >= 0 {
			d.now.Add(step.Milliseconds())
			step = min(30*step, 25*24*time.Hour)
			d.b.wake()
		}
		for have = append(have, buf[:m]...); answers >= 0 && len(have) > 0; {
			if drop := min(skip, len(have)); drop > 0 {
				have, skip = have[drop:], skip-drop
				continue
			}
			if len(have) < 4 {
				break
			}
			skip, have = int(binary.BigEndian.Uint32(have)), have[4:]
			if n++; skip < 4 {
				t.Fatalf("an answer of %d bytes", skip)
			}
		}
		if answers < 0 {
			have = nil
		}
	}
	return true
}

// scripts are messages of authentications, whole and cut.
func scripts() (out [][]byte) {
	request := func(req kmsg.Request) []byte { return framed(frameOf(req)) }
	for _, mechanism := range []string{sasl.Plain, sasl.SCRAM256, sasl.SCRAM512, "GSSAPI"} {
		for _, first := range []string{"\x00ann\x00secret", "\x00ann\x00wrong", "n,,n=ann,r=abc", "", "p=x"} {
			for version := range int16(2) {
				handshake := kmsg.NewPtrSASLHandshakeRequest()
				handshake.Version, handshake.Mechanism = version, mechanism
				message := request(handshake)
				if version == 0 {
					message = append(message, framed([]byte(first))...)
				} else {
					authenticate := kmsg.NewPtrSASLAuthenticateRequest()
					authenticate.Version, authenticate.SASLAuthBytes = 2, []byte(first)
					message = append(message, request(authenticate)...)
				}
				metadata := kmsg.NewPtrMetadataRequest()
				metadata.Version = 9
				out = append(out, append(message, request(metadata)...))
			}
		}
	}
	return out
}

// nameOf a request, for messages of tests.
func nameOf(req kmsg.Request) string {
	return fmt.Sprintf("%s version %d", kmsg.NameForKey(req.Key()), req.GetVersion())
}
