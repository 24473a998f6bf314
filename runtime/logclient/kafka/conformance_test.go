package kafka_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"testing"

	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/kafka"
	"github.com/levada/levada/runtime/logclient/logclienttest"
)

// open returns a function that opens the cluster at an address.
func open(address string) func(t *testing.T) logclient.Log {
	return func(t *testing.T) logclient.Log {
		t.Helper()
		l, err := kafka.Open(t.Context(), kafka.Config{Brokers: []string{address}, Logger: logger(t)})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
}

func logger(t *testing.T) *slog.Logger {
	t.Helper()
	if os.Getenv("LEVADA_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// server is our broker, serving TCP in this process.
type server struct {
	t       *testing.T
	dir     string
	address string
	broker  *logbroker.Broker
	served  chan error
}

func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), address: "127.0.0.1:0"}
	s.start()
	t.Cleanup(func() {
		if err := s.broker.Close(); err != nil {
			t.Errorf("close the broker: %v", err)
		}
		<-s.served
	})
	return s
}

func (s *server) start() {
	s.t.Helper()
	var err error
	s.broker, err = logbroker.Open(logbroker.Config{Dir: s.dir, Logger: logger(s.t)})
	if err != nil {
		s.t.Fatal(err)
	}
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = ln.Addr().String()
	s.served = make(chan error, 1)
	go func() { s.served <- s.broker.Serve(ln) }()
}

// kill ends the broker as SIGKILL would and starts it on the same address.
func (s *server) kill(t *testing.T) {
	t.Helper()
	s.broker.Kill()
	<-s.served
	s.start()
}

func TestOurBroker(t *testing.T) {
	logclienttest.Run(t, func(t *testing.T) logclienttest.Env {
		s := startServer(t)
		return logclienttest.Env{
			Open: open(s.address), Kill: s.kill, Survives: true, HoldOffset: logclienttest.HoldOffset(s.address),
		}
	})
}

// apacheKafka is the address of a running broker.
func apacheKafka(t *testing.T) string {
	t.Helper()
	address := os.Getenv("LEVADA_KAFKA")
	if address == "" {
		t.Skip("LEVADA_KAFKA is not set: bench/kafka.sh run go test ./runtime/logclient/kafka")
	}
	return address
}

// TestApacheKafka runs the suite against a running broker:
// bench/kafka.sh run go test ./runtime/logclient/kafka
func TestApacheKafka(t *testing.T) {
	address := apacheKafka(t)
	logclienttest.Run(t, func(*testing.T) logclienttest.Env {
		return logclienttest.Env{Open: open(address), HoldOffset: logclienttest.HoldOffset(address)}
	})
}

// old opens the cluster with the older protocol of transactions.
func old(address string) func(t *testing.T) logclient.Log {
	return func(t *testing.T) logclient.Log {
		t.Helper()
		l := open(address)(t)
		l.(*kafka.Log).UseOldTransactions()
		return l
	}
}

func TestOurBrokerOldTransactions(t *testing.T) {
	logclienttest.RunTransactions(t, func(t *testing.T) logclienttest.Env {
		return logclienttest.Env{Open: old(startServer(t).address)}
	})
}

func TestApacheKafkaOldTransactions(t *testing.T) {
	address := apacheKafka(t)
	logclienttest.RunTransactions(t, func(*testing.T) logclienttest.Env {
		return logclienttest.Env{Open: old(address)}
	})
}
