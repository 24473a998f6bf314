package logbroker

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// hotPath is a broker over TCP with a topic of one partition, and the bytes of a
// produce and a fetch of it, which a client would send.
type hotPath struct {
	tb             testing.TB
	conn           net.Conn
	produce, fetch []byte // with their lengths
	answer         []byte // memory for answers
	records        int
}

func newHotPath(tb testing.TB, records int) *hotPath {
	tb.Helper()
	dir, err := os.MkdirTemp("", "levada-hotpath-")
	if err != nil {
		tb.Fatal(err)
	}
	b, err := Open(Config{Dir: dir, Fsync: FsyncOS, SegmentBytes: 32 << 20})
	if err != nil {
		tb.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(ln) }()
	h := &hotPath{tb: tb, answer: make([]byte, 4<<20), records: records}
	if h.conn, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = h.conn.Close()
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
		if err := <-served; err != nil {
			tb.Error(err)
		}
		_ = os.RemoveAll(dir)
	})

	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version = 7
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "t", 1, 1
	size, forever := "64000000", "-1"
	topic.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.bytes", Value: &size}, {Name: "retention.ms", Value: &forever}}
	create.Topics = append(create.Topics, topic)
	h.exchange(framed(frameOf(create)))
	h.produce, h.fetch = produceFrame(records), fetchFrame()
	return h
}

func produceFrame(records int) []byte {
	var builder recordbatch.Builder
	value := make([]byte, 84)
	for i := range records {
		builder.Append(1_700_000_000_000, fmt.Appendf(nil, "%016d", i), value, nil)
	}
	batch := builder.Batch()
	batch.SetCRC()
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 11, -1, 1000
	topic, partition := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	topic.Topic, partition.Records = "t", batch
	topic.Partitions = append(topic.Partitions, partition)
	req.Topics = append(req.Topics, topic)
	return framed(frameOf(req))
}

// fetchFrame reads 1 MiB from the start of the log.
func fetchFrame() []byte {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.ReplicaID, req.MaxBytes, req.SessionEpoch = 11, -1, 1<<20+1000, -1
	topic, partition := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	topic.Topic, partition.PartitionMaxBytes, partition.CurrentLeaderEpoch = "t", 1<<20+1000, -1
	topic.Partitions = append(topic.Partitions, partition)
	req.Topics = append(req.Topics, topic)
	return framed(frameOf(req))
}

// exchange sends a request and reads the answer to it, which allocates nothing.
func (h *hotPath) exchange(request []byte) []byte {
	if _, err := h.conn.Write(request); err != nil {
		h.tb.Fatal(err)
	}
	if _, err := io.ReadFull(h.conn, h.answer[:4]); err != nil {
		h.tb.Fatal(err)
	}
	n := binary.BigEndian.Uint32(h.answer)
	if _, err := io.ReadFull(h.conn, h.answer[:n]); err != nil {
		h.tb.Fatal(err)
	}
	return h.answer[:n]
}

// fill writes records until a fetch is answered with at least n bytes of them.
func (h *hotPath) fill(n int) {
	for sent := 0; sent <= 2*n; sent += len(h.produce) {
		h.exchange(h.produce)
	}
	for began := time.Now(); len(h.exchange(h.fetch)) < n; { // they are synced in the background
		if time.Since(began) > 20*time.Second {
			h.tb.Fatalf("a fetch is answered with %d bytes", len(h.exchange(h.fetch)))
		}
	}
}

// TestNothingIsAllocatedPerRecord: a request of many records costs as many
// allocations as one of a single record, written and read.
func TestNothingIsAllocatedPerRecord(t *testing.T) {
	measure := func(records int) (produce, fetch float64) {
		h := newHotPath(t, records)
		h.fill(100 << 10)
		return testing.AllocsPerRun(200, func() { h.exchange(h.produce) }), testing.AllocsPerRun(200, func() { h.exchange(h.fetch) })
	}
	oneIn, oneOut := measure(1)
	manyIn, manyOut := measure(5000)
	t.Logf("allocations of a request: produce %.0f of one record, %.0f of 5,000; fetch %.0f and %.0f", oneIn, manyIn, oneOut, manyOut)
	// Segments are rolled and indexes grow meanwhile, which is not per record.
	if manyIn > oneIn+20 || manyOut > oneOut+20 {
		t.Errorf("allocations of a request: produce %.0f of one record, %.0f of 5,000; fetch %.0f and %.0f", oneIn, manyIn, oneOut, manyOut)
	}
}

// BenchmarkProduce and BenchmarkFetch are the two requests that carry records, over
// TCP and with the client's part of it, which reads nothing that it gets.
func BenchmarkProduce(b *testing.B) {
	for _, records := range []int{1, 100, 8000} {
		b.Run(fmt.Sprint(records), func(b *testing.B) {
			h := newHotPath(b, records)
			b.SetBytes(int64(len(h.produce)))
			b.ReportAllocs()
			for b.Loop() {
				h.exchange(h.produce)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(records), "ns/record")
		})
	}
}

func BenchmarkFetch(b *testing.B) {
	for _, records := range []int{100, 8000} {
		b.Run(fmt.Sprint(records), func(b *testing.B) {
			h := newHotPath(b, records)
			h.fill(800 << 10)
			b.SetBytes(int64(len(h.exchange(h.fetch))))
			b.ReportAllocs()
			for b.Loop() {
				h.exchange(h.fetch)
			}
		})
	}
}
