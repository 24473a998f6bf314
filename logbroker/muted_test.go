package logbroker

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/quota"
)

// mutedClient is a client that has to wait for minutes, and has sent another request
// along with the one that it has to wait for. It is told at once.
func mutedClient(t *testing.T, cfg Config) (*Broker, *wire) {
	t.Helper()
	b, addr, _ := serveSecured(t, cfg, Listener{})
	b.security.quotas.Set(quota.Entity{Client: quota.Default}, map[string]float64{quota.ProducerBytes: 1})
	c := dialWire(t, addr)
	produce, both := writeOne(), []byte(nil)
	for _, frame := range [][]byte{frameOf(produce), frameOf(&kmsg.MetadataRequest{Version: 9})} {
		both = append(binary.BigEndian.AppendUint32(both, uint32(len(frame))), frame...)
	}
	if _, err := c.Write(both); err != nil {
		t.Fatal(err)
	}
	frame, err := c.receive()
	if err != nil {
		t.Fatalf("the answer does not come: %v", err)
	}
	resp := produce.ResponseKind().(*kmsg.ProduceResponse)
	if err := resp.ReadFrom(frame[4:]); err != nil || resp.ThrottleMillis < 60_000 {
		t.Fatalf("told to wait %d ms, %v", resp.ThrottleMillis, err)
	}
	return b, c
}

// TestTheEndWaitsForNoMutedClient: a broker ends at once, however long its clients have
// to wait.
func TestTheEndWaitsForNoMutedClient(t *testing.T) {
	b, _ := mutedClient(t, Config{})
	ended := make(chan error, 1)
	go func() { ended <- b.Close() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for a client that is muted")
	}
}

// TestMutedClientsAreEnded: nobody sees whether a client that is muted is still there, so
// its connection is kept no longer than an idle one, as by Kafka.
func TestMutedClientsAreEnded(t *testing.T) {
	const idle = 300 * time.Millisecond
	start := time.Now()
	_, c := mutedClient(t, Config{patience: patience{idle: idle}})
	if frame, err := c.receive(); err == nil {
		t.Errorf("it is answered with %d bytes", len(frame))
	}
	if took := time.Since(start); took < idle || took > 10*time.Second {
		t.Errorf("it was let go after %v, want about %v", took, idle)
	}
}
