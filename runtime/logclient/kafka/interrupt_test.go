package kafka_test

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/kafka"
)

// lockedBuffer is a buffer that goroutines may write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestInterruptedFetchIsNoFailure interrupts long fetches again and again, which
// costs the client its connection each time: nothing failed, and nothing is told.
func TestInterruptedFetchIsNoFailure(t *testing.T) {
	s := startServer(t)
	var told lockedBuffer
	l, err := kafka.Open(t.Context(), kafka.Config{Brokers: []string{s.address}, Logger: slog.New(slog.NewTextHandler(&told, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	made := l.Admin().CreateTopics([]logclient.TopicSpec{{Name: "t", Partitions: 1, ReplicationFactor: -1}})
	if _, err := made.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	tp := logclient.TopicPartition{Topic: "t"}
	for range 20 {
		r, err := l.NewReader(logclient.ReaderConfig{Positions: []logclient.Position{{TopicPartition: tp}}})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 { // each is the answer to a request after the interruption
			if !polls(t, r) {
				t.Fatal("no answer")
			}
			r.Pause(tp)
			r.Resume(tp)
			r.Seek(logclient.Position{TopicPartition: tp})
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if told.String() != "" {
		t.Errorf("told:\n%s", told.String())
	}
}

// polls waits until the reader says where its partition ends.
func polls(t *testing.T, r logclient.Reader) bool {
	t.Helper()
	for {
		if len(r.Poll(time.Now()).Batches) > 0 {
			return true
		}
		select {
		case <-r.Wake():
		case <-time.After(10 * time.Second):
			return false
		}
	}
}
