package dsl_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/levada/levada/dsl"
	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// discard is an Output that counts.
type discard struct{ records int64 }

func (d *discard) Send(int, int64, []byte, []byte, recordbatch.Headers) error {
	d.records++
	return nil
}

// benchTask builds the task of a subtopology over stores in memory.
func benchTask(tb testing.TB, b *dsl.Builder, sub int) (*topology.Task, *discard) {
	tb.Helper()
	plan, err := b.Build()
	if err != nil {
		tb.Fatal(err)
	}
	engine, err := statestore.OpenMemory()
	if err != nil {
		tb.Fatal(err)
	}
	out := &discard{}
	var open []*statestore.Partition
	task, err := plan.Subtopologies[sub].NewTask(&topology.Context{Out: out, StreamTime: -1}, func(s *topology.Store) (*statestore.Partition, error) {
		p, err := engine.Open(statestore.ID{App: "bench", Store: s.Name})
		open = append(open, p)
		return p, err
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		for _, p := range open {
			if err := p.Close(); err != nil {
				tb.Error(err)
			}
		}
		if err := engine.Close(); err != nil {
			tb.Error(err)
		}
	})
	return task, out
}

// benchBatches are 131072 records in chunks of 512, as the runtime hands them
// over, with uniform 16 B keys out of so many.
func benchBatches(keys int, value []byte) [][]topology.Record {
	seed := uint64(1)
	batches := make([][]topology.Record, 256)
	for i := range batches {
		batches[i] = make([]topology.Record, 512)
		for j := range batches[i] {
			seed = seed*6364136223846793005 + 1442695040888963407
			key := binary.BigEndian.AppendUint64(make([]byte, 8, 16), (seed>>33)%uint64(keys))
			batches[i][j] = topology.Record{Key: key, Value: value, Timestamp: int64(i*512 + j), Offset: int64(i*512 + j)}
		}
	}
	return batches
}

// benchmarkRecords runs b.N records through a task, with a commit after every
// 200,000 of them.
func benchmarkRecords(b *testing.B, task *topology.Task, topic string, keys int, value []byte) {
	b.Helper()
	batches := benchBatches(keys, value)
	process := task.Sources[topic]
	b.ReportAllocs()
	b.ResetTimer()
	uncommitted := 0
	for i, done := 0, 0; done < b.N; i++ {
		n, err := process(batches[i%len(batches)])
		if err != nil {
			b.Fatal(err)
		}
		done += n
		if uncommitted += n; uncommitted >= 200_000 {
			commitTask(b, task)
			uncommitted = 0
		}
	}
}

func commitTask(tb testing.TB, task *topology.Task) {
	tb.Helper()
	if err := task.Commit(); err != nil {
		tb.Fatal(err)
	}
	for _, s := range task.Stores {
		if err := s.Prepare(func(statestore.Change) error { return nil }); err != nil {
			tb.Fatal(err)
		}
		s.Committed(statestore.Cut{})
	}
}

var (
	benchIn  = dsl.NewTopic("in", serde.Bytes{}, serde.String{})
	benchOut = dsl.NewTopic("out", serde.Bytes{}, serde.String{})
	benchSum = dsl.NewTopic("sum", serde.Bytes{}, serde.Int64{})
	value84  = []byte(strings.Repeat("abcdefg ", 10) + "abcd")
)

func BenchmarkPassThrough(b *testing.B) {
	bl := dsl.NewBuilder()
	benchIn.Stream(bl).To(benchOut)
	task, _ := benchTask(b, bl, 0)
	benchmarkRecords(b, task, "in", 1000, value84)
}

func BenchmarkFilterMapValues(b *testing.B) {
	bl := dsl.NewBuilder()
	kept := benchIn.Stream(bl).Filter(func(_ []byte, v string) bool { return len(v) > 3 })
	dsl.MapValues(kept, func(v string) string { return v[:8] }).To(benchOut)
	task, _ := benchTask(b, bl, 0)
	benchmarkRecords(b, task, "in", 1000, value84)
}

func BenchmarkCount(b *testing.B) {
	for _, keys := range []int{1_000, 100_000} {
		for _, emit := range []string{"update", "commit"} {
			b.Run(fmt.Sprintf("keys=%d/emit=%s", keys, emit), func(b *testing.B) {
				bl := dsl.NewBuilder()
				var opts []dsl.Option
				if emit == "commit" {
					opts = append(opts, dsl.EmitOnCommit())
				}
				benchIn.Stream(bl).GroupByKey().Count("counts", opts...).Stream().To(benchSum)
				task, _ := benchTask(b, bl, 0)
				benchmarkRecords(b, task, "in", keys, value84)
			})
		}
	}
}

// BenchmarkWordCount measures the first half of word count per line of 10
// words: split, group, write to the repartition topic.
func BenchmarkWordCount(b *testing.B) {
	bl := dsl.NewBuilder()
	words := dsl.FlatMapValues(benchIn.Stream(bl), strings.Fields)
	dsl.GroupBy(words, func(_ []byte, w string) string { return w }).Count("counts").Stream().To(dsl.NewTopic("words", serde.String{}, serde.Int64{}))
	task, _ := benchTask(b, bl, 0)
	benchmarkRecords(b, task, "in", 1000, value84[:79])
}
