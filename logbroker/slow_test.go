//go:build unix

package logbroker

import (
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/sasl"
)

// memory is what the process uses after a collection of garbage.
func memory() int64 {
	runtime.GC()
	runtime.GC() // what pools keep goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestManySlowConnections: ten thousand clients, or as many as the limit of open
// files allows, that began a large request and do not go on cost little memory each,
// and others are served meanwhile.
func TestManySlowConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("opens many files")
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	n := int(min(10_000, (int64(min(files.Cur, 1<<20))-500)/2)) // both ends are here
	b, addr, _ := serveSecured(t, Config{Limits: Limits{Connections: n + 1}}, Listener{})
	before := memory()
	begun := binary.BigEndian.AppendUint32(nil, 100<<20) // key 0, Produce
	begun = append(begun, make([]byte, 100)...)
	conns := make([]net.Conn, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	for i := range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns[i] = c
		if _, err := c.Write(begun); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	accepted := func() bool {
		b.run.mu.Lock()
		defer b.run.mu.Unlock()
		return len(b.run.conns) == n
	}
	if !eventually(time.Minute, accepted) {
		t.Fatal("not all are accepted")
	}
	last := dialWire(t, addr)
	if err := last.metadata(); err != nil {
		t.Errorf("another client: %v", err)
	}
	const each = 32 << 10
	if used := memory() - before; used > int64(n)*each {
		t.Errorf("%d connections use %d bytes each, want %d at most", n, used/int64(n), each)
	} else {
		t.Logf("%d connections use %d bytes each", n, used/int64(n))
	}
	if over := dialWire(t, addr); over.metadata() == nil {
		t.Error("one more than may be is served")
	}
}

// pipes is a listener of connections in this process, all of one host. A write of theirs
// is over when the broker has read it.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// TestStrangersHoldLittle: as many clients of one host as there may be, that do not
// authenticate, cost little memory each, however far they go: who sends no whole request
// what it has sent, and who does no more for it.
func TestStrangersHoldLittle(t *testing.T) {
	most := make([]byte, maxStrangeBytes+3) // all but a byte of the largest
	binary.BigEndian.PutUint32(most, maxStrangeBytes)
	binary.BigEndian.PutUint16(most[4:], uint16(kmsg.SASLAuthenticate))
	begin := func(w *wire) {
		handshake := kmsg.NewPtrSASLHandshakeRequest()
		handshake.Version, handshake.Mechanism = 1, sasl.SCRAM512
		first := kmsg.NewPtrSASLAuthenticateRequest()
		first.Version, first.SASLAuthBytes = 2, []byte("n,,n=ann,r=abc")
		for _, req := range []kmsg.Request{kmsg.NewPtrApiVersionsRequest(), handshake, first} {
			if _, err := w.call(req); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name    string
		clients int
		does    func(*wire)
		each    int64 // bytes of memory, with the client's end
	}{
		{"say nothing", 4096, func(*wire) {}, 32 << 10},
		{"begin to authenticate", 4096, begin, 32 << 10},
		{"send most of a request", 200, func(w *wire) { _, _ = w.Write(most) }, 32<<10 + maxStrangeBytes},
		{"do both", 200, func(w *wire) { begin(w); _, _ = w.Write(most) }, 32<<10 + maxStrangeBytes},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, _, _ := serveSecured(t, Config{Security: Security{Users: map[string]Password{"ann": "secret"}}}, Listener{})
			ln := make(pipes)
			served := make(chan error, 1)
			go func() { served <- b.ServeListener(ln, Listener{SASL: []string{sasl.SCRAM512}}) }()
			before := memory()
			clients := make([]*wire, test.clients)
			for i := range clients {
				ours, theirs := net.Pipe()
				ln <- theirs
				clients[i] = &wire{t, ours}
				test.does(clients[i])
			}
			if !eventually(time.Minute, func() bool {
				b.run.mu.Lock()
				defer b.run.mu.Unlock()
				return len(b.run.conns) == len(clients)
			}) {
				t.Fatal("not all are let in")
			}
			used := (memory() - before) / int64(len(clients))
			if t.Logf("%d bytes each", used); used > test.each {
				t.Errorf("want %d at most", test.each)
			}
			for _, c := range clients {
				_ = c.Close()
			}
			_ = ln.Close()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSlowClientsAreEnded: who says nothing, does not finish a request, does not
// authenticate or does not read its answers is let go after a while, whatever it
// does to look busy.
func TestSlowClientsAreEnded(t *testing.T) {
	const wait = 300 * time.Millisecond
	cfg := func(change func(*patience)) Config {
		c := Config{Security: Security{Users: map[string]Password{"ann": "secret"}}}
		change(&c.patience)
		return c
	}
	versions := frameOf(kmsg.NewPtrApiVersionsRequest())
	metadata := frameOf(&kmsg.MetadataRequest{Version: 9})
	framed := func(frame []byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
	}
	for name, test := range map[string]struct {
		cfg    Config
		sasl   []string
		first  []byte // is sent once
		again  []byte // and this every 20 ms
		unread bool
	}{
		"silent":               {cfg: cfg(func(p *patience) { p.idle = wait })},
		"silent after one":     {cfg: cfg(func(p *patience) { p.idle = wait }), first: framed(metadata)},
		"part of a length":     {cfg: cfg(func(p *patience) { p.idle = wait }), first: []byte{0, 0}},
		"part of a request":    {cfg: cfg(func(p *patience) { p.frame = wait }), first: framed(metadata)[:10]},
		"byte by byte":         {cfg: cfg(func(p *patience) { p.frame = wait }), first: []byte{0, 1, 0, 0, 0, 3}, again: []byte{0}},
		"a stranger is silent": {cfg: cfg(func(p *patience) { p.login = wait }), sasl: []string{"PLAIN"}},
		"a stranger asks for versions": {
			cfg: cfg(func(p *patience) { p.login = wait }), sasl: []string{"PLAIN"}, again: framed(versions),
		},
		"a stranger sends byte by byte": {
			cfg: cfg(func(p *patience) { p.login = wait }), sasl: []string{"PLAIN"}, first: []byte{0, 1, 0, 0, 0, byte(kmsg.ApiVersions)}, again: []byte{0},
		},
		"does not read": {cfg: cfg(func(p *patience) { p.write = wait }), again: []byte(strings.Repeat(string(framed(metadata)), 50_000)), unread: true},
	} {
		t.Run(name, func(t *testing.T) {
			b, addr, _ := serveSecured(t, test.cfg, Listener{SASL: test.sasl, PlainUnencrypted: true})
			c := dialWire(t, addr)
			start := time.Now()
			connections := func() int {
				b.run.mu.Lock()
				defer b.run.mu.Unlock()
				return len(b.run.conns)
			}
			if !eventually(15*time.Second, func() bool { return connections() == 1 }) {
				t.Fatal("the client is not there")
			}
			_, _ = c.Write(test.first)
			stop := make(chan struct{})
			defer close(stop)
			go func() {
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				for err := error(nil); err == nil && test.again != nil; {
					select {
					case <-tick.C:
						_, err = c.Write(test.again)
					case <-stop:
						return
					}
				}
			}()
			if !test.unread {
				_, _ = io.Copy(io.Discard, c)
			}
			if !eventually(15*time.Second, func() bool { return connections() == 0 }) {
				t.Fatal("the client is still there")
			}
			if took := time.Since(start); took < wait/2 || took > 10*time.Second {
				t.Errorf("it was let go after %v, want about %v", took, wait)
			}
		})
	}
}

// TestSlowReaders: a client that asks for more and more behind a fetch that waits,
// or does not read what it gets, is not served on: what waits for it is bounded.
func TestSlowReaders(t *testing.T) {
	var served atomic.Int64
	b, addr, _ := serveSecured(t, Config{}, Listener{})
	h := b.handlers[int16(kmsg.Fetch)]
	serve := h.serve
	h.serve = func(b *Broker, r *request) { serve(b, r); served.Add(1) }
	b.handlers[int16(kmsg.Fetch)] = h // before anybody is connected

	const partitions, asked = 200, 60
	if _, err := b.topics.create("t", partitions, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.SessionEpoch = 11, 50<<20, -1
	ft := kmsg.NewFetchRequestTopic()
	ft.Topic = "t"
	value := strings.Repeat("x", 25_000) // small enough not to be sent from its file
	for i := range int32(partitions) {
		if _, err := b.Append("t", i, oneRecord(-1, -1, -1, false, value)); err != nil {
			t.Fatal(err)
		}
		b.topics.byName("t").parts()[i].sync()
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.PartitionMaxBytes = i, 1<<20
		ft.Partitions = append(ft.Partitions, p)
	}
	req.Topics = append(req.Topics, ft)
	c := dialWire(t, addr)
	waits := kmsg.NewPtrFetchRequest() // for what does not come; the others have to wait for it
	waits.Version, waits.MaxWaitMillis, waits.MinBytes, waits.SessionEpoch = 11, 1500, 1, -1
	wp := kmsg.NewFetchRequestTopicPartition()
	wp.FetchOffset = 1
	waits.Topics = []kmsg.FetchRequestTopic{{Topic: "t", Partitions: []kmsg.FetchRequestTopicPartition{wp}}}
	c.send(frameOf(waits))
	go func() {
		for range asked {
			if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frameOf(req)))), frameOf(req)...)); err != nil {
				return
			}
		}
	}()
	const most = 1 + 12 // some are on their way, in the buffers of the kernel
	if eventually(time.Second, func() bool { return served.Load() > most }) {
		t.Fatalf("%d fetches are served before any answer is read", served.Load())
	}
	if _, err := c.receive(); err != nil {
		t.Fatal(err)
	}
	for i := range int64(asked) {
		answer, err := c.receive()
		if err != nil || len(answer) < partitions*25_000 {
			t.Fatalf("answer %d has %d bytes, %v", i, len(answer), err)
		}
		if n := served.Load(); n > i+2+most {
			t.Fatalf("%d fetches are served, and %d answers read", n, i+2)
		}
	}
}

