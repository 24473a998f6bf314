package checker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// model is a log that keeps its promises, with processes that use it.
type model struct {
	rng       *rand.Rand
	keys      []string
	logs      [][]modelRecord
	positions map[[2]int]int // process and key -> next offset
	ops       []Op
	values    int64
	micros    int
}

type modelRecord struct {
	value   int64
	aborted bool // also for markers
	marker  bool
}

func newModel(seed uint64, keys int) *model {
	m := &model{rng: rand.New(rand.NewPCG(seed, 5)), logs: make([][]modelRecord, keys), positions: map[[2]int]int{}}
	for i := range keys {
		m.keys = append(m.keys, fmt.Sprintf("t-%d", i))
	}
	return m
}

// Processes 0 to 3 write transactions, 4 and 5 write without, 6 and 7 read
// committed records, 8 all of them, 9 reads and writes in transactions.
func (m *model) step() {
	switch p := m.rng.IntN(10); {
	case p < 4:
		m.write(p, Txn, nil)
	case p < 6:
		m.write(p, Send, nil)
	case p < 8:
		m.add(Op{Process: p, Type: OK, F: Poll, Value: m.poll(p, 100, false)})
	case p == 8:
		m.add(Op{Process: p, Type: OK, F: Poll, Uncommitted: true, Value: m.poll(p, 100, true)})
	default:
		m.write(p, Txn, m.poll(p, 8, false))
	}
}

func (m *model) add(o Op) {
	m.ops = append(m.ops, o)
	m.micros += len(o.Value)
}

func (m *model) write(p int, f Function, polled []Micro) {
	o := Op{Process: p, Type: []Type{OK, OK, OK, Fail, Info}[m.rng.IntN(5)], F: f, Value: polled}
	committed := o.Type == OK || o.Type == Info && m.rng.IntN(2) == 0
	if len(polled) > 0 {
		o.Type, committed = OK, true // else it would have to go back
	}
	for range 1 + m.rng.IntN(6) {
		k := m.rng.IntN(len(m.keys))
		m.values++
		sent := Micro{Key: m.keys[k], Offset: NoOffset, Value: m.values}
		if f == Txn || committed {
			m.logs[k] = append(m.logs[k], modelRecord{value: m.values, aborted: !committed})
		}
		if o.Type == OK {
			sent.Offset = int64(len(m.logs[k]) - 1)
		}
		o.Value = append(o.Value, sent)
		if f == Txn && m.rng.IntN(3) == 0 {
			m.logs[k] = append(m.logs[k], modelRecord{marker: true, aborted: true})
		}
	}
	m.add(o)
}

func (m *model) poll(p, most int, uncommitted bool) []Micro {
	var polled []Micro
	for k := range m.keys {
		at := m.positions[[2]int{p, k}]
		for ; at < len(m.logs[k]) && most > 0; at++ {
			if r := m.logs[k][at]; !r.marker && (uncommitted || !r.aborted) {
				polled = append(polled, Micro{Poll: true, Key: m.keys[k], Offset: int64(at), Value: r.value})
				most--
			}
		}
		m.positions[[2]int{p, k}] = at
	}
	return polled
}

// drain reads all to the end.
func (m *model) drain() []Op {
	m.add(Op{Process: 10, Type: OK, F: Assign})
	m.add(Op{Process: 10, Type: OK, F: Poll, Value: m.poll(10, len(m.ops)*1000, false)})
	return m.ops
}

