package checker

import "fmt"

// version is a value of a key: a record, wherever it is in the log.
type version struct {
	key       int32
	value     int64
	writer    int // position in history.ops, -1: nobody
	offset    int64
	committed bool // acknowledged, or one of its transaction was read
	// readCommitted and readAny are the first operations that polled it at
	// read_committed and at any level; -1: none.
	readCommitted, readAny int
}

type valueOf struct {
	key   int32
	value int64
}

// history is a history with its values numbered.
type history struct {
	report   *Report
	ops      []Op
	at       []int     // where each of ops is in the history that was given
	first    []int     // index into micros of the first of each operation
	micros   []int32   // the version of each record sent or polled, in order
	versions []version // numbered as they were first seen
	keys     []string
	logs     []log // by key
}

// Check looks for anomalies in a history.
func Check(ops []Op) *Report {
	h := &history{report: newReport()}
	h.completed(ops)
	h.number()
	h.commit()
	h.place()
	h.visibility()
	h.sessions()
	h.cycles()
	h.report.Ops = len(h.ops)
	for _, v := range h.versions {
		if v.committed {
			h.report.Committed++
		}
	}
	return h.report
}

// completed drops the invocations that were completed; the others are of
// unknown outcome.
func (h *history) completed(ops []Op) {
	pending := map[int]int{} // process -> its open invocation
	drop := make([]bool, len(ops))
	for i, o := range ops {
		before, is := pending[o.Process]
		if o.Type == Invoke {
			pending[o.Process] = i
		} else if is && ops[before].F == o.F {
			drop[before] = true
			delete(pending, o.Process)
		}
	}
	for i, o := range ops {
		if drop[i] {
			continue
		}
		if o.Type == Invoke {
			o.Type = Info
		}
		h.ops, h.at = append(h.ops, o), append(h.at, i)
	}
}

// number gives each value of each key a version, and notes who wrote it and who
// read it first.
func (h *history) number() {
	ids := map[valueOf]int32{}
	keyIDs := map[string]int32{}
	for i, o := range h.ops {
		h.first = append(h.first, len(h.micros))
		for _, m := range o.Value {
			key, is := keyIDs[m.Key]
			if !is {
				key = int32(len(h.keys))
				keyIDs[m.Key] = key
				h.keys = append(h.keys, m.Key)
			}
			id, is := ids[valueOf{key, m.Value}]
			if !is {
				id = int32(len(h.versions))
				ids[valueOf{key, m.Value}] = id
				h.versions = append(h.versions, version{key: key, value: m.Value, writer: -1, offset: NoOffset, readCommitted: -1, readAny: -1})
			}
			h.micros = append(h.micros, id)
			h.note(&h.versions[id], i, m)
		}
	}
	h.first = append(h.first, len(h.micros))
}

func (h *history) note(v *version, op int, m Micro) {
	if !m.Poll {
		h.report.Sent++
		if v.writer >= 0 {
			h.found(InvalidHistory, m, []int{v.writer, op}, "was sent twice")
			return
		}
		v.writer = op
		return
	}
	h.report.Polled++
	if v.readAny < 0 {
		v.readAny = op
	}
	if v.readCommitted < 0 && !h.ops[op].Uncommitted {
		v.readCommitted = op
	}
}

// commit says which versions are committed: those of operations that were
// acknowledged, and those of transactions of unknown outcome of which one was
// read. What is sent outside a transaction stands for itself.
func (h *history) commit() {
	for i, o := range h.ops {
		read := false
		for m, id := range h.of(i) {
			v := &h.versions[id]
			if o.Value[m].Poll || v.writer != i {
				continue
			}
			v.committed = o.Type == OK || o.Type == Info && v.readCommitted >= 0
			read = read || v.readCommitted >= 0
		}
		if o.Type != Info || o.F != Txn || !read {
			continue
		}
		for m, id := range h.of(i) {
			if v := &h.versions[id]; !o.Value[m].Poll && v.writer == i {
				v.committed = true
			}
		}
	}
}

// of are the versions of the records of an operation.
func (h *history) of(op int) []int32 { return h.micros[h.first[op]:h.first[op+1]] }

// committedOp says that an operation was acknowledged, or that its transaction
// was seen to be committed.
func (h *history) committedOp(op int) bool {
	o := h.ops[op]
	if o.Type != Info {
		return o.Type == OK
	}
	for m, id := range h.of(op) {
		if !o.Value[m].Poll && h.versions[id].committed {
			return true
		}
	}
	return false
}

// found reports an anomaly of a record.
func (h *history) found(class Class, m Micro, ops []int, what string) {
	h.report.add(h.anomaly(class, m, ops, what))
}

func (h *history) allowed(class Class, m Micro, ops []int, what string) {
	a := h.anomaly(class, m, ops, what)
	a.Allowed = true
	h.report.add(a)
}

func (h *history) anomaly(class Class, m Micro, ops []int, what string) Anomaly {
	place := m.String()[1:]
	if class == CircularFlow || class == WriteCycle {
		place = "a circle"
	}
	a := Anomaly{Class: class, Key: m.Key, Offset: m.Offset, Text: place + " " + what}
	for _, op := range ops {
		a.Ops = append(a.Ops, h.at[op])
		a.Text += fmt.Sprintf("\n    line %d: %s", h.at[op]+1, h.shown(op, m.Key))
	}
	return a
}

// shown is an operation with what it did to one key, if it did too much to show
// it all.
func (h *history) shown(op int, key string) string {
	o := h.ops[op]
	if len(o.Value) > opMicros && key != "" {
		var of []Micro
		for _, m := range o.Value {
			if m.Key == key {
				of = append(of, m)
			}
		}
		o.Value = of
	}
	return o.String()
}

func (h *history) micro(id int32) Micro {
	v := h.versions[id]
	return Micro{Key: h.keys[v.key], Offset: v.offset, Value: v.value}
}
