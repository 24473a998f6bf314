package differential

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// halfFetches are fetches of two partitions with three batches of halfBatch bytes each: how
// many bytes of each partition and of all are asked for, at least how many are waited for,
// and how many come of each by Levada, which sends whole batches, and by Apache Kafka.
var halfFetches = []struct {
	parts         [2]int32
	all, least    int32
	levada, kafka [2]int
	waits         bool
}{
	{[2]int32{1, 1}, 1 << 20, 1, [2]int{1008, 0}, [2]int{1008, 0}, false},
	{[2]int32{1500, 1500}, 1 << 20, 1, [2]int{1008, 1008}, [2]int{1500, 1500}, false},
	{[2]int32{1500, 1500}, 2600, 1, [2]int{1008, 1008}, [2]int{1500, 1100}, false},
	{[2]int32{1500, 1500}, 2100, 1, [2]int{1008, 1008}, [2]int{1500, 0}, false}, // what was sent of the second batch counts
	{[2]int32{1500, 500}, 1 << 20, 2000, [2]int{1008, 0}, [2]int{1500, 0}, false},
	{[2]int32{1500, 500}, 1 << 20, 2001, [2]int{1008, 0}, [2]int{1500, 0}, true},
	{[2]int32{3500, 3500}, 1 << 20, 1, [2]int{3024, 3024}, [2]int{3024, 3024}, false},
}

const halfBatch = 1008

// testHalfBatches asks a broker for batches that do not fit.
func testHalfBatches(t *testing.T, name, addr string) {
	b := dialBroker(t, name, addr)
	topic := fmt.Sprintf("h%d", time.Now().UnixNano())
	newWorld("", false).newTopic(topic, 2, 1, "", "", false).do(b)
	batch := batchOf(strings.Repeat("k", halfBatch-77))
	if batch.SetCRC(); len(batch) != halfBatch {
		t.Fatalf("the batches have %d bytes", len(batch))
	}
	for n := range int32(6) {
		settle(func() string { return b.produce(topic, n%2, -1, nil, slices.Clone(batch)) }, notLeader)
	}
	for _, f := range halfFetches {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.SessionEpoch, req.MaxBytes, req.MinBytes, req.MaxWaitMillis = 11, -1, f.all, f.least, 400
		of := kmsg.FetchRequestTopic{Topic: topic}
		for i, most := range f.parts {
			p := kmsg.NewFetchRequestTopicPartition()
			p.Partition, p.PartitionMaxBytes = int32(i), most
			of.Partitions = append(of.Partitions, p)
		}
		req.Topics = append(req.Topics, of)
		begun := time.Now()
		resp := b.ask(req).(*kmsg.FetchResponse)
		waited := time.Since(begun) >= 400*time.Millisecond
		got, want := [2]int{}, f.levada
		for _, p := range resp.Topics[0].Partitions {
			got[p.Partition] = len(p.RecordBatches)
		}
		if name == kafkaName {
			want = f.kafka
		}
		if got != want || waited != f.waits {
			t.Errorf("%v, %d in all, at least %d: %v bytes come, waited %v; want %v, %v", f.parts, f.all, f.least, got, waited, want, f.waits)
		}
	}
}

// TestHalfBatches: where the bytes that are asked for end in a batch, it is left out, and as
// much is waited for as by Kafka.
func TestHalfBatches(t *testing.T) { testHalfBatches(t, "Levada", startLevada(t)) }

// TestHalfBatchesOfApacheKafka: Kafka sends as much of it as there is room for, if a whole one
// comes before it.
func TestHalfBatchesOfApacheKafka(t *testing.T) { testHalfBatches(t, kafkaName, kafkaAddress(t)) }
