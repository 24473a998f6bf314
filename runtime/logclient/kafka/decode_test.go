package kafka

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

// stored makes a batch as it lies in a log.
func stored(base, producer int64, values ...string) recordbatch.Batch {
	var b recordbatch.Builder
	for _, v := range values {
		b.Append(1000, nil, []byte(v), nil)
	}
	batch := b.Batch()
	batch.SetBaseOffset(base)
	batch.SetLeaderEpoch(3)
	batch.SetProducer(producer, 0, 0, producer >= 0)
	batch.SetCRC()
	return batch
}

func marker(base, producer int64, commit bool) recordbatch.Batch {
	b := recordbatch.ControlBatch(producer, 0, commit, 0, 1000)
	b.SetBaseOffset(base)
	return b
}

func response(aborted map[int64]int64, batches ...recordbatch.Batch) *kmsg.FetchResponseTopicPartition {
	r := kmsg.NewFetchResponseTopicPartition()
	for _, b := range batches {
		r.RecordBatches = append(r.RecordBatches, b...)
	}
	for offset := range int64(100) {
		if producer, ok := aborted[offset]; ok {
			r.AbortedTransactions = append(r.AbortedTransactions, kmsg.FetchResponseTopicPartitionAbortedTransaction{FirstOffset: offset, ProducerID: producer})
		}
	}
	r.HighWatermark, r.LastStableOffset = 50, 40
	return &r
}

func show(t *testing.T, got fetched) string {
	t.Helper()
	var s strings.Builder
	for _, b := range got.batches {
		if b.Raw != nil {
			fmt.Fprintf(&s, "%d+%d", b.Raw.BaseOffset(), b.Raw.Count())
		}
		fmt.Fprintf(&s, ">%d/%d ", b.Next, b.End)
	}
	fmt.Fprintf(&s, "next %d", got.next)
	return s.String()
}

func TestDecode(t *testing.T) {
	one := logclient.TopicPartition{Topic: "t", Partition: 1}
	for name, tc := range map[string]struct {
		response    *kmsg.FetchResponseTopicPartition
		position    int64
		uncommitted bool
		want        string
	}{
		"nothing":                       {response(nil), 7, false, "next 7"},
		"plain":                         {response(nil, stored(0, -1, "a", "b"), stored(2, -1, "c")), 0, false, "0+2>2/40 2+1>3/40 next 3"},
		"from the middle of a batch":    {response(nil, stored(0, -1, "a", "b")), 1, false, "0+2>2/40 next 2"},
		"batches before the position":   {response(nil, stored(0, -1, "a"), stored(1, -1, "b")), 1, false, "1+1>2/40 next 2"},
		"a marker moves the position":   {response(nil, stored(0, 9, "a"), marker(1, 9, true)), 0, false, "0+1>2/40 next 2"},
		"a marker alone":                {response(nil, marker(4, 9, true)), 4, false, ">5/40 next 5"},
		"an aborted transaction":        {response(map[int64]int64{0: 9}, stored(0, 9, "a"), stored(1, 8, "b"), stored(2, 9, "c"), marker(3, 9, false), stored(4, 9, "d")), 0, false, ">1/40 1+1>4/40 4+1>5/40 next 5"},
		"aborted, then a new one":       {response(map[int64]int64{0: 9, 2: 9}, stored(0, 9, "a"), marker(1, 9, false), stored(2, 9, "b"), marker(3, 9, false)), 0, false, ">4/40 next 4"},
		"aborted before the position":   {response(map[int64]int64{0: 9}, marker(5, 9, false), stored(6, 9, "b")), 5, false, ">6/40 6+1>7/40 next 7"},
		"uncommitted sees aborted ones": {response(map[int64]int64{0: 9}, stored(0, 9, "a"), marker(1, 9, false)), 0, true, "0+1>2/50 next 2"},
		"more than the end there was":   {response(nil, stored(39, -1, "a"), stored(40, -1, "b", "c")), 39, false, "39+1>40/42 40+2>42/42 next 42"},
		"a batch cut at the end":        {response(nil, stored(0, -1, "a"), stored(1, -1, "b")[:65]), 0, false, "0+1>1/40 next 1"},
	} {
		got, err := decode(tc.response, one, tc.position, !tc.uncommitted)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s := show(t, got); s != tc.want {
			t.Errorf("%s: got %s, want %s", name, s, tc.want)
		}
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	flipped := stored(0, -1, "a")
	flipped[len(flipped)-2] ^= 1
	old := stored(0, -1, "a")
	old[16] = 1
	for name, b := range map[string]recordbatch.Batch{"CRC": flipped, "magic": old} {
		_, err := decode(response(nil, b), logclient.TopicPartition{}, 0, true)
		if !errors.Is(err, recordbatch.ErrCorrupt) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(stored(0, 9, "a", "b")), int64(1), int64(0), int64(9))
	f.Add([]byte(marker(0, 9, false)), int64(0), int64(0), int64(9))
	f.Fuzz(func(t *testing.T, raw []byte, position, first, producer int64) {
		r := response(map[int64]int64{first % 100: producer})
		r.RecordBatches = raw
		got, err := decode(r, logclient.TopicPartition{}, position, true)
		if err == nil && got.next < position {
			t.Fatalf("from %d to %d", position, got.next)
		}
		last := position
		for _, b := range got.batches {
			if b.Next <= last {
				t.Fatalf("a batch that ends at %d after %d", b.Next, last)
			}
			last = b.Next
		}
	})
}
