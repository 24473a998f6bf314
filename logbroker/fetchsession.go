package logbroker

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxSessions is the number of fetch sessions of one connection. A client needs
// one; it makes another when it lost track of the first.
const maxSessions = 2

// maxSessionParts bounds the partitions of all fetch sessions of TCP clients: whoever
// comes when there is no room is served without a session.
const maxSessionParts = 200_000

// sessionRoom is how much the sessions of TCP clients hold. Nil is for callers in this
// process, which are not bounded.
type sessionRoom struct{ used atomic.Int64 }

// take takes room, all or nothing; less than none gives it back.
func (r *sessionRoom) take(n int64) bool {
	if r == nil || r.used.Add(n) <= maxSessionParts || n <= 0 {
		return true
	}
	r.used.Add(-n)
	return false
}

// roomFor is how much partitions take. Names longer than those of topics, which the
// client has made up, count for more.
func roomFor(parts []*fetchPart) (n int64) {
	for _, p := range parts {
		n += 1 + int64(len(p.name)>>8)
	}
	return n
}

// room is where the sessions of the client are counted.
func (f *fetch) room() *sessionRoom {
	if f.r.conn.internal {
		return nil
	}
	return &f.b.sessions
}

// Epochs of fetch sessions that mean something else (KIP-227).
const (
	newSessionEpoch = 0
	noSessionEpoch  = -1
)

// fetchPart is one partition that is fetched.
type fetchPart struct {
	name string
	id   [16]byte
	kmsg.FetchRequestTopicPartition
	// high and start are what the client was told last, in a session.
	high, start int64
}

// fetchSession is what a client fetches again and again (KIP-227): it says only
// what has changed, and is told only what is news. A session belongs to its
// connection, so that nobody can use another's, and ends with it.
type fetchSession struct {
	id   int32
	held int64 // room taken; used by the handler of the connection only

	mu    sync.Mutex // guards what follows
	epoch int32      // of the next request
	byID  bool       // topics are given by their id
	busy  bool       // a request is under way
	parts []*fetchPart
}

// sessionsOf are the sessions of a connection, the oldest first.
type sessionsOf struct {
	mu   sync.Mutex
	list []*fetchSession
}

func (s *sessionsOf) find(id int32) *fetchSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.list, func(f *fetchSession) bool { return f.id == id })
	if i < 0 {
		return nil
	}
	return s.list[i]
}

// drop ends a session, if there is one of the id.
func (s *sessionsOf) drop(id int32, room *sessionRoom) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = slices.DeleteFunc(s.list, func(f *fetchSession) bool {
		if f.id == id {
			room.take(-f.held)
		}
		return f.id == id
	})
}

// end ends all sessions, with their connection.
func (s *sessionsOf) end(room *sessionRoom) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.list {
		room.take(-f.held)
	}
	s.list = nil
}

// add begins a session if there is room for it, and tells whether there is.
func (s *sessionsOf) add(f *fetchSession, room *sessionRoom) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == maxSessions {
		room.take(-s.list[0].held)
		s.list = slices.Delete(s.list, 0, 1)
	}
	if f.held = roomFor(f.parts); !room.take(f.held) {
		return false
	}
	for f.id == 0 || slices.ContainsFunc(s.list, func(o *fetchSession) bool { return o.id == f.id }) {
		f.id = 1 + rand.Int32N(1<<30)
	}
	s.list = append(s.list, f)
	return true
}