// TestReadersOfLargeAnswersAreInTime: a client that takes a large answer bit by bit is
// let go when it takes less than the least speed, however much comes between two waits,
// and is served when it takes more, however long that takes.
func TestReadersOfLargeAnswersAreInTime(t *testing.T) {
	const partitions, each, wait = 40, 1 << 20, 300 * time.Millisecond
	for name, test := range map[string]struct {
		speed int
		whole bool
	}{"too slow": {1 << 30, false}, "fast enough": {1 << 20, true}} {
		t.Run(name, func(t *testing.T) {
			b, addr, _ := serveSecured(t, Config{patience: patience{write: wait, speed: test.speed}}, Listener{})
			if _, err := b.topics.create("t", partitions, map[string]string{}, false); err != nil {
				t.Fatal(err)
			}
			ft := kmsg.NewFetchRequestTopic()
			ft.Topic = "t"
			for i := range int32(partitions) {
				if _, err := b.Append("t", i, oneRecord(-1, -1, -1, false, strings.Repeat("x", each-1000))); err != nil {
					t.Fatal(err)
				}
				b.topics.byName("t").parts()[i].sync()
				p := kmsg.NewFetchRequestTopicPartition()
				p.Partition, p.PartitionMaxBytes = i, each
				ft.Partitions = append(ft.Partitions, p)
			}
			req := kmsg.NewPtrFetchRequest()
			req.Version, req.MaxBytes, req.MinBytes, req.MaxWaitMillis, req.SessionEpoch = 11, 50<<20, partitions*(each-1000), 10_000, -1
			req.Topics = append(req.Topics, ft)
			c := dialWire(t, addr)
			c.send(frameOf(req))
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			var size [4]byte
			if _, err := io.ReadFull(c, size[:]); err != nil {
				t.Fatal(err)
			}
			left, err := int64(binary.BigEndian.Uint32(size[:])), error(nil)
			for left > 0 && err == nil {
				var n int64
				n, err = io.CopyN(io.Discard, c, min(left, each/4))
				left -= n
				<-tick.C
			}
			if whole := err == nil; whole != test.whole {
				t.Errorf("%d bytes have not come, %v", left, err)
			}
		})
	}
}