// mutations plant one fault into a history each; they say whether they could.
var mutations = map[string]func(m *model) bool{
	// A committed record is in no answer of a poll.
	"lost": func(m *model) bool {
		v, is := m.some(func(o Op, r Micro) bool { return o.Type == OK && !r.Poll })
		return is && m.change(func(o *Op) {
			o.Value = slices.DeleteFunc(o.Value, func(r Micro) bool { return r.Poll && r.Value == v.Value })
		})
	},
	// A transaction that was acknowledged reports that it was aborted.
	"aborted": func(m *model) bool {
		v, is := m.some(func(o Op, r Micro) bool { return o.Type == OK && !r.Poll })
		return is && m.change(func(o *Op) {
			if slices.ContainsFunc(o.Value, func(r Micro) bool { return !r.Poll && r.Value == v.Value }) {
				o.Type = Fail
			}
		})
	},
	// A reader sees a record at another offset than its writer was told.
	"moved": func(m *model) bool {
		v, is := m.some(func(o Op, r Micro) bool { return o.Type == OK && !r.Poll })
		return is && m.changeOne(func(o Op, r Micro) bool { return o.Process == 10 && r.Poll && r.Value == v.Value },
			func(r *Micro) { r.Offset += 1_000_000 })
	},
	// A reader sees another value than others do.
	"changed": func(m *model) bool {
		return m.changeOne(func(o Op, r Micro) bool { return r.Poll }, func(r *Micro) { r.Value = 1_000_000_000 })
	},
	// The answer to a send names an offset of another record.
	"misplaced": func(m *model) bool {
		v, is := m.some(func(o Op, r Micro) bool { return r.Poll && o.Process == 10 })
		return is && m.changeOne(func(o Op, r Micro) bool { return o.Type == OK && !r.Poll && r.Key == v.Key && r.Value != v.Value },
			func(r *Micro) { r.Offset = v.Offset })
	},
	// A record that was aborted is read.
	"visible": func(m *model) bool {
		v, is := m.some(func(o Op, r Micro) bool { return o.Type == Fail && !r.Poll })
		if is {
			m.add(Op{Process: 10, Type: OK, F: Poll, Value: []Micro{{Poll: true, Key: v.Key, Offset: 2_000_000, Value: v.Value}}})
		}
		return is
	},
	// A poll is answered twice.
	"again": func(m *model) bool {
		for i, o := range m.ops {
			if o.F == Poll && len(o.Value) > 0 {
				m.ops = slices.Insert(m.ops, i+1, o)
				return true
			}
		}
		return false
	},
	// A reader is not given one record that who reads all is given.
	"skipped": func(m *model) bool {
		i := slices.IndexFunc(m.ops, func(o Op) bool {
			return (o.Process == 6 || o.Process == 7) && len(o.Value) > 2 && o.Value[0].Key == o.Value[2].Key
		})
		if i >= 0 {
			m.ops[i].Value = slices.Delete(slices.Clone(m.ops[i].Value), 1, 2)
		}
		return i >= 0
	},
}

// some is a random record of the history.
func (m *model) some(ok func(Op, Micro) bool) (Micro, bool) {
	var all []Micro
	for _, o := range m.ops {
		for _, r := range o.Value {
			if ok(o, r) {
				all = append(all, r)
			}
		}
	}
	if len(all) == 0 {
		return Micro{}, false
	}
	return all[m.rng.IntN(len(all))], true
}

func (m *model) change(f func(*Op)) bool {
	for i := range m.ops {
		f(&m.ops[i])
	}
	return true
}

func (m *model) changeOne(ok func(Op, Micro) bool, f func(*Micro)) bool {
	v, is := m.some(ok)
	for i := range m.ops {
		for j := range m.ops[i].Value {
			if r := &m.ops[i].Value[j]; is && *r == v && ok(m.ops[i], *r) {
				f(r)
				return true
			}
		}
	}
	return false
}

// TestRandomHistories checks that what a good log does passes, and that it does
// not with one fault in it.
func TestRandomHistories(t *testing.T) {
	histories := func(seed uint64) *model {
		m := newModel(seed, 3)
		for range 60 {
			m.step()
		}
		m.drain()
		return m
	}
	planted := map[string]int{}
	for seed := range uint64(300) {
		m := histories(seed)
		if report := Check(m.ops); !report.OK() {
			t.Fatalf("seed %d: a good log: %s", seed, report)
		}
		for name, mutate := range mutations {
			m := histories(seed)
			if !mutate(m) {
				continue
			}
			planted[name]++
			if Check(m.ops).OK() {
				t.Fatalf("seed %d: %s was not noticed", seed, name)
			}
		}
	}
	for name := range mutations {
		if planted[name] < 100 {
			t.Errorf("%s was planted %d times", name, planted[name])
		}
	}
}
