package pipelines

import (
	"fmt"
	"testing"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// discard is an Output that throws everything away.
type discard struct{}

func (discard) Send(int, int64, []byte, []byte, recordbatch.Headers) error { return nil }

// BenchmarkSteps runs one subtopology over a batch; ns/op is for one record.
func BenchmarkSteps(b *testing.B) {
	for _, c := range []struct{ name, steps string }{
		{"passthrough", "[]"},
		{"filter", "[ filter: value.status == 'settled' and value.amount >= 100 ]"},
		{"filter, set", "[ filter: value.status == 'settled' and value.amount >= 100, set: { cents: int(value.amount * 100) } ]"},
		{"map", "[ map: { id: value.id, cents: value.amount * 100, n: value.n } ]"},
		{"aggregate", "[ aggregate: { store: s, fields: { n: { count: true }, total: { sum: value.amount } } } ]"},
	} {
		b.Run(c.name, func(b *testing.B) {
			text := "version: 1\nname: bench\nstreams: { s: { topic: s, value: { fields: { id: string, amount: float, n: int, status: string } } } }\n" +
				"flows:\n  - name: f\n    from: s\n    steps: " + c.steps + "\n    to: out\n"
			plan, faults := Parse("f.yaml", []byte(text), Options{})
			if plan == nil {
				b.Fatal(faults)
			}
			run(b, plan.Topology)
		})
	}
}

func run(b *testing.B, top *topology.Topology) {
	engine, err := statestore.OpenMemory()
	if err != nil {
		b.Fatal(err)
	}
	ctx := &topology.Context{Out: discard{}, StreamTime: -1}
	var parts []*statestore.Partition
	task, err := top.Subtopologies[0].NewTask(ctx, func(s *topology.Store) (*statestore.Partition, error) {
		p, err := engine.Open(statestore.ID{App: "bench", Store: s.Name})
		parts = append(parts, p)
		return p, err
	})
	if err != nil {
		b.Fatal(err)
	}
	batch := make([]topology.Record, 1000)
	for i := range batch {
		batch[i] = topology.Record{
			Key: fmt.Appendf(nil, "key-%04d", i), Timestamp: 1,
			Value: fmt.Appendf(nil, `{"id":"o-%d","amount":%d.5,"n":%d,"status":"settled","note":"a note of some length"}`, i, 100+i, i),
		}
	}
	b.ReportAllocs()
	done := 0
	for b.Loop() {
		at := done % len(batch)
		if _, err := task.Sources["s"](batch[at : at+1]); err != nil {
			b.Fatal(err)
		}
		done++
	}
	b.StopTimer()
	for _, p := range parts {
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
	}
	if err := engine.Close(); err != nil {
		b.Fatal(err)
	}
}
