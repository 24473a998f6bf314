package connectortest

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/connectors/sdk"
	"github.com/levada/levada/internal/recordbatch"
)

// timeout bounds every wait of the suite.
const timeout = 15 * time.Second

// InProcess serves the plugin over a pipe in memory until the test ends.
func InProcess(t testing.TB, p sdk.Plugin) proto.ConnectorClient {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.MaxRecvMsgSize(proto.MaxMessageBytes))
	proto.RegisterConnectorServer(server, sdk.NewServer(p))
	served := make(chan error, 1) // the result of Serve, taken at the end
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient(
		"passthrough:///plugin",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		<-served
	})
	return proto.NewConnectorClient(conn)
}

// record is what the suite compares.
type record struct{ key, value string }

// decode reads record batches from the wire.
func decode(t testing.TB, records []byte) []record {
	t.Helper()
	var out []record
	for len(records) > 0 {
		batch, rest, err := recordbatch.Split(records)
		if err != nil {
			t.Fatalf("record batch: %v", err)
		}
		if err := batch.Validate(); err != nil {
			t.Fatalf("record batch: %v", err)
		}
		var r recordbatch.Reader
		var rec recordbatch.Record
		if err := r.Reset(batch); err != nil {
			t.Fatal(err)
		}
		for {
			ok, err := r.Next(&rec)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			out = append(out, record{string(rec.Key), string(rec.Value)})
		}
		records = rest
	}
	return out
}

// refused opens a stream that must end with an error and returns it.
func refused[E any](t testing.TB, recv func() (E, error), errorOf func(E) *proto.Error) *proto.Error {
	t.Helper()
	for {
		e, err := recv()
		if err != nil {
			t.Fatalf("the stream ended with %v, want an Error event", err)
		}
		if m := errorOf(e); m != nil {
			return m
		}
	}
}

// ended reads to the end of a stream that must end well.
func ended[E any](t testing.TB, recv func() (E, error), errorOf func(E) *proto.Error) {
	t.Helper()
	for {
		e, err := recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("the stream ended with %v, want a clean end", err)
		}
		if m := errorOf(e); m != nil {
			t.Fatalf("the stream ended with the error %q, want a clean end", m.Message)
		}
	}
}
