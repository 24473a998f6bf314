package operators_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/operators"
	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// sent is what a task wrote, by sink.
type sent map[int][]string

func (s sent) Send(sink int, ts int64, key, value []byte, _ recordbatch.Headers) error {
	s[sink] = append(s[sink], line(nullable(key), nullable(value), ts))
	return nil
}

func nullable(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}

func line(key, value *string, ts int64) string {
	show := func(s *string) string {
		if s == nil {
			return "null"
		}
		return fmt.Sprintf("%q", *s)
	}
	return fmt.Sprintf("%s=%s@%d", show(key), show(value), ts)
}

// The sinks of the plan of TestModel.
const (
	filtered = iota
	mapped
	counted
	countedOnCommit
	reduced
	aggregated
	tabled
	joined
	leftJoined
	sinks
)

// bag is a mutable value: nil deletes its key.
type bag struct{ Items string }

func (b *bag) add(v string) *bag {
	if v == "clear" {
		return nil
	}
	b.Items += v
	return b
}

func pair(l, r string, found bool) string { return fmt.Sprint(l, "+", r, found) }

// everything is a plan with an operator of each kind behind one source.
func everything() *plan {
	p := &plan{}
	in := p.source("in")
	texts := operators.SinkConfig[string, string]{Key: text, Value: text, ForwardKey: true, ForwardValue: true}
	numbers := operators.SinkConfig[string, int64]{Key: text, Value: serde.Int64{}, ForwardKey: true, ForwardValue: true}
	bags := operators.SinkConfig[string, *bag]{Key: text, Value: serde.JSON[*bag]{}, ForwardKey: true, ForwardValue: true}
	count := operators.StoreConfig[string, int64]{Name: "count", Key: text, Value: serde.Int64{}}
	late := operators.StoreConfig[string, int64]{Name: "late", Key: text, Value: serde.Int64{}, OnCommit: true}
	reduce := operators.StoreConfig[string, string]{Name: "reduce", Key: text, Value: text}
	aggregate := operators.StoreConfig[string, *bag]{Name: "aggregate", Key: text, Value: serde.JSON[*bag]{}}
	table := operators.StoreConfig[string, string]{Name: "table", Key: text, Value: text}
	p.store("count", count.NewStore)
	p.store("late", late.NewStore)
	p.store("reduce", reduce.NewStore)
	p.store("aggregate", aggregate.NewStore)
	p.store("table", table.NewStore)

	p.sink("filtered", operators.Sink(texts), p.node("filter", operators.Filter(func(k, v string) bool { return k < v }), nil, in))
	p.sink("mapped", operators.Sink(texts), p.node("map", operators.MapValues(func(_, v string) string { return v + v }, false), nil, in))
	p.sink("counted", operators.Sink(numbers), p.node("count", operators.Count[string, string](count), []string{"count"}, in))
	p.sink("late", operators.Sink(numbers), p.node("late", operators.Count[string, string](late), []string{"late"}, in))
	p.sink("reduced", operators.Sink(texts), p.node("reduce", operators.Reduce(reduce, func(a, v string) string { return a + v }), []string{"reduce"}, in))
	add := func(_, v string, b *bag) *bag { return b.add(v) }
	p.sink("aggregated", operators.Sink(bags), p.node("aggregate", operators.Aggregate(aggregate, func() *bag { return &bag{} }, add), []string{"aggregate"}, in))
	p.sink("tabled", operators.Sink(texts), p.node("table", operators.Table(table), []string{"table"}, in))
	join := operators.JoinConfig[string]{Store: "table", Key: text}
	p.sink("joined", operators.Sink(texts), p.node("join", operators.JoinTable(join, pair), []string{"table"}, in))
	join.Left = true
	p.sink("left", operators.Sink(texts), p.node("left join", operators.JoinTable(join, pair), []string{"table"}, in))
	return p
}

// model is what the operators should do, over plain maps.
type model struct {
	count, late       map[string]entry[int64]
	reduce, aggregate map[string]entry[string]
	table             map[string]string
	changed           map[string]bool // of late, since the last commit
}

type entry[V any] struct {
	value V
	ts    int64
}

func newModel() *model {
	return &model{
		count: map[string]entry[int64]{}, late: map[string]entry[int64]{}, reduce: map[string]entry[string]{},
		aggregate: map[string]entry[string]{}, table: map[string]string{}, changed: map[string]bool{},
	}
}

func (m *model) clone() *model {
	return &model{maps.Clone(m.count), maps.Clone(m.late), maps.Clone(m.reduce), maps.Clone(m.aggregate), maps.Clone(m.table), map[string]bool{}}
}

