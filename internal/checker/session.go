package checker

import "fmt"

// position is where a process was last in a key.
type position struct {
	offset int64
	op     int
}

// session is what a process has done so far.
type session struct {
	subscribed bool
	polled     map[int32]position // by key
	sent       map[int32]position
}

// sessions follows each process through its polls and sends.
func (h *history) sessions() {
	byProcess := map[int]*session{}
	consumed := map[int32]int{}
	for i, o := range h.ops {
		s := byProcess[o.Process]
		if s == nil {
			s = &session{polled: map[int32]position{}, sent: map[int32]position{}}
			byProcess[o.Process] = s
		}
		switch o.F {
		case Assign, Subscribe, Crash:
			clear(s.polled)
			if o.F != Crash {
				s.subscribed = o.F == Subscribe
			}
			continue
		}
		count := s.subscribed && h.committedOp(i)
		for m, id := range h.of(i) {
			if !o.Value[m].Poll {
				h.sent(s, i, o, o.Value[m], id)
				continue
			}
			h.polled(s, i, o, o.Value[m], id)
			if count {
				consumed[id]++
			}
		}
	}
	for _, n := range consumed {
		h.report.Consumed[n]++
	}
}

func (h *history) polled(s *session, op int, o Op, m Micro, id int32) {
	key := h.versions[id].key
	last, is := s.polled[key]
	s.polled[key] = position{m.Offset, op}
	if !is {
		return
	}
	skip, back, report := PollSkip, NonmonotonicPoll, h.found
	if last.op == op {
		skip, back = IntPollSkip, IntNonmonotonicPoll
	} else if s.subscribed {
		report = h.allowed
	}
	if m.Offset <= last.offset {
		report(back, m, twoOps(last.op, op), fmt.Sprintf("was polled after offset %d", last.offset))
		return
	}
	known := h.logs[key].certain
	if o.Uncommitted {
		known = h.logs[key].placements
	}
	if p, is := between(known, last.offset, m.Offset); is {
		missed := h.micro(p.version)
		missed.Offset = p.offset
		report(skip, missed, append(twoOps(last.op, op), p.op), fmt.Sprintf("was left out between the polls of %d and %d", last.offset, m.Offset))
	}
}

func (h *history) sent(s *session, op int, o Op, m Micro, id int32) {
	if o.Type != OK || m.Offset == NoOffset {
		return
	}
	key := h.versions[id].key
	last, is := s.sent[key]
	s.sent[key] = position{m.Offset, op}
	if !is {
		return
	}
	class := NonmonotonicSend
	if last.op == op {
		class = IntNonmonotonicSend
	}
	if m.Offset <= last.offset {
		h.found(class, m, twoOps(last.op, op), fmt.Sprintf("was sent after the record of offset %d", last.offset))
		return
	}
	if p, is := between(h.logs[key].certain, last.offset, m.Offset); is && last.op == op {
		h.allowed(IntSendSkip, m, []int{op, p.op}, fmt.Sprintf("and offset %d have another's record between them", last.offset))
	}
}

func twoOps(a, b int) []int {
	if a == b {
		return []int{a}
	}
	return []int{a, b}
}
