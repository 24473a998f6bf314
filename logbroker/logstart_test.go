package logbroker

import (
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
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
