package logbroker

import (
	"bufio"
	"encoding/binary"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxKeptHead bounds the memory of encoded answers that a connection keeps.
const maxKeptHead = 1 << 20

// pending is an answer that is due in its turn; ready holds it. One with raw is
// bytes without a header.
type pending struct {
	correlation int32
	version     int16 // of the request
	flexible    bool
	raw         []byte
	isRaw       bool
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
	waiting atomic.Int32 // in the queue, or being written from there

	// The reader's while nothing is waiting, else the goroutine's.
	w    *bufio.Writer
	head []byte
}

func newAnswers(b *Broker, c net.Conn, closed <-chan struct{}) *answers {
	return &answers{b: b, c: c, closed: closed, queue: make(chan *pending, b.cfg.Limits.Pipelined), w: bufio.NewWriterSize(c, writeBufferSize)}
}

// give takes the answer to the next request, whose handler has been called. more
// says that another request is there, so that its answer may go along.
func (a *answers) give(p *pending, more bool) error {
	if a.waiting.Load() == 0 {
		select {
		case resp := <-p.ready:
			if err := a.write(p, resp); err != nil || more {
				return err
			}
			return a.w.Flush()
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

// finish sends what the reader has left; no answer is given after it.
func (a *answers) finish() {
	if a.waiting.Load() == 0 {
		_ = a.w.Flush() // the connection ends, and why is known
	}
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
			if err := a.w.Flush(); err != nil {
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
			if err := a.w.Flush(); err != nil {
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
	_ = a.c.SetWriteDeadline(time.Now().Add(writeTimeout))
	frame, err := a.writeFrame(p, resp)
	if a.head = frame; cap(frame) > maxKeptHead {
		a.head = nil
	}
	return err
}

// writeFrame returns the memory that it used.
func (a *answers) writeFrame(p *pending, resp kmsg.Response) ([]byte, error) {
	frame := append(append(a.head[:0], 0, 0, 0, 0), p.raw...)
	if !p.isRaw {
		frame = binary.BigEndian.AppendUint32(frame, uint32(p.correlation))
		if p.flexible {
			frame = append(frame, 0)
		}
		if fetched, ok := resp.(*fetchAnswer); ok {
			defer a.b.frames.put(fetched.buf)
			return fetched.write(a.c, a.w, frame)
		}
		frame = resp.AppendTo(frame)
	}
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	_, err := a.w.Write(frame)
	return frame, err
}
