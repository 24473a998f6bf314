package logbroker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// frameOf encodes a request as it comes over a socket, without its length.
func frameOf(req kmsg.Request) []byte {
	frame := binary.BigEndian.AppendUint16(nil, uint16(req.Key()))
	frame = binary.BigEndian.AppendUint16(frame, uint16(req.GetVersion()))
	frame = binary.BigEndian.AppendUint32(frame, 7) // correlation id
	frame = append(frame, 0, 1, 'c')                // client id
	if req.IsFlexible() {
		frame = append(frame, 0)
	}
	return req.AppendTo(frame)
}

// serve hands a frame to the broker and returns the answer; nil if there is
// none, or the connection would be closed.
func (w *workbench) serve(frame []byte) kmsg.Response {
	w.t.Helper()
	conn := NewConn("test", "/test")
	req, _, err := w.decode(conn, frame)
	if err != nil {
		return nil
	}
	var answer kmsg.Response
	answers := 0
	w.Handle(conn, req, func(r kmsg.Response) { answer, answers = r, answers+1 })
	w.pass(25 * 24 * time.Hour) // whatever it waits for, 2^31 ms at most
	if answers != 1 {
		w.t.Fatalf("%s version %d: %d answers", kmsg.NameForKey(req.Key()), req.GetVersion(), answers)
	}
	if answer == nil {
		return nil
	}
	again := kmsg.ResponseForKey(answer.Key())
	again.SetVersion(answer.GetVersion())
	if err := again.ReadFrom(answer.AppendTo(nil)); err != nil {
		w.t.Fatalf("%s version %d: the answer cannot be read: %v", kmsg.NameForKey(req.Key()), req.GetVersion(), err)
	}
	return answer
}

// eachVersion calls fn with every request that is served.
func (w *workbench) eachVersion(fn func(kmsg.Request)) {
	for key, h := range w.handlers {
		for v := h.min; v <= h.max; v++ {
			req := kmsg.RequestForKey(key)
			req.SetVersion(v)
			fn(req)
		}
	}
}

// Every version of every request is answered once, empty and with random
// content, by something that can be read.
func TestEveryVersionIsAnswered(t *testing.T) {
	w := newWorkbench(t)
	w.topic("a", 1)
	w.eachVersion(func(req kmsg.Request) {
		if w.serve(frameOf(req)) == nil && req.Key() != int16(kmsg.Produce) { // by default without acks
			t.Errorf("%s version %d is not answered", kmsg.NameForKey(req.Key()), req.GetVersion())
		}
		rng := rand.New(rand.NewPCG(uint64(req.Key()), uint64(req.GetVersion())))
		for range 20 {
			fill(rng, reflect.ValueOf(req).Elem())
			w.serve(frameOf(req))
		}
	})
	if err := w.failure(); err != nil {
		t.Error(err)
	}
}

// FuzzRequest sends any bytes: they are answered or refused, and the broker
// goes on.
func FuzzRequest(f *testing.F) {
	w := newWorkbench(f)
	w.topic("a", 1)
	w.eachVersion(func(req kmsg.Request) {
		rng := rand.New(rand.NewPCG(1, uint64(req.GetVersion())))
		for range 2 {
			fill(rng, reflect.ValueOf(req).Elem())
			f.Add(frameOf(req))
		}
	})
	runs := 0
	f.Fuzz(func(t *testing.T, frame []byte) {
		w.t = t
		if runs++; runs%500 == 0 { // what it stores must not grow for ever
			w.Kill()
			w.fs, w.now = vfs.NewCrashableMem(), time.UnixMilli(1_700_000_000_000)
			w.cfg.FS = w.fs
			w.open()
			w.topic("a", 1)
		}
		w.serve(frame)
		if err := w.failure(); err != nil {
			t.Fatal(err)
		}
	})
}

// syncBuffer is a log that several goroutines write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// dial opens a broker that serves TCP, and a connection to it.
func dial(t *testing.T, cfg Config) (*Broker, func() net.Conn) {
	t.Helper()
	cfg.Dir, cfg.CompactionInterval = t.TempDir(), unhurried
	b, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(ln) }()
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return b, func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

// A request that cannot be taken ends its connection, no other, and is told in
// the log with what to do.
func TestRefusedRequests(t *testing.T) {
	produce := kmsg.NewPtrProduceRequest()
	produce.Version = 11
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Version = 12
	old := kmsg.NewPtrFetchRequest()
	old.Version = 1
	for name, c := range map[string]struct {
		size  int32
		frame []byte
		want  string
	}{
		"oversized produce": {101 << 20, frameOf(produce), "request of 105906176 bytes: at most 104857600 are taken; send less at once"},
		"oversized other":   {5 << 20, frameOf(metadata), "at most 4194304 are taken; send less at once"},
		"negative":          {-5, frameOf(metadata), "request of -5 bytes"},
		"tiny":              {3, frameOf(metadata), "request of 3 bytes"},
		"HTTP":              {0, []byte("GET / HTTP/1.1\r\n\r\n"), "is this a client of Kafka?"},
		"TLS":               {0, []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, "this is TLS, and the listener is plain"},
		"unknown key":       {-1, []byte{0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0, 0}, "request key 32767 is not served"},
		"old version":       {-1, frameOf(old), "Fetch version 1 is not served: 4 to 18 are"},
		"cut short":         {-1, frameOf(metadata)[:12], "Metadata version 12"},
	} {
		t.Run(name, func(t *testing.T) {
			log := &syncBuffer{}
			_, connect := dial(t, Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
			conn := connect()
			message := c.frame
			switch c.size {
			case -1:
				message = append(binary.BigEndian.AppendUint32(nil, uint32(len(c.frame))), c.frame...)
			case 0:
			default:
				message = append(binary.BigEndian.AppendUint32(nil, uint32(c.size)), c.frame...)
			}
			if _, err := conn.Write(message); err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, conn); n > 0 {
				t.Errorf("answered with %d bytes, %v", n, err)
			}
			if !strings.Contains(log.String(), c.want) || !strings.Contains(log.String(), "level=WARN") {
				t.Errorf("the log lacks %q:\n%s", c.want, log.String())
			}
			if version := apiVersions(t, connect(), 4); version.ErrorCode != 0 {
				t.Errorf("another connection: error %d", version.ErrorCode)
			}
		})
	}
}

