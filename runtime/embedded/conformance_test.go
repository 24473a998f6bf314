package embedded_test

import (
	"context"
	"net"
	"testing"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/runtime/embedded"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/logclienttest"
)

// brokerInProcess is a broker of this process on a directory of its own. It
// also serves TCP, for the one subtest that meets it from outside.
type brokerInProcess struct {
	t       *testing.T
	dir     string
	broker  *logbroker.Broker
	address string
	served  chan error
}

func startBroker(t *testing.T) *brokerInProcess {
	t.Helper()
	b := &brokerInProcess{t: t, dir: t.TempDir()}
	b.start()
	t.Cleanup(func() {
		if err := b.broker.Close(); err != nil {
			t.Errorf("close the broker: %v", err)
		}
		<-b.served
	})
	return b
}

func (b *brokerInProcess) start() {
	b.t.Helper()
	var err error
	if b.broker, err = logbroker.Open(logbroker.Config{Dir: b.dir}); err != nil {
		b.t.Fatal(err)
	}
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	b.address = ln.Addr().String()
	b.served = make(chan error, 1)
	go func() { b.served <- b.broker.Serve(ln) }()
}

func (b *brokerInProcess) kill(t *testing.T) {
	t.Helper()
	b.broker.Kill()
	<-b.served
	b.start()
}

func (b *brokerInProcess) open(*testing.T) logclient.Log { return embedded.New(b.broker) }

// TestConformance runs the suite of the seam. A Log of this package does not
// survive its broker: whoever killed it opens another.
func TestConformance(t *testing.T) {
	logclienttest.Run(t, func(t *testing.T) logclienttest.Env {
		b := startBroker(t)
		return logclienttest.Env{Open: b.open, Kill: b.kill, HoldOffset: logclienttest.HoldOffset(b.address)}
	})
}

// TestAClosedWriterTakesNothing closes writers while they ask for their id: the
// next holder must not be fenced by the one before.
func TestAClosedWriterTakesNothing(t *testing.T) {
	b := startBroker(t)
	log := embedded.New(b.broker)
	topic := logclient.TopicPartition{Topic: "t"}
	if _, err := log.Admin().CreateTopics([]logclient.TopicSpec{{Name: topic.Topic, Partitions: 1, ReplicationFactor: -1}}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		for last := range 2 {
			w, err := log.NewWriter(logclient.WriterConfig{TransactionalID: "w"})
			if err != nil {
				t.Fatal(err)
			}
			var one recordbatch.Builder
			one.Append(0, nil, []byte("v"), nil)
			if err := w.Append(topic, one.Batch()); err != nil {
				t.Fatal(err)
			}
			if last == 1 {
				if _, err := w.Commit(nil).Wait(t.Context()); err != nil {
					t.Fatalf("round %d: %v", i, err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
