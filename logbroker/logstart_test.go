package logbroker

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// TestLogStartNeverGoesBack: of many that delete records at once, or beside retention,
// the largest offset is the log start after a SIGKILL too, whoever was last.
func TestLogStartNeverGoesBack(t *testing.T) {
	cfg := Config{Dir: "data", FS: vfs.NewMem(), BootID: func() string { return "boot-1" }}
	b, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Kill() })
	const records = 20
	want := map[string]int64{}
	for round := range seeds(t, 400) {
		name := fmt.Sprint("t", round)
		keep := fmt.Sprint(10 * len(oneRecord(-1, -1, -1, false, "v"))) // as of offset 10
		if _, err := b.topics.create(name, 1, map[string]string{"retention.ms": "-1", "retention.bytes": keep}, false); err != nil {
			t.Fatal(err)
		}
		p := b.topics.byName(name).parts()[0]
		p.log.SetSegmentLimits(1, 0)
		for range records {
			if _, err := b.Append(name, 0, oneRecord(-1, -1, -1, false, "v")); err != nil {
				t.Fatal(err)
			}
		}
		durable := make(chan error, 1)
		p.syncTo(records, func(err error) { durable <- err })
		if err := <-durable; err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		begin := make(chan struct{})
		remove := func(offset int64) {
			<-begin
			req := kmsg.NewPtrDeleteRecordsRequest()
			req.Version = 2
			req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: name, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: offset}}}}
			got := wait[*kmsg.DeleteRecordsResponse](b, req).Topics[0].Partitions[0]
			mu.Lock()
			defer mu.Unlock()
			if got.ErrorCode != 0 || got.LowWatermark < offset {
				t.Errorf("delete to %d: low watermark %d, %v", offset, got.LowWatermark, kerr.ErrorForCode(got.ErrorCode))
			}
			want[name] = max(want[name], got.LowWatermark)
		}
		if round%2 == 0 {
			for offset := range int64(10) {
				wg.Go(func() { remove(offset + 1) })
			}
		} else {
			wg.Go(func() { remove(14) })
			wg.Go(func() {
				<-begin
				if err := b.cleaner.retain(p, p.topic.policy.Load()); err != nil {
					t.Errorf("retention: %v", err)
				}
			})
		}
		close(begin)
		wg.Wait()
	}
	b.Kill()
	if b, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	for name, start := range want {
		if p := b.topics.byName(name).parts()[0]; p.damage != nil || p.log.Start() != start {
			t.Errorf("%s: the log does not start at %d after a SIGKILL: %v", name, start, p.damage)
		}
	}
}

