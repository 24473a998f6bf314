package embedded_test

import (
	"context"
	"testing"
	"time"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

// TestLagCountsWhatIsNotStable looks while the end of a transaction is decided and not yet
// marked everywhere: what it wrote between subtopologies is lag already. What others write to
// the input is not, before they commit.
func TestLagCountsWhatIsNotStable(t *testing.T) {
	w := newWorld(t, 1)
	lag := func() int64 {
		t.Helper()
		n, err := w.app.Lag(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	write := func(topic string) {
		t.Helper()
		var b recordbatch.Builder
		b.Append(w.now.UnixMilli(), []byte("k"), []byte("v"), nil)
		b.Append(w.now.UnixMilli(), []byte("k"), []byte("v"), nil)
		if err := w.writer.Append(logclient.TopicPartition{Topic: topic, Partition: 1}, b.Batch()); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(2 * time.Second)
		w.broker.Tick(w.now) // so that it is durable
	}
	if got := lag(); got != 0 {
		t.Fatalf("lag %d before there is anything", got)
	}
	write("lines")
	if got := lag(); got != 0 {
		t.Errorf("lag %d for 2 records of the input that are not committed", got)
	}
	write("wc-counts-repartition")
	if got := lag(); got != 2 {
		t.Errorf("lag %d for 2 records between subtopologies", got)
	}
	if _, err := w.writer.Commit(nil).Result(); err != nil {
		t.Fatal(err)
	}
	if got := lag(); got < 4 {
		t.Errorf("lag %d for 4 records", got)
	}
}