// begin finds out which partitions are to be fetched.
func (f *fetch) begin() *kerr.Error {
	req, sessions := f.req, &f.r.conn.sessions
	switch {
	case req.Version < 7 || req.SessionEpoch == noSessionEpoch:
		sessions.drop(req.SessionID, f.room())
		f.parts = partsOf(req)
		return nil
	case req.SessionEpoch == newSessionEpoch:
		sessions.drop(req.SessionID, f.room())
		f.parts = partsOf(req)
		if len(f.parts) > 0 {
			s := &fetchSession{epoch: 1, byID: req.Version >= 13, busy: true, parts: slices.Clone(f.parts)}
			if sessions.add(s, f.room()) {
				f.session = s // otherwise the answer has the id 0, as Kafka's
			}
		}
		return nil
	}
	s := sessions.find(req.SessionID)
	if s == nil {
		return kerr.FetchSessionIDNotFound
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.busy || req.SessionEpoch != s.epoch:
		return kerr.InvalidFetchSessionEpoch
	case s.byID != (req.Version >= 13):
		return kerr.FetchSessionTopicIDError
	}
	s.change(req)
	if held := roomFor(s.parts); len(s.parts) <= maxElements && f.room().take(held-s.held) {
		s.held = held
	} else {
		sessions.drop(s.id, f.room()) // the client begins anew, and is served without one
		return kerr.FetchSessionIDNotFound
	}
	if s.epoch++; s.epoch <= 0 {
		s.epoch = 1
	}
	s.busy = true
	f.session, f.parts = s, slices.Clone(s.parts)
	return nil
}

// partsOf are the partitions that a request names. Of one that it names again the last
// counts, as with Kafka: a fetch that waits for one partition very many times would
// hold up whoever writes there.
func partsOf(req *kmsg.FetchRequest) (out []*fetchPart) {
	n := 0
	for _, t := range req.Topics {
		n += len(t.Partitions)
	}
	at := make(map[partKey]int, n)
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			p.UnknownTags = kmsg.Tags{} // which may be long, and would be kept
			part := &fetchPart{name: t.Topic, id: t.TopicID, FetchRequestTopicPartition: p, high: -1, start: -1}
			if i, again := at[part.key()]; again {
				out[i] = part
				continue
			}
			at[part.key()] = len(out)
			out = append(out, part)
		}
	}
	return out
}

// partKey is what a partition of a fetch is named by.
type partKey struct {
	name      string
	id        [16]byte
	partition int32
}

func (p *fetchPart) key() partKey { return partKey{p.name, p.id, p.Partition} }

// change takes over what a request says is different. mu is held.
func (s *fetchSession) change(req *kmsg.FetchRequest) {
	gone := map[partKey]bool{}
	for _, t := range req.ForgottenTopics {
		for _, n := range t.Partitions {
			gone[partKey{t.Topic, t.TopicID, n}] = true
		}
	}
	if len(gone) > 0 {
		s.parts = slices.DeleteFunc(s.parts, func(p *fetchPart) bool { return gone[p.key()] })
	}
	fresh := partsOf(req)
	if len(fresh) == 0 {
		return
	}
	have := make(map[partKey]*fetchPart, len(s.parts))
	for _, p := range s.parts {
		have[p.key()] = p
	}
	for _, p := range fresh {
		if old := have[p.key()]; old != nil {
			old.FetchRequestTopicPartition = p.FetchRequestTopicPartition
		} else {
			s.parts = append(s.parts, p)
		}
	}
}

// finish makes the answer that of the session: partitions without news are left
// out, but in the first. Those that gave records come last the next time, so that
// none starves.
func (s *fetchSession) finish(f *fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	f.resp.SessionID = s.id
	first := f.req.SessionEpoch == newSessionEpoch
	n := 0
	var quiet, served []*fetchPart
	topics, found := f.resp.Topics[:0], f.found[:0]
	for _, t := range f.resp.Topics {
		kept := t.Partitions[:0]
		for _, rp := range t.Partitions {
			p, inFile := f.parts[n], f.found[n]
			n++
			records := len(rp.RecordBatches) > 0 || inFile.Size() > 0
			news := rp.ErrorCode != 0 || records || rp.DivergingEpoch.EndOffset >= 0 || rp.HighWatermark != p.high || rp.LogStartOffset != p.start
			p.high, p.start = rp.HighWatermark, rp.LogStartOffset
			if rp.ErrorCode != 0 {
				p.high = -2 // told again until it is over
			}
			if news || first {
				kept, found = append(kept, rp), append(found, inFile)
			}
			if records {
				served = append(served, p)
			} else {
				quiet = append(quiet, p)
			}
		}
		if t.Partitions = kept; len(kept) > 0 {
			topics = append(topics, t)
		}
	}
	f.resp.Topics, f.found = topics, found
	if len(served) > 0 && len(quiet) > 0 {
		s.parts = append(quiet, served...)
	}
}