// apiVersions asks in a version, and reads the answer as that which it must have.
func apiVersions(t *testing.T, conn net.Conn, version int16) *kmsg.ApiVersionsResponse {
	t.Helper()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1.0"
	const newest = 5
	req.Version = min(max(version, 0), newest)
	frame := frameOf(req)
	binary.BigEndian.PutUint16(frame[2:], uint16(version))
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
		t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Fatal(err)
	}
	resp := kmsg.NewPtrApiVersionsResponse()
	if resp.Version = version; version < 0 || version > newest {
		resp.Version = 0
	}
	if err := resp.ReadFrom(answer[4:]); err != nil {
		t.Fatalf("version %d: %v", resp.Version, err)
	}
	return resp
}

// An ApiVersions that is too new is answered in version 0 with error 35, from
// which clients learn what to ask (KIP-511).
func TestUnknownApiVersions(t *testing.T) {
	_, connect := dial(t, Config{})
	resp := apiVersions(t, connect(), 99)
	if resp.ErrorCode != kerr.UnsupportedVersion.Code || len(resp.ApiKeys) == 0 {
		t.Errorf("error %d with %d keys, want 35 and the versions served", resp.ErrorCode, len(resp.ApiKeys))
	}
}

// panicking is a request whose decoder has a fault.
type panicking struct{ kmsg.Request }

func (panicking) ReadFrom([]byte) error { panic("index out of range") }

// TestPanicOfTheDecoder: it ends the connection, which is told in the log; another that is
// in the middle of something is served on, and so is who connects.
func TestPanicOfTheDecoder(t *testing.T) {
	log := &syncBuffer{}
	b, connect := dial(t, Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	h := b.handlers[int16(kmsg.Heartbeat)]
	h.empty = func() kmsg.Request { return panicking{kmsg.NewPtrHeartbeatRequest()} }
	b.handlers[int16(kmsg.Heartbeat)] = h // before anybody is connected
	if _, err := b.topics.create("t", 1, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	waiter := &wire{t, connect()}
	waiter.send(frameOf(fetchOfOne(0, 20*time.Second)))
	for range 3 {
		c := &wire{t, connect()}
		c.send(frameOf(kmsg.NewPtrHeartbeatRequest()))
		if frame, err := c.receive(); !errors.Is(err, io.EOF) {
			t.Errorf("answered with %d bytes, %v", len(frame), err)
		}
	}
	if want := "Heartbeat version 0: the decoder panicked: index out of range"; !strings.Contains(log.String(), want) {
		t.Errorf("the log lacks %q:\n%s", want, log.String())
	}
	wantWritten(t, over[*kmsg.ProduceResponse](t, &wire{t, connect()}, writeOne()), 1, 0)
	if frame, err := waiter.receive(); err != nil || len(frame) < recordbatch.HeaderSize {
		t.Errorf("who waited gets %d bytes, %v", len(frame), err)
	}
	if !eventually(10*time.Second, func() bool {
		b.run.mu.Lock()
		defer b.run.mu.Unlock()
		return len(b.run.conns) == 2
	}) {
		t.Error("the connections of the others are still there")
	}
}

// TestTags: tags that nobody knows are skipped, in the header and in the body; those
// that are cut short, or too many, are refused.
func TestTags(t *testing.T) {
	w := newWorkbench(t)
	metadata := func(header, body []byte) kmsg.Response {
		frame := []byte{0, 3, 0, 12, 0, 0, 0, 7, 0, 1, 'c'}
		frame = append(frame, header...)
		frame = append(frame, 0, 1, 0) // all topics
		return w.serve(append(frame, body...))
	}
	none := []byte{0}
	unknown := []byte{2, 5, 3, 'a', 'b', 'c', 0x80, 0x80, 1, 0} // tags 5 and 16384
	twice := []byte{2, 5, 1, 'a', 5, 1, 'b'}
	for name, test := range map[string]struct {
		header, body []byte
		answered     bool
	}{
		"none":                    {none, none, true},
		"unknown in the header":   {unknown, none, true},
		"unknown in the body":     {none, unknown, true},
		"the same twice":          {none, twice, true},
		"cut short in the header": {[]byte{1, 5, 9, 'a'}, nil, false},
		"cut short in the body":   {none, []byte{1, 5, 9, 'a'}, false},
		"longer than any request": {none, []byte{1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f}, false},
		"very many":               {none, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}, false},
	} {
		if got := metadata(test.header, test.body) != nil; got != test.answered {
			t.Errorf("%s: answered %v, want %v", name, got, test.answered)
		}
	}
}
