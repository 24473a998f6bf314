package differential

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// broker is one that is asked, over a connection that speaks the bare protocol, so
// that versions are what the test says.
type broker struct {
	t      *testing.T
	name   string
	conn   net.Conn
	client string
	doing  string
	names  names
}

func dialBroker(t *testing.T, name, addr string) *broker {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	b := &broker{t: t, name: name, conn: conn, client: "differential", names: names{producers: map[int64]string{}}}
	for _, kind := range []int8{0, 1} {
		// Kafka makes its own topics for them the first time.
		settle(func() string {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.Version, req.CoordinatorKeys, req.CoordinatorType = 4, []string{"x"}, kind
			return codeName(b.ask(req).(*kmsg.FindCoordinatorResponse).Coordinators[0].ErrorCode)
		}, kerr.CoordinatorNotAvailable.Message)
	}
	return b
}

// names are what a broker chose itself, under names that all share.
type names struct {
	producers map[int64]string
}

// producer is a name for a producer id: the order of their first appearance.
func (n *names) producer(id int64) string {
	if id < 0 {
		return "none"
	}
	if n.producers[id] == "" {
		n.producers[id] = fmt.Sprintf("P%d", len(n.producers)+1)
	}
	return n.producers[id]
}

// ask sends a request and reads its answer.
func (b *broker) ask(req kmsg.Request) kmsg.Response {
	b.t.Helper()
	resp, err := b.try(req)
	if err != nil {
		b.t.Fatalf("%s: %s: %s version %d: %v", b.name, b.doing, kmsg.NameForKey(req.Key()), req.GetVersion(), err)
	}
	return resp
}

// try is ask where the broker may end the connection.
func (b *broker) try(req kmsg.Request) (kmsg.Response, error) {
	_ = b.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := b.conn.Write(b.frame(req)); err != nil {
		return nil, err
	}
	return b.receive(req)
}

// frame is a request as it is sent.
func (b *broker) frame(req kmsg.Request) []byte {
	frame := binary.BigEndian.AppendUint16(make([]byte, 4), uint16(req.Key()))
	frame = binary.BigEndian.AppendUint16(frame, uint16(req.GetVersion()))
	frame = binary.BigEndian.AppendUint32(frame, 7)
	frame = kbin.AppendNullableString(frame, &b.client)
	if req.IsFlexible() {
		frame = append(frame, 0)
	}
	frame = req.AppendTo(frame)
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	return frame
}

// receive reads the answer to a request.
func (b *broker) receive(req kmsg.Request) (kmsg.Response, error) {
	var size [4]byte
	if _, err := io.ReadFull(b.conn, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(b.conn, body); err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	head := 4
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		head++
	}
	if err := resp.ReadFrom(body[head:]); err != nil {
		return nil, fmt.Errorf("the answer: %w", err)
	}
	return resp, nil
}
