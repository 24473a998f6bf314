package kafka

import (
	"log/slog"
	"testing"
	"time"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

// loaded is a fetcher without a broker in which batches lie ready: of each
// partition batches of a size.
func loaded(t *testing.T, maxBytes int, partitions int32, batches, size int) *fetcher {
	t.Helper()
	c, err := newClient(Config{Brokers: []string{"127.0.0.1:1"}, Logger: slog.New(slog.DiscardHandler)}, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	f := newFetcher(c, true, maxBytes)
	for p := range partitions {
		part := f.add(logclient.TopicPartition{Topic: "t", Partition: p})
		for i := range batches {
			part.ready = append(part.ready, logclient.Batch{TopicPartition: part.TopicPartition, Raw: make(recordbatch.Batch, size), Next: int64(i + 1)})
			part.sizes = append(part.sizes, size)
			part.bytes += size
			f.queued += size
		}
	}
	return f
}

func TestPollTakesNoMoreThanItsBudget(t *testing.T) {
	f := loaded(t, 250, 3, 10, 100)
	total := 0
	first := map[int32]int{} // the Poll in which a partition came first
	for n := 0; total < 30; n++ {
		bytes := 0
		got := f.Poll(time.Time{}).Batches
		for _, b := range got {
			bytes += len(b.Raw)
			if _, seen := first[b.Partition]; !seen {
				first[b.Partition] = n
			}
		}
		total += len(got)
		if bytes > 250+100 || bytes == 0 {
			t.Fatalf("Poll %d took %d bytes of at most 250 and a batch", n, bytes)
		}
		if total < 30 {
			select {
			case <-f.Wake():
			default:
				t.Fatalf("Poll %d left batches and does not wake", n)
			}
		}
	}
	for p, n := range first {
		if n > 2 {
			t.Errorf("partition %d waited for Poll %d", p, n)
		}
	}
	if f.queued != 0 {
		t.Errorf("%d bytes are still counted", f.queued)
	}
}

func TestChangesTakeEffectWhenTheyAreTold(t *testing.T) {
	f := loaded(t, 1000, 2, 1, 100)
	gone := logclient.TopicPartition{Topic: "t", Partition: 0}
	came := logclient.TopicPartition{Topic: "t", Partition: 7}
	f.report(logclient.Event{Kind: logclient.Revoked, Partitions: []logclient.TopicPartition{gone}})
	f.report(logclient.Event{Kind: logclient.Assigned, Partitions: []logclient.TopicPartition{came}})
	f.Seek(logclient.Position{TopicPartition: came, Offset: 5}) // not told yet: not ours
	p := f.Poll(time.Time{})
	if len(p.Events) != 2 || len(p.Batches) != 1 || p.Batches[0].Partition != 1 {
		t.Fatalf("got %d events and batches %v", len(p.Events), p.Batches)
	}
	if f.byName[gone] != nil || f.byName[came] == nil || f.byName[came].flowing {
		t.Error("the assignment is not what was told, or flows without a Seek")
	}
}
