package logbroker

import (
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestDamagedRecordsAreNotGiven: where a sealed segment has another byte than was written, in
// what a batch's CRC covers or before it, a fetch is CORRUPT_MESSAGE, which the log tells
// once; what lies before and behind it is given.
func TestDamagedRecordsAreNotGiven(t *testing.T) {
	for name, at := range map[string]int{"its offset": 7, "its leader epoch": 15, "its records": 1000} {
		t.Run(name, func(t *testing.T) {
			w := newWorkbench(t)
			log := w.hear()
			w.topicWith("segment.bytes=1048576")
			const batches, damaged = 8, 3
			value := strings.Repeat("x", 400_000)
			size := 0
			for range batches {
				b := oneRecord(-1, -1, -1, false, value)
				size = len(b)
				w.want(w.produce(9, nil, 0, b).ErrorCode, nil)
			}
			dir := w.topics.dir("t", 0)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			perSegment := (1 << 20) / size
			path := w.fs.PathJoin(dir, "0000000000000000000"+string(rune('0'+damaged/perSegment*perSegment))+".log")
			f, err := w.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 1)
			position := int64(damaged%perSegment*size + at)
			if _, err := f.ReadAt(b, position); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			b[0] ^= 1
			if _, err := f.WriteAt(b, position); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			w.open()
			for offset := range int64(batches) {
				for range 2 {
					req := kmsg.NewPtrFetchRequest()
					req.Version, req.MaxBytes, req.MaxWaitMillis = 12, 1<<20, 0
					p := kmsg.NewFetchRequestTopicPartition()
					p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = offset, 1<<20, -1
					req.Topics = []kmsg.FetchRequestTopic{{Topic: "t", Partitions: []kmsg.FetchRequestTopicPartition{p}}}
					got := ask[*kmsg.FetchResponse](w, req).Topics[0].Partitions[0]
					if offset == damaged {
						w.want(got.ErrorCode, kerr.CorruptMessage)
					} else {
						w.want(got.ErrorCode, nil)
					}
				}
			}
			if n := strings.Count(log.String(), "stored records are damaged"); n != 1 {
				t.Errorf("told %d times:\n%s", n, log)
			}
		})
	}
}
