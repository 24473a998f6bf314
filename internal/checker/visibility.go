package checker

import "fmt"

// visibility compares what was written with what was read.
func (h *history) visibility() {
	for id := range h.versions {
		v := &h.versions[id]
		m := h.micro(int32(id))
		switch {
		case v.writer < 0:
			h.found(PhantomRead, m, []int{v.readAny}, "was read, and nobody sent it")
		case h.ops[v.writer].Type == Fail:
			h.aborted(v, m)
		case v.committed && !h.seen(v):
			h.missing(v, m)
		}
	}
	for i, o := range h.ops {
		if o.F == Txn && !o.Uncommitted {
			h.precommitted(i, o)
		}
	}
}

// aborted reports a read of what failed. Who reads uncommitted records may see
// what a transaction aborts, but not what was refused.
func (h *history) aborted(v *version, m Micro) {
	reader := v.readCommitted
	if reader < 0 && h.ops[v.writer].F != Txn {
		reader = v.readAny
	}
	if reader >= 0 {
		h.found(AbortedRead, m, []int{v.writer, reader}, "failed, and was read")
	}
}

// seen says that who reads the key has read the version. Where nobody reads it at
// read_committed, any reader counts.
func (h *history) seen(v *version) bool {
	if h.logs[v.key].last == NoOffset {
		return v.readAny >= 0
	}
	return v.readCommitted >= 0
}

// missing reports a committed record that nobody read.
func (h *history) missing(v *version, m Micro) {
	l := &h.logs[v.key]
	if read := h.readOfWriter(v.writer); read >= 0 && h.ops[v.writer].F == Txn {
		h.found(TornTransaction, m, []int{v.writer, read}, "was never read, but others of its transaction were")
	}
	switch {
	case h.ops[v.writer].Type != OK:
		return // it is known to be committed only from what was read
	case m.Offset != NoOffset && l.last > m.Offset:
		h.found(LostWrite, m, []int{v.writer, l.lastOp}, fmt.Sprintf("was acknowledged and never read, though offset %d was", l.last))
	case m.Offset != NoOffset && l.last == NoOffset && l.lastAny > m.Offset:
		h.found(LostWrite, m, []int{v.writer, l.lastAnyOp}, fmt.Sprintf("was acknowledged and never read, though offset %d was", l.lastAny))
	default:
		h.found(Unseen, m, []int{v.writer}, fmt.Sprintf("was acknowledged and never read; %d is the last that was", l.last))
	}
}

// readOfWriter is an operation that read something of another; -1: none did.
func (h *history) readOfWriter(op int) int {
	for m, id := range h.of(op) {
		if v := &h.versions[id]; !h.ops[op].Value[m].Poll && v.writer == op && v.readCommitted >= 0 {
			return v.readCommitted
		}
	}
	return -1
}

func (h *history) precommitted(op int, o Op) {
	for m, id := range h.of(op) {
		if o.Value[m].Poll && h.versions[id].writer == op {
			h.found(PrecommittedRead, o.Value[m], []int{op}, "was read by the transaction that sent it")
		}
	}
}
