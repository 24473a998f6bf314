package embedded

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/runtime/logclient"
)

// TestNothingEarlyIsLost: a batch that comes when the answer with the producer id has
// been taken, but nobody has been told yet, is in the transaction as those before it.
func TestNothingEarlyIsLost(t *testing.T) {
	b, err := logbroker.Open(logbroker.Config{Dir: "broker", FS: vfs.NewMem(), Synchronous: true, BootID: func() string { return "boot" }})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Kill()
	log := New(b)
	if _, err := log.Admin().CreateTopics([]logclient.TopicSpec{{Name: "t", Partitions: 1, ReplicationFactor: 1}}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	one := func() recordbatch.Batch {
		var batch recordbatch.Builder
		batch.Append(1, nil, []byte("x"), nil)
		return batch.Batch()
	}
	p := newProducer(b, "id", 0, nil)
	told := p.ready
	p.ready = logclient.NewPending[struct{}]() // as if it were a moment before
	tp := logclient.TopicPartition{Topic: "t"}
	for range 3 {
		if err := p.Append(tp, one()); err != nil {
			t.Fatal(err)
		}
	}
	p.ready = told
	result, err := p.Commit(nil).Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Ends) != 1 || result.Ends[0].Offset != 3 {
		t.Errorf("of 3 records the transaction has those up to %v", result.Ends)
	}
}
