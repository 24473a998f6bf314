package logbroker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestFetchOfNoBytesDoesNotWait: who wants no bytes is answered at once, where there
// are none, however long it would wait; as by Kafka.
func TestFetchOfNoBytesDoesNotWait(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	for least, want := range map[int32]int{-1: 1, 0: 1, 1: 0} {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 12, 60_000, least, 1<<20, -1
		p := kmsg.NewFetchRequestTopicPartition()
		p.PartitionMaxBytes = 1 << 20
		req.Topics = []kmsg.FetchRequestTopic{{Topic: "t", Partitions: []kmsg.FetchRequestTopicPartition{p}}}
		answers := 0
		w.Handle(NewConn("test", "/test"), req, func(kmsg.Response) { answers++ })
		if answers != want {
			t.Errorf("at least %d bytes: %d answers at once, want %d", least, answers, want)
		}
		if w.pass(time.Minute); answers != 1 {
			t.Errorf("at least %d bytes: %d answers in all", least, answers)
		}
	}
}

// TestFetchOfOneBatch: who has room for nothing, or for less, is given the first batch that
// there is, as by Kafka, and no more.
func TestFetchOfOneBatch(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	batch := oneRecord(-1, -1, -1, false, "v")
	for i := range int32(4) {
		w.want(w.produce(9, nil, i%2, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
	}
	for most, want := range map[int32]int{-1: 1, 0: 1, 1: 1, int32(2*len(batch)) - 1: 1, int32(2 * len(batch)): 2, int32(3 * len(batch)): 3, 1 << 20: 4} {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.MaxBytes, req.SessionEpoch = 12, most, -1
		ft := kmsg.FetchRequestTopic{Topic: "t"}
		for i := range int32(2) {
			p := kmsg.NewFetchRequestTopicPartition()
			p.Partition, p.PartitionMaxBytes = i, 1<<20
			ft.Partitions = append(ft.Partitions, p)
		}
		req.Topics = append(req.Topics, ft)
		got := 0
		for _, p := range ask[*kmsg.FetchResponse](w, req).Topics[0].Partitions {
			got += len(p.RecordBatches)
		}
		if got != want*len(batch) {
			t.Errorf("of at most %d bytes %d come, want %d batches of %d", most, got, want, len(batch))
		}
	}
}