func number(n int64) *string {
	b, _ := serde.Int64{}.Append(nil, n) // takes every number
	return nullable(b)
}

// process is one record through everything.
func (m *model) process(r topology.Record, out sent) {
	if r.Timestamp < 0 {
		return
	}
	send := func(sink int, value *string, ts int64) {
		out[sink] = append(out[sink], line(nullable(r.Key), value, ts))
	}
	k, v := string(r.Key), string(r.Value)
	if k < v {
		send(filtered, nullable(r.Value), r.Timestamp)
	}
	if r.Value == nil {
		send(mapped, nil, r.Timestamp)
	} else {
		twice := v + v
		send(mapped, &twice, r.Timestamp)
	}
	if r.Key != nil && r.Value == nil {
		delete(m.table, k)
		send(tabled, nil, r.Timestamp)
	}
	if r.Value == nil {
		return
	}
	if r.Key != nil {
		m.keyed(k, v, r.Timestamp, send)
	}
	partner, found := m.table[k]
	if r.Key == nil {
		partner, found = "", false
	}
	text := pair(v, partner, found)
	if found {
		send(joined, &text, r.Timestamp)
	}
	send(leftJoined, &text, r.Timestamp)
}

// keyed is a record that has a key and a value.
func (m *model) keyed(k, v string, ts int64, send func(int, *string, int64)) {
	n := m.count[k]
	n.value, n.ts = n.value+1, max(n.ts, ts)
	m.count[k], m.late[k], m.changed[k] = n, n, true
	send(counted, number(n.value), n.ts)
	s := m.reduce[k]
	s.value, s.ts = s.value+v, max(s.ts, ts)
	m.reduce[k] = s
	send(reduced, &s.value, s.ts)
	b := m.aggregate[k]
	b.value, b.ts = b.value+v, max(b.ts, ts)
	if v == "clear" {
		delete(m.aggregate, k)
		send(aggregated, nil, b.ts)
	} else {
		m.aggregate[k] = b
		json := fmt.Sprintf(`{"Items":%q}`, b.value)
		send(aggregated, &json, b.ts)
	}
	m.table[k] = v
	send(tabled, &v, ts)
}

func (m *model) commit(out sent) {
	for k := range m.changed {
		out[countedOnCommit] = append(out[countedOnCommit], line(&k, number(m.late[k].value), m.late[k].ts))
	}
	clear(m.changed)
}

// TestModel sends random records through an operator of each kind, commits and
// aborts at random moments, and compares all that is written with the model.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		got, want := sent{}, sent{}
		task, err := everything().build(t, got)
		if err != nil {
			rt.Fatal(err)
		}
		now, committed := newModel(), newModel()
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			default:
				batch := rapid.SliceOfN(rapid.Custom(drawRecord), 1, 8).Draw(rt, "records")
				if n, err := task.Sources["in"](batch); n != len(batch) || err != nil {
					rt.Fatal(n, err)
				}
				for _, r := range batch {
					now.process(r, want)
				}
			case 4:
				commit(rt, task)
				now.commit(want)
				committed = now.clone()
			case 5:
				for _, s := range task.Stores {
					s.Abort()
				}
				now = committed.clone()
			}
			compare(rt, got, want)
		}
	})
}

func drawRecord(t *rapid.T) topology.Record {
	r := topology.Record{Timestamp: rapid.Int64Range(-1, 20).Draw(t, "timestamp")}
	if k := rapid.SampledFrom([]string{"a", "b", "c", "", "null"}).Draw(t, "key"); k != "null" {
		r.Key = []byte(k)
	}
	if v := rapid.SampledFrom([]string{"a", "b", "c", "clear", "", "null"}).Draw(t, "value"); v != "null" {
		r.Value = []byte(v)
	}
	return r
}

func commit(t *rapid.T, task *topology.Task) {
	if err := task.Commit(); err != nil {
		t.Fatal(err)
	}
	for _, s := range task.Stores {
		if err := s.Prepare(func(statestore.Change) error { return nil }); err != nil {
			t.Fatal(err)
		}
		s.Committed(statestore.Cut{})
	}
}

func compare(t *rapid.T, got, want sent) {
	for i := range sinks {
		if i == countedOnCommit { // in the order of the store
			slices.Sort(got[i])
			slices.Sort(want[i])
		}
		if !slices.Equal(got[i], want[i]) {
			t.Fatalf("sink %d wrote\n%q\nwant\n%q", i, got[i], want[i])
		}
		got[i], want[i] = got[i][:0], want[i][:0]
	}
}
