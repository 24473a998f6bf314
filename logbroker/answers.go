package logbroker

import (
	"bufio"
	"encoding/binary"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxFetches is how many fetches of one connection are served before the answers
	// have been sent: they may hold many records. The same goes for all other requests
	// but those in small. Apache Kafka serves one request.
	maxFetches = 4
	// smallFrame is the largest request that is served as a small one.
	smallFrame = 64 << 10
)

// small are the requests that are answered with little, however much there is: what
// clients send while a fetch waits, or other members do.
var small = map[kmsg.Key]bool{
	kmsg.Produce: true, kmsg.OffsetCommit: true, kmsg.Heartbeat: true, kmsg.ConsumerGroupHeartbeat: true, kmsg.LeaveGroup: true, kmsg.FindCoordinator: true,
	kmsg.InitProducerID: true, kmsg.AddPartitionsToTxn: true, kmsg.AddOffsetsToTxn: true, kmsg.TxnOffsetCommit: true, kmsg.EndTxn: true,
	kmsg.ApiVersions: true, kmsg.SASLHandshake: true, kmsg.SASLAuthenticate: true,
}

// pending is an answer that is due in its turn; ready holds it. One with raw is
// bytes without a header.
type pending struct {
	correlation int32
	version     int16 // of the request
	flexible    bool
	raw         []byte
	isRaw       bool
	isLarge     bool // takes a place of fetches until it is written
	usage       usage
	ready       chan kmsg.Response // capacity 1: an answer never waits for the writer
}

// answers writes what a connection is answered, in the order of its requests. What
// is ready at once the reader of the requests writes itself; what is not waits in
// the queue for a goroutine.
type answers struct {
	b       *Broker
	c       net.Conn
	closed  <-chan struct{}
	queue   chan *pending
	fetches chan struct{} // has the capacity of maxFetches
	waiting atomic.Int32  // in the queue, or being written from there

	// held are answers that the reader keeps while what comes next is served: one sync
	// makes all of them ready.
	held []*pending

	// w is the reader's while nothing is waiting, else the goroutine's; nil while
	// nothing is to be sent, so that a connection that is silent costs nothing.
	w *bufio.Writer
}

func newAnswers(b *Broker, c net.Conn, closed <-chan struct{}) *answers {
	return &answers{b: b, c: c, closed: closed, queue: make(chan *pending, b.cfg.Limits.Pipelined), fetches: make(chan struct{}, maxFetches)}
}

// give takes the answer to the next request, whose handler has been called. more
// says that another request is there, so that its answer may go along.
func (a *answers) give(p *pending, more bool) error {
	if err := a.giveHeld(); err != nil {
		return err
	}
	if a.waiting.Load() == 0 {
		select {
		case resp := <-p.ready:
			if err := a.write(p, resp); err != nil || more {
				return err
			}
			return a.flush()
		default:
		}
	}
	a.waiting.Add(1)
	select {
	case a.queue <- p:
		return nil
	case <-a.closed:
		return net.ErrClosed
	}
}

// hold keeps an answer until the next one is given, or a request of another kind comes.
func (a *answers) hold(p *pending) { a.held = append(a.held, p) }

// giveHeld gives the answers that were held.
func (a *answers) giveHeld() error {
	if len(a.held) == 0 {
		return nil
	}
	held := a.held
	a.held = a.held[:0:0]
	for _, p := range held {
		if err := a.give(p, true); err != nil {
			return err
		}
	}
	clear(held)
	a.held = held[:0]
	return nil
}

// hasRoom tells whether the next answer finds room in the queue, and leaves some.
func (a *answers) hasRoom() bool { return len(a.queue)+len(a.held)+1 < cap(a.queue) }

// begin waits until another fetch, or what may be answered with as much, may be served.
func (a *answers) begin(p *pending) error {
	if !p.isLarge {
		return nil
	}
	select {
	case a.fetches <- struct{}{}:
		return nil
	case <-a.closed:
		return net.ErrClosed
	}
}

// flushWritten sends what the reader has written, before it does something that may take a
// while.
func (a *answers) flushWritten() error {
	if a.waiting.Load() > 0 {
		return nil // the goroutine does
	}
	return a.flush()
}

// flushLeft sends what the reader has left for another answer to go along with.
func (a *answers) flushLeft() error {
	if err := a.giveHeld(); err != nil {
		return err
	}
	return a.flushWritten()
}

// finish sends what the reader has left; no answer is given after it.
func (a *answers) finish() {
	_ = a.flushLeft() // the connection ends, and why is known
	close(a.queue)
}

// run writes the answers of the queue as they become ready.
func (a *answers) run() {
	for p := range a.queue {
		var resp kmsg.Response
		select {
		case resp = <-p.ready:
		default:
			// What is written must not wait for an answer that is not there yet.
			if err := a.flush(); err != nil {
				return
			}
			select {
			case resp = <-p.ready:
			case <-a.closed:
				return
			case <-a.b.run.stop:
				return
			}
		}
		if err := a.write(p, resp); err != nil {
			return
		}
		if len(a.queue) == 0 {
			if err := a.flush(); err != nil {
				return
			}
		}
		a.waiting.Add(-1)
	}
}

// write encodes one answer. A nil answer is none.
func (a *answers) write(p *pending, resp kmsg.Response) error {
	if resp == nil && !p.isRaw {
		return nil
	}
	if a.w == nil {
		a.w, _ = a.b.writers.Get().(*bufio.Writer)
		if a.w == nil {
			a.w = bufio.NewWriterSize(nil, readBufferSize)
		}
		a.w.Reset(a.c)
	}
	frame, err := a.writeFrame(p, resp)
	a.b.frames.put(frame)
	if p.isLarge {
		<-a.fetches
	}
	return err
}

// flush sends what was written.
func (a *answers) flush() error {
	if a.w == nil {
		return nil
	}
	err := a.w.Flush()
	a.w.Reset(nil)
	a.b.writers.Put(a.w)
	a.w = nil
	return err
}

// writeFrame returns the memory that it used.
func (a *answers) writeFrame(p *pending, resp kmsg.Response) ([]byte, error) {
	frame := append(append(a.b.frames.get(smallestFrame), 0, 0, 0, 0), p.raw...)
	if !p.isRaw {
		frame = binary.BigEndian.AppendUint32(frame, uint32(p.correlation))
		if p.flexible {
			frame = append(frame, 0)
		}
		if fetched, ok := resp.(*fetchAnswer); ok {
			defer a.b.frames.put(fetched.buf)
			return fetched.write(a.c, a.w, frame, &a.b.cfg.patience)
		}
		frame = resp.AppendTo(frame)
	}
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	_ = a.c.SetWriteDeadline(time.Now().Add(a.b.cfg.patience.writing(len(frame))))
	_, err := a.w.Write(frame)
	return frame, err
}
