package logbroker

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// pending is an answer that is due in its turn; ready holds it. One with raw is
// bytes without a header.
type pending struct {
	correlation int32
	version     int16 // of the request
	flexible    bool
	raw         []byte
	isRaw       bool
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
	waiting atomic.Int32  // in the queue, or being written from there
	others  atomic.Int32  // of them, those that are not of produces
	written chan struct{} // capacity 1: one of them has been written

	// held are answers that the reader keeps while what comes next is served: one sync
	// makes all of them ready.
	held []*pending

	// w is the reader's while nothing is waiting, else the goroutine's; nil while
	// nothing is to be sent, so that a connection that is silent costs nothing.
	w     *bufio.Writer
	stint stint // of who has w
}

func newAnswers(b *Broker, c net.Conn, closed <-chan struct{}) *answers {
	return &answers{b: b, c: c, closed: closed, queue: make(chan *pending, b.cfg.Limits.Pipelined), written: make(chan struct{}, 1)}
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
	a.others.Add(p.other())
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

// other is 1 if the answer is not a produce's.
func (p *pending) other() int32 {
	if p.usage.key == int16(kmsg.Produce) {
		return 0
	}
	return 1
}

// await waits until the answers before have been written; before a produce, those of other
// requests. It waits at most as long as a connection may be idle: where connections cannot be
// watched, nobody sees meanwhile whether the client, which has sent more, is still there.
func (a *answers) await(produce bool, from *arrivals) (waited bool, err error) {
	var end time.Time
	var look *time.Ticker
	for {
		if a.others.Load() == 0 && (produce || a.waiting.Load() == 0) {
			return waited, nil
		}
		if !waited {
			waited, end = true, time.Now().Add(a.b.cfg.patience.idle)
			look = time.NewTicker(min(muteStep, a.b.cfg.patience.idle))
			defer look.Stop()
		}
		select {
		case <-a.written:
		case now := <-look.C:
			switch {
			case from.ended():
				return waited, io.EOF
			case now.After(end):
				return waited, os.ErrDeadlineExceeded
			}
		case <-a.closed:
			return waited, net.ErrClosed
		case <-a.b.run.stop:
			return waited, net.ErrClosed
		}
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
		a.others.Add(-p.other())
		a.waiting.Add(-1)
		select {
		case a.written <- struct{}{}:
		default:
		}
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
			return fetched.write(a.c, a.w, frame, &a.b.cfg.patience, func() { a.b.pulse.step(&a.stint) })
		}
		frame = resp.AppendTo(frame)
	}
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	_ = a.c.SetWriteDeadline(time.Now().Add(a.b.cfg.patience.writing(len(frame))))
	_, err := a.w.Write(frame)
	return frame, err
}
