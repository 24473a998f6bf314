package checker

import (
	"cmp"
	"fmt"
	"slices"
)

// placement says that a version is at an offset, as an operation has seen.
type placement struct {
	offset  int64
	version int32
	op      int
	// certain placements are those of acknowledged sends and of reads at
	// read_committed; others may be of aborted records.
	certain bool
}

// log is what is known of the order of one key.
type log struct {
	placements []placement // sorted by offset, each version once at an offset
	certain    []placement // those that are certain
	// last is the highest offset that was polled at read_committed, and lastAny
	// that at any level; NoOffset: none.
	last, lastAny     int64
	lastOp, lastAnyOp int
}

// place finds the order of each key, offsets with two values and values with two
// offsets.
func (h *history) place() {
	h.logs = make([]log, len(h.keys))
	for i := range h.logs {
		h.logs[i].last, h.logs[i].lastAny = NoOffset, NoOffset
	}
	for i, o := range h.ops {
		for m, id := range h.of(i) {
			h.placeOne(i, o, o.Value[m], id)
		}
	}
	for i := range h.logs {
		h.order(&h.logs[i])
	}
}

func (h *history) placeOne(op int, o Op, m Micro, id int32) {
	if m.Offset == NoOffset || !m.Poll && o.Type != OK {
		return // an offset told to who did not commit may be used again
	}
	l := &h.logs[h.versions[id].key]
	certain := !m.Poll || !o.Uncommitted
	l.placements = append(l.placements, placement{m.Offset, id, op, certain})
	if m.Poll && m.Offset > l.lastAny {
		l.lastAny, l.lastAnyOp = m.Offset, op
	}
	if m.Poll && !o.Uncommitted && m.Offset > l.last {
		l.last, l.lastOp = m.Offset, op
	}
}

func (h *history) order(l *log) {
	slices.SortStableFunc(l.placements, func(a, b placement) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.version, b.version))
	})
	unique := l.placements[:0]
	for _, p := range l.placements {
		if n := len(unique); n > 0 && unique[n-1].offset == p.offset && unique[n-1].version == p.version {
			unique[n-1].certain = unique[n-1].certain || p.certain
			continue
		}
		unique = append(unique, p)
	}
	l.placements = unique
	for i, p := range l.placements {
		if p.certain {
			l.certain = append(l.certain, p)
		}
		if i > 0 && l.placements[i-1].offset == p.offset {
			before := l.placements[i-1]
			h.found(InconsistentOffsets, Micro{Key: h.keys[h.versions[p.version].key], Offset: p.offset, Value: h.versions[p.version].value},
				[]int{before.op, p.op}, fmt.Sprintf("and %d are at one offset", h.versions[before.version].value))
		}
		v := &h.versions[p.version]
		if v.offset == NoOffset {
			v.offset = p.offset
		} else {
			h.found(Duplicate, Micro{Key: h.keys[v.key], Offset: p.offset, Value: v.value},
				h.withWriter(v, p.op), fmt.Sprintf("is at offset %d too", v.offset))
		}
	}
}

func (h *history) withWriter(v *version, ops ...int) []int {
	if v.writer < 0 || slices.Contains(ops, v.writer) {
		return ops
	}
	return append([]int{v.writer}, ops...)
}

// between finds the first placement after one offset and before another.
func between(placements []placement, after, before int64) (placement, bool) {
	i, _ := slices.BinarySearchFunc(placements, after+1, func(p placement, offset int64) int { return cmp.Compare(p.offset, offset) })
	if i < len(placements) && placements[i].offset < before {
		return placements[i], true
	}
	return placement{}, false
}
