package brokerload

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker"
)

// startBroker is the address of a broker that ends with the test.
func startBroker(t *testing.T, fsync logbroker.FsyncPolicy) string {
	t.Helper()
	b, err := logbroker.Open(logbroker.Config{Dir: t.TempDir(), Fsync: fsync, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
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
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// TestClients: what one client writes the other reads, whatever the shape; batches are no
// larger than they should be; and a schedule has a time for each record.
func TestClients(t *testing.T) {
	address := startBroker(t, logbroker.FsyncOS)
	for i, l := range []Load{
		{Records: 1},
		{Records: 12_345},
		{Records: 12_345, BatchRecords: 100},
		{Records: 50_021, Partitions: 7},
		{Records: 3, Partitions: 7},
		{Records: 2_000, Partitions: 3, RecordBytes: 1024, BatchRecords: 2},
		{Records: 5, RecordBytes: 900_000},
		{Records: 20, RecordBytes: keyBytes, Partitions: 300},
	} {
		for _, client := range Clients {
			l.Client, l.Brokers, l.Topic = client, []string{address}, fmt.Sprintf("%s-%d", client, i)
			t.Run(l.Topic, func(t *testing.T) { testClient(t, l) })
		}
	}
}

func testClient(t *testing.T, l Load) {
	drop, err := l.MakeTopic(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := drop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	r, err := Produce(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if r.Records != l.Records || l.Client == Encoded && l.BatchRecords > 0 && r.RecordsPerBatch > float64(l.BatchRecords) {
		t.Errorf("produced %+v", r)
	}
	reader := l
	for _, reader.Client = range Clients {
		if _, err := Consume(t.Context(), reader); err != nil {
			t.Errorf("%s reads: %v", reader.Client, err)
		}
	}
	more := l
	more.Client, more.Records = Encoded, l.Records+1
	if _, err := Consume(t.Context(), more); err == nil || !strings.Contains(err.Error(), fmt.Sprint(l.Records)) {
		t.Errorf("a record less than there should be: %v", err)
	}
	const length = 50 * time.Millisecond
	if l.RecordBytes > 1024 {
		return
	}
	took, err := MeasureLatency(t.Context(), l, 2_000, length)
	if err != nil {
		t.Fatal(err)
	}
	if took.Records != 100 || took.P50 <= 0 || took.P50 > took.P99 || took.P99 > took.Max {
		t.Errorf("latency %+v", took)
	}
}

// TestStencil: batches of any length up to the most are what a Builder makes, one after
// the other of the same producer.
func TestStencil(t *testing.T) {
	s := newStencil(Load{RecordBytes: 100})
	if n := len(s.head) + len(s.records); n > maxBatchBytes || n < maxBatchBytes-200 {
		t.Errorf("the largest batch has %d bytes", n)
	}
	producer := producerState{id: 7, epoch: 2, sequence: 1<<31 - 10}
	payload := newPayload(100)
	var want recordbatch.Record
	var reader recordbatch.Reader
	for _, n := range []int{1, 2, 63, 64, 65, 9_000, len(s.ends)} {
		from := producer.sequence
		b := recordbatch.Batch(append(s.appendHead(nil, n, &producer), s.first(n)...))
		if err := b.Validate(); err != nil {
			t.Fatal(err)
		}
		if b.ProducerID() != 7 || b.ProducerEpoch() != 2 || b.BaseSequence() != from || recordbatch.AddSequence(b.LastSequence(), 1) != producer.sequence {
			t.Errorf("%d records: producer %d, epoch %d, sequence %d to %d", n, b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.LastSequence())
		}
		if err := reader.Verify(b); err != nil || b.Count() != int32(n) {
			t.Fatalf("%d records: %d, %v", n, b.Count(), err)
		}
		payload.at = 0
		for range n {
			key, value := payload.next(100)
			if ok, err := reader.Next(&want); !ok || err != nil || string(want.Key) != string(key) || string(want.Value) != string(value) {
				t.Fatalf("of %d records one is %v: %v", n, want, err)
			}
			if age := time.Since(time.UnixMilli(want.Timestamp)); age < 0 || age > time.Minute {
				t.Fatalf("a record of %v ago", age)
			}
		}
	}
}

// newCluster is franz-go's own broker, with a topic t.
func newCluster(t *testing.T, brokers int) (*kfake.Cluster, Load) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(brokers), kfake.SeedTopics(4, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster, Load{Client: Encoded, Brokers: cluster.ListenAddrs(), Topic: "t", Partitions: 4, Records: 1_000, RecordBytes: 100}
}

// TestSeveralBrokers: partitions are written and read where they are led.
func TestSeveralBrokers(t *testing.T) {
	_, l := newCluster(t, 3)
	if _, err := Produce(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if _, err := Consume(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if took, err := MeasureLatency(t.Context(), l, 10_000, 50*time.Millisecond); err != nil || took.Records != 500 {
		t.Fatal(took, err)
	}
}

// TestFailures: what a broker refuses, and an answer that cannot be, ends a run with an
// error that says what and where.
func TestFailures(t *testing.T) {
	refuseWrite := func(_ kmsg.Request, resp kmsg.Response) {
		resp.(*kmsg.ProduceResponse).Topics = []kmsg.ProduceResponseTopic{{Topic: "t", Partitions: []kmsg.ProduceResponseTopicPartition{{Partition: 2, ErrorCode: kerr.NotLeaderForPartition.Code}}}}
	}
	// answer is p, in the name of the partition that was asked for where it has records.
	answer := func(p kmsg.FetchResponseTopicPartition) func(kmsg.Request, kmsg.Response) {
		return func(req kmsg.Request, resp kmsg.Response) {
			if p.RecordBatches != nil {
				p.Partition = req.(*kmsg.FetchRequest).Topics[0].Partitions[0].Partition
			}
			resp.(*kmsg.FetchResponse).Topics = []kmsg.FetchResponseTopic{{Topic: "t", Partitions: []kmsg.FetchResponseTopicPartition{p}}}
		}
	}
	stencil := newStencil(Load{RecordBytes: 100})
	damaged := append(stencil.appendHead(nil, 3, &producerState{}), stencil.first(3)...)
	skipped := append([]byte(nil), damaged...)
	skipped[7] = 9 // the base offset
	damaged[len(damaged)-1] ^= 1
	for _, c := range []struct {
		name   string
		key    kmsg.Key
		change func(kmsg.Request, kmsg.Response)
		run    func(context.Context, Load) (Result, error)
		want   []string
	}{
		{"refused write", kmsg.Produce, refuseWrite, Produce, []string{"produce 1000 records", "partition 2", "NOT_LEADER"}},
		{"refused read", kmsg.Fetch, answer(kmsg.FetchResponseTopicPartition{Partition: 1, ErrorCode: kerr.KafkaStorageError.Code}), Consume, []string{"consume", "partition 1", "KAFKA_STORAGE_ERROR"}},
		{"wrong partition", kmsg.Fetch, answer(kmsg.FetchResponseTopicPartition{Partition: 77}), Consume, []string{"partition 77", "unasked"}},
		{"damaged", kmsg.Fetch, answer(kmsg.FetchResponseTopicPartition{RecordBatches: damaged}), Consume, []string{"CRC"}},
		{"skipped", kmsg.Fetch, answer(kmsg.FetchResponseTopicPartition{RecordBatches: skipped}), Consume, []string{"offset 9 came where 0 is due"}},
		{"refused schedule", kmsg.Produce, refuseWrite, func(ctx context.Context, l Load) (Result, error) {
			_, err := MeasureLatency(ctx, l, 10_000, 100*time.Millisecond)
			return Result{}, err
		}, []string{"latency of", "partition 2", "NOT_LEADER"}},
	} {
		cluster, l := newCluster(t, 1)
		if _, err := Produce(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		cluster.ControlKey(c.key.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
			resp := req.ResponseKind()
			c.change(req, resp)
			return resp, nil, true
		})
		_, err := c.run(t.Context(), l)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v: want %q", c.name, err, want)
			}
		}
	}
	cluster, l := newCluster(t, 1)
	cluster.ControlKey(kmsg.InitProducerID.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code // once
		return resp, nil, true
	})
	if _, err := Produce(t.Context(), l); err != nil {
		t.Errorf("a broker that has just started: %v", err)
	}
	for _, bad := range []Load{{Client: "none", Brokers: l.Brokers}, {}, {Brokers: l.Brokers, Partitions: -1}, {Brokers: l.Brokers, Topic: "t", Partitions: 5}} {
		if _, err := Produce(t.Context(), bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
