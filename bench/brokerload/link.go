package brokerload

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxAnswer bounds an answer: more than a fetch may ask for is a broken connection.
const maxAnswer = 256 << 20

// answerWait is how long a broker may take to read a request, and to answer it.
const answerWait = time.Minute

// link is a connection to one broker, over which requests go as they are given. Answers
// come in the order of the requests. One goroutine may send while another receives.
type link struct {
	conn           net.Conn
	in             *bufio.Reader
	format         *kmsg.RequestFormatter
	out, body      []byte
	sent, received int32
}

// dial connects to a broker. The connection is closed when the context ends.
func dial(ctx context.Context, address string) (*link, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	return &link{conn: conn, in: bufio.NewReaderSize(conn, 64<<10), format: kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))}, nil
}

func (l *link) close() { l.conn.Close() }

// send writes a request, in the version that is set in it.
func (l *link) send(req kmsg.Request) error {
	l.out = l.format.AppendRequest(l.out[:0], req, l.sent)
	l.sent++
	return l.write(net.Buffers{l.out})
}

func (l *link) write(pieces net.Buffers) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(answerWait)); err != nil {
		return err
	}
	_, err := pieces.WriteTo(l.conn)
	return err
}

// receive reads the answer to the oldest request that has none. What it holds is valid
// until the next call.
func (l *link) receive(resp kmsg.Response) error {
	if err := l.conn.SetReadDeadline(time.Now().Add(answerWait)); err != nil {
		return err
	}
	var head [8]byte
	if _, err := io.ReadFull(l.in, head[:]); err != nil {
		return err
	}
	size, id := int(binary.BigEndian.Uint32(head[:]))-4, int32(binary.BigEndian.Uint32(head[4:]))
	if size < 0 || size > maxAnswer || id != l.received {
		return fmt.Errorf("answer %d of %d bytes came where answer %d is due", id, size, l.received)
	}
	l.received++
	if cap(l.body) < size {
		l.body = make([]byte, size)
	}
	l.body = l.body[:size]
	if _, err := io.ReadFull(l.in, l.body); err != nil {
		return err
	}
	body := kbin.Reader{Src: l.body}
	if resp.IsFlexible() && resp.Key() != kmsg.ApiVersions.Int16() {
		kmsg.SkipTags(&body) // of the header (KIP-482)
	}
	return errors.Join(body.Complete(), resp.ReadFrom(body.Src))
}

// version is the latest that both the broker and this client know of a request.
func (l *link) version(req kmsg.Request, latest int16) (int16, error) {
	ask := kmsg.NewPtrApiVersionsRequest()
	if err := l.send(ask); err != nil {
		return 0, err
	}
	resp := ask.ResponseKind().(*kmsg.ApiVersionsResponse)
	if err := l.receive(resp); err != nil {
		return 0, err
	}
	for _, k := range resp.ApiKeys {
		if k.ApiKey == req.Key() && k.MaxVersion > 0 {
			return min(latest, k.MaxVersion), nil
		}
	}
	return 0, fmt.Errorf("%s does not know %s", l.conn.RemoteAddr(), kmsg.NameForKey(req.Key()))
}