// TestProducersAreToldTheLogStart: also of what is refused, once it comes as far as the log
// and the error is not one that Kafka expects; and of a duplicate its time.
func TestProducersAreToldTheLogStart(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "id"
	pid, epoch := w.initID(id)
	other, _ := w.initID("other")
	const sent = 1_700_000_000_000 // the time of oneRecord
	plain := func() recordbatch.Batch { return oneRecord(-1, -1, -1, false, "v") }
	changed := func(batch recordbatch.Batch, change func(recordbatch.Batch)) recordbatch.Batch {
		change(batch)
		return batch
	}
	damaged := func(change func(recordbatch.Batch)) recordbatch.Batch { return changed(plain(), change) }
	large := func() recordbatch.Batch { return oneRecord(-1, -1, -1, false, strings.Repeat("v", 2<<20)) }
	signed := func(change func(recordbatch.Batch)) recordbatch.Batch {
		return damaged(func(b recordbatch.Batch) { change(b); b.SetCRC() })
	}
	w.want(w.produce(9, nil, 0, plain()).ErrorCode, nil)
	remove := kmsg.NewPtrDeleteRecordsRequest()
	remove.Version = 2
	remove.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 1}}}}
	w.want(ask[*kmsg.DeleteRecordsResponse](w, remove).Topics[0].Partitions[0].ErrorCode, nil)
	for _, test := range []struct {
		what              string
		version           int16
		id                *string
		partition         int32
		batch             recordbatch.Batch
		want              *kerr.Error
		base, start, time int64
	}{
		{"what is taken", 9, nil, 0, plain(), nil, 1, 1, -1},
		{"of a producer", 9, nil, 0, oneRecord(7, 3, 0, false, "v"), nil, 2, 1, -1},
		{"a duplicate", 9, nil, 0, oneRecord(7, 3, 0, false, "v"), nil, 2, 1, sent},
		{"out of order", 9, nil, 0, oneRecord(7, 3, 5, false, "v"), kerr.OutOfOrderSequenceNumber, -1, 1, -1},
		{"fenced", 9, nil, 0, oneRecord(7, 2, 0, false, "v"), kerr.InvalidProducerEpoch, -1, 1, -1},
		{"a base offset", 9, nil, 0, damaged(func(b recordbatch.Batch) { b[7] = 3 }), kerr.InvalidRecord, -1, 1, -1},
		{"a control batch", 9, nil, 0, signed(func(b recordbatch.Batch) { b[22] |= 1 << 5 }), kerr.InvalidRecord, -1, 1, -1},
		{"no codec", 9, nil, 0, signed(func(b recordbatch.Batch) { b[22] |= 5 }), kerr.UnknownServerError, -1, 1, -1},
		{"no partition", 9, nil, 7, plain(), kerr.UnknownTopicOrPartition, -1, -1, -1},
		{"a wrong checksum", 9, nil, 0, damaged(func(b recordbatch.Batch) { b[len(b)-1]++ }), kerr.CorruptMessage, -1, -1, -1},
		{"nothing", 9, nil, 0, recordbatch.Batch{}, kerr.InvalidRecord, -1, -1, -1},
		{"half a batch", 9, nil, 0, plain()[:60], kerr.InvalidRecord, -1, -1, -1},
		{"an older format", 9, nil, 0, damaged(func(b recordbatch.Batch) { b[16] = 1 }), kerr.InvalidRecord, -1, -1, -1},
		{"a newer format", 9, nil, 0, damaged(func(b recordbatch.Batch) { b[16] = 3 }), kerr.CorruptMessage, -1, -1, -1},
		{"two batches", 9, nil, 0, append(plain(), plain()...), kerr.InvalidRecord, -1, -1, -1},
		{"zstd too early", 6, nil, 0, signed(func(b recordbatch.Batch) { b[22] |= 4 }), kerr.UnsupportedCompressionType, -1, -1, -1},
		{"too large", 9, nil, 0, large(), kerr.MessageTooLarge, -1, -1, -1},
		{"too large, with a wrong checksum", 9, nil, 0, changed(large(), func(b recordbatch.Batch) { b[len(b)-1]++ }), kerr.MessageTooLarge, -1, -1, -1},
		{"too large, with a base offset", 9, nil, 0, changed(large(), func(b recordbatch.Batch) { b[7] = 3 }), kerr.InvalidRecord, -1, 1, -1},
		{"not in the transaction", 11, &id, 0, oneRecord(pid, epoch, 0, true, "v"), kerr.TransactionAbortable, -1, -1, -1},
		{"not in it, to an older client", 10, &id, 0, oneRecord(pid, epoch, 0, true, "v"), kerr.InvalidTxnState, -1, -1, -1},
		{"another's transaction", 12, &id, 0, oneRecord(other, 0, 0, true, "v"), kerr.InvalidProducerIDMapping, -1, -1, -1},
		{"nobody's transaction", 12, nil, 0, oneRecord(pid, epoch, 0, true, "v"), kerr.TransactionalIDAuthorizationFailed, -1, -1, -1},
	} {
		got := w.produce(test.version, test.id, test.partition, test.batch)
		if err := kerr.ErrorForCode(got.ErrorCode); got.ErrorCode != 0 && err != test.want || got.ErrorCode == 0 && test.want != nil {
			t.Errorf("%s: %v, want %v", test.what, err, test.want)
		}
		if got.BaseOffset != test.base || got.LogStartOffset != test.start || got.LogAppendTime != test.time {
			t.Errorf("%s: at %d, log start %d, append time %d; want %d, %d, %d", test.what, got.BaseOffset, got.LogStartOffset, got.LogAppendTime, test.base, test.start, test.time)
		}
	}
}