// TestFetchesHoldLittle: a fetch that waits holds no records, and one that is answered
// copies few of them, however many partitions it names: the rest is sent from files.
func TestFetchesHoldLittle(t *testing.T) {
	const partitions, fetches = 300, 20
	w := newWorkbench(t)
	w.topic("t", partitions)
	fetch := func(minBytes int32, answer func(*fetchAnswer)) {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.MaxBytes, req.MinBytes, req.MaxWaitMillis, req.SessionEpoch = 11, 50<<20, minBytes, 1<<30, noSessionEpoch
		ft := kmsg.NewFetchRequestTopic()
		ft.Topic = "t"
		for n := range int32(partitions) {
			p := kmsg.NewFetchRequestTopicPartition()
			p.Partition, p.PartitionMaxBytes = n, 1<<20
			ft.Partitions = append(ft.Partitions, p)
		}
		req.Topics = append(req.Topics, ft)
		w.Handle(eve(), req, func(r kmsg.Response) { answer(r.(*fetchAnswer)) })
	}
	w.want(w.produce(11, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
	before := memory()
	for range fetches {
		fetch(1<<30, func(*fetchAnswer) {})
	}
	const each = 256 << 10 // most of it the partitions that are named
	if used := memory() - before; used > fetches*each {
		t.Errorf("%d fetches that wait hold %d bytes each, want %d at most", fetches, used/fetches, each)
	}
	w.pass(25 * 24 * time.Hour) // their time is over
	value := strings.Repeat("x", minSent-1000)
	for n := range int32(partitions) {
		w.want(w.produce(11, nil, n, oneRecord(-1, -1, -1, false, value)).ErrorCode, nil)
	}
	fetch(1, func(f *fetchAnswer) {
		copied, all := 0, fetchedBytes(f)
		for _, p := range f.Topics[0].Partitions {
			copied += len(p.RecordBatches)
		}
		if all < partitions*len(value) || copied > maxCopied+minSent {
			t.Errorf("of %d bytes %d are copied, want %d at most", all, copied, maxCopied+minSent)
		}
	})
	w.Broker.cfg.Limits.FetchBytes = 100_000 // less than the client asks for
	fetch(1, func(f *fetchAnswer) {
		if n := fetchedBytes(f); n == 0 || n > 100_000 {
			t.Errorf("%d bytes, want 100,000 at most", n)
		}
	})
}

// TestSmallBeforeLarge: a batch too large to go along with a small one before it is not
// read for that.
func TestSmallBeforeLarge(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	const small, large = 20_000, 1_040_000
	for _, size := range []int{small, large} {
		w.want(w.produce(11, nil, 0, oneRecord(-1, -1, -1, false, strings.Repeat("x", size))).ErrorCode, nil)
	}
	for offset, size := range []int{small, large} {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.MaxBytes, req.SessionEpoch = 11, 50<<20, noSessionEpoch
		ft, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
		ft.Topic, p.PartitionMaxBytes, p.FetchOffset = "t", 1<<20, int64(offset)
		ft.Partitions = append(ft.Partitions, p)
		req.Topics = append(req.Topics, ft)
		w.Handle(eve(), req, func(r kmsg.Response) {
			f := r.(*fetchAnswer)
			if n := fetchedBytes(f); n < size || n > size+1000 {
				t.Errorf("from offset %d on %d bytes, want a batch of %d", offset, n, size)
			}
			if cap(f.buf) > 2*minSent {
				t.Errorf("from offset %d on %d bytes of memory were taken", offset, cap(f.buf))
			}
		})
	}
}
