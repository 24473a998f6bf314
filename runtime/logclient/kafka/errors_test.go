package kafka_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/kafka"
)

// closedPort is an address on which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	}()
	return ln.Addr().String()
}

func TestUnreachableBrokerIsNamed(t *testing.T) {
	address := closedPort(t)
	begin := time.Now()
	_, err := kafka.Open(t.Context(), kafka.Config{Brokers: []string{address}})
	if !errors.Is(err, logclient.ErrUnreachable) || !strings.Contains(err.Error(), address) {
		t.Errorf("got %v, want ErrUnreachable that names %s", err, address)
	}
	if took := time.Since(begin); took > 7*time.Second {
		t.Errorf("it took %v", took)
	}
	if _, err := kafka.Open(t.Context(), kafka.Config{}); err == nil || !strings.Contains(err.Error(), "HOST:PORT") {
		t.Errorf("no address: got %v", err)
	}
}

// TestBrokerThatGoesAway: calls end with ErrUnreachable, and closing is quick.
func TestBrokerThatGoesAway(t *testing.T) {
	s := startServer(t)
	l := open(s.address)(t)
	w, err := l.NewWriter(logclient.WriterConfig{TransactionalID: "w"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(nil).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	m, err := l.Join(logclient.MemberConfig{Group: "g", Topics: []string{"t"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.broker.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = l.Admin().DescribeTopics([]string{"t"}, false).Wait(t.Context())
	if !errors.Is(err, logclient.ErrUnreachable) || !strings.Contains(err.Error(), s.address) {
		t.Errorf("got %v, want ErrUnreachable that names %s", err, s.address)
	}
	begin := time.Now()
	err = errors.Join(w.Close(), m.Close(true), l.Close())
	if err != nil && !errors.Is(err, logclient.ErrUnreachable) {
		t.Errorf("close: %v", err)
	}
	if took := time.Since(begin); took > 6*time.Second {
		t.Errorf("closing without a broker took %v", took)
	}
}

func TestWrongConfigs(t *testing.T) {
	l := open(startServer(t).address)(t)
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := l.NewWriter(logclient.WriterConfig{}); err == nil {
		t.Error("a writer without a transactional id")
	}
	if _, err := l.Join(logclient.MemberConfig{Group: "g"}); err == nil {
		t.Error("a member without topics")
	}
	w, err := l.NewWriter(logclient.WriterConfig{TransactionalID: "w"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit([]logclient.Position{{Offset: 1}}).Wait(t.Context()); err == nil {
		t.Error("positions of a writer that is in no group")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := w.Append(logclient.TopicPartition{}, make([]byte, 100)); err == nil {
		t.Error("append after Close")
	}
}

// TestCloseAbortsTheOpenTransaction: nobody has to wait for its time-out.
func TestCloseAbortsTheOpenTransaction(t *testing.T) {
	l := open(startServer(t).address)(t)
	one := logclient.TopicPartition{Topic: "t"}
	if _, err := l.Admin().CreateTopics([]logclient.TopicSpec{{Name: "t", Partitions: 1, ReplicationFactor: 1}}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	w, err := l.NewWriter(logclient.WriterConfig{TransactionalID: "w", TransactionTimeout: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	var b recordbatch.Builder
	b.Append(0, nil, []byte("dropped"), nil)
	if err := w.Append(one, b.Batch()); err != nil {
		t.Fatal(err)
	}
	offset := func(kind logclient.OffsetKind) int64 {
		got, err := l.Admin().ListOffsets([]logclient.TopicPartition{one}, logclient.OffsetSpec{Kind: kind}).Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got[one].Offset
	}
	for offset(logclient.LatestHigh) == 0 {
		if t.Context().Err() != nil {
			t.Fatal("the record does not arrive")
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); offset(logclient.LatestStable) < 2; {
		if time.Now().After(deadline) {
			t.Fatalf("the last stable offset stays at %d", offset(logclient.LatestStable))
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
