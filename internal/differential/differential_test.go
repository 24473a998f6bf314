package differential

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/levada/levada/logbroker"
)

// startLevada serves a broker of ours.
func startLevada(t *testing.T) string {
	t.Helper()
	return startLevadaWith(t, logbroker.Security{})
}

func startLevadaWith(t *testing.T, security logbroker.Security) string {
	t.Helper()
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)                                                                                                                                                 // as kafka.sh starts one
	b, err := logbroker.Open(logbroker.Config{Dir: t.TempDir(), Fsync: logbroker.FsyncAlways, NodeID: 1, Security: security, LogLevel: level, CompactionInterval: time.Hour}) // old records stay
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(ln) }()
	t.Cleanup(func() {
		if err := errors.Join(b.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// fakeName is the broker of which only right requests are asked: what it says to
// wrong ones is not what Apache Kafka says.
const fakeName = "kfake"

const kafkaName = "Apache Kafka"

func startFake(t *testing.T) string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

// compare asks both brokers the same, and stops at the first answer that differs.
func compare(t *testing.T, seed uint64, steps int, prefix string, ours, theirs *broker, known func(op, ours, theirs string) bool) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(prefix, theirs.name == fakeName)
	if w.right {
		for _, name := range w.topics {
			for _, b := range []*broker{ours, theirs} {
				w.newTopic(name, 2, 1, "", "", false).do(b)
			}
		}
	}
	for i := range steps {
		op := w.next(rng)
		ours.doing, theirs.doing = op.text, op.text
		if op.first != nil {
			agree(op.first.do, ours, theirs)
		}
		a, b := op.do(ours), op.do(theirs)
		if op.reads && a != b && !known(op.text, a, b) {
			a, b = agree(op.do, ours, theirs)
		}
		if testing.Verbose() {
			t.Log(op.text, "->", a)
		}
		if a == b || known(op.text, a, b) {
			continue
		}
		t.Errorf("seed %d, step %d: %s\n  Levada: %s\n  %s: %s", seed, i, op.text, a, theirs.name, b)
		return
	}
}

// agree asks for something that changes nothing until both say the same: what was
// written may be seen a little later by the one than by the other.
func agree(do func(*broker) string, ours, theirs *broker) (a, b string) {
	settle(func() string {
		if a, b = do(ours), do(theirs); a == b {
			return "done"
		}
		return "busy"
	}, "busy")
	return a, b
}

func number(name string, fallback int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return fallback
}

// TestAgainstFake compares with the fake broker of franz-go (LEVADA_SEEDS for more).
func TestAgainstFake(t *testing.T) {
	for seed := range number("LEVADA_SEEDS", 3) {
		ours, fake := dialBroker(t, "Levada", startLevada(t)), dialBroker(t, fakeName, startFake(t))
		compare(t, uint64(seed), 120, "", ours, fake, knownOfFake)
	}
}

// TestAgainstApacheKafka compares with Apache Kafka at LEVADA_KAFKA.
func TestAgainstApacheKafka(t *testing.T) {
	addr := kafkaAddress(t)
	for seed := range number("LEVADA_SEEDS", 15) {
		ours, kafka := dialBroker(t, "Levada", startLevada(t)), dialBroker(t, kafkaName, addr)
		compare(t, uint64(seed), 120, fmt.Sprintf("d%d-%d-", time.Now().UnixNano(), seed), ours, kafka, knownOfKafka)
	}
}

// codeName is the name of an error code.
func codeName(code int16) string {
	if code == 0 {
		return "ok"
	}
	if e := kerr.TypedErrorForCode(code); e != nil {
		return e.Message
	}
	return strconv.Itoa(int(code))
}
