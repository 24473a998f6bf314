package logbroker

import (
	"container/list"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Epochs of fetch sessions that mean something else (KIP-227).
const (
	newSessionEpoch = 0
	noSessionEpoch  = -1
)

// nextSession is the epoch of a session after another.
func nextSession(epoch int32) int32 {
	if epoch == math.MaxInt32 {
		return 1
	}
	return epoch + 1
}

// fetchPart is one partition that is fetched.
type fetchPart struct {
	name string
	id   [16]byte
	kmsg.FetchRequestTopicPartition
	// high and start are what the client was told last, in a session, whose lock
	// guards them; all else is not changed.
	high, start int64
}

// fetchSession is what a client fetches again and again (KIP-227): it says only
// what has changed, and is told only what is news.
type fetchSession struct {
	id    int32 // 0 until it has a place among the sessions
	owner sessionOwner
	byID  bool // topics are given by their id

	// The lock of fetchSessions guards these.
	place             *list.Element // nil if it is not there, or not any more
	created, lastUsed time.Time
	held              int64 // of the room of all

	size atomic.Int64 // see roomFor

	mu    sync.Mutex // guards what follows
	epoch int32      // of the next request
	// parts is replaced, never changed: a fetch that is under way has it as well.
	parts []*fetchPart
}

// begin finds out which partitions are to be fetched. A session that begins is there
// when its first fetch is answered.
func (f *fetch) begin() *kerr.Error {
	req, sessions := f.req, &f.b.sessions
	owner := sessionOwner{f.r.conn.principal, f.r.conn.listener}
	if req.Version < 7 || req.SessionEpoch == noSessionEpoch || req.SessionEpoch == newSessionEpoch {
		sessions.drop(req.SessionID, owner)
		f.parts = partsOf(req)
		if req.Version >= 7 && req.SessionEpoch == newSessionEpoch {
			f.session = &fetchSession{owner: owner, byID: req.Version >= 13, epoch: nextSession(newSessionEpoch), parts: f.parts}
			f.session.size.Store(roomFor(f.parts))
		}
		return nil
	}
	s := sessions.find(req.SessionID, owner)
	if s == nil {
		return kerr.FetchSessionIDNotFound
	}
	parts, err := s.next(req)
	switch {
	case err != nil:
		return err
	case len(parts) == 0: // nothing is left to go on with
		sessions.drop(s.id, owner)
		f.parts = partsOf(req)
	case len(parts) > maxElements:
		sessions.drop(s.id, owner) // the client begins anew, and is served without one
		return kerr.FetchSessionIDNotFound
	case !sessions.touch(s, f.b.now()):
		return kerr.FetchSessionIDNotFound // as above
	default:
		f.session, f.parts = s, parts
	}
	return nil
}

// next takes over what a request says is different, and is at the next epoch: another
// request of this one comes too late.
func (s *fetchSession) next(req *kmsg.FetchRequest) ([]*fetchPart, *kerr.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case req.SessionEpoch != s.epoch:
		return nil, kerr.InvalidFetchSessionEpoch
	case s.byID != (req.Version >= 13):
		return nil, kerr.FetchSessionTopicIDError
	}
	s.change(req)
	s.epoch = nextSession(s.epoch)
	return s.parts, nil
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

// change takes over what a request says is different: first what is fetched, then
// what is not any more. mu is held.
func (s *fetchSession) change(req *kmsg.FetchRequest) {
	fresh := partsOf(req)
	if len(fresh) == 0 && len(req.ForgottenTopics) == 0 {
		return
	}
	at := make(map[partKey]int, len(fresh))
	for i, p := range fresh {
		at[p.key()] = i
	}
	parts := make([]*fetchPart, 0, len(s.parts)+len(fresh))
	for _, p := range s.parts {
		if i, again := at[p.key()]; again {
			fresh[i].high, fresh[i].start = p.high, p.start
			p, fresh[i] = fresh[i], nil
		}
		parts = append(parts, p)
	}
	for _, p := range fresh {
		if p != nil {
			parts = append(parts, p)
		}
	}
	if len(req.ForgottenTopics) > 0 {
		gone := map[partKey]bool{}
		for _, t := range req.ForgottenTopics {
			for _, n := range t.Partitions {
				gone[partKey{t.Topic, t.TopicID, n}] = true
			}
		}
		parts = slices.DeleteFunc(parts, func(p *fetchPart) bool { return gone[p.key()] })
		parts = slices.Clone(parts) // in no more memory than is counted
	}
	s.parts = parts
	s.size.Store(roomFor(parts))
}

// tellsAll tells whether all partitions are told of, not just the news.
func (f *fetch) tellsAll() bool { return f.session == nil || f.req.SessionEpoch == newSessionEpoch }

// finish makes the answer that of the session. In the first all is told, and the
// session begins if there is room for it; otherwise the answer has the id 0.
func (s *fetchSession) finish(f *fetch) {
	if f.tellsAll() {
		s.tell(f)
		f.b.sessions.add(s, f.b.now())
		f.resp.SessionID = s.id
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isDue(f) {
		s.tell(f)
	}
}

// refuse makes an answer that tells nothing that of the session, which stands where it
// stood. One that would begin does not.
func (s *fetchSession) refuse(f *fetch) {
	if f.tellsAll() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isDue(f)
}

// isDue tells whether the client waits for the answer; else it has gone on meanwhile, by
// another connection. mu is held.
func (s *fetchSession) isDue(f *fetch) bool {
	f.resp.SessionID = s.id
	if s.epoch == nextSession(f.req.SessionEpoch) {
		return true
	}
	f.resp.ErrorCode, f.resp.Topics, f.found = kerr.InvalidFetchSessionEpoch.Code, nil, nil
	return false
}

// isNews tells whether the client of a session is to be told of a partition. The lock of
// the session is held.
func (p *fetchPart) isNews(rp *kmsg.FetchResponseTopicPartition, records bool) bool {
	return rp.ErrorCode != 0 || records || rp.DivergingEpoch.EndOffset >= 0 || rp.HighWatermark != p.high || rp.LogStartOffset != p.start
}

// tell leaves partitions without news out of an answer, unless all are to be told.
// Those that gave records come last the next time, so that none starves. mu is held.
func (s *fetchSession) tell(f *fetch) {
	n, served := 0, 0
	var order []*fetchPart // the quiet from the front, those that gave records from the back
	topics, found := f.resp.Topics[:0], f.found[:0]
	for _, t := range f.resp.Topics {
		kept := t.Partitions[:0]
		for _, rp := range t.Partitions {
			p, inFile := f.parts[n], f.found[n]
			records := len(rp.RecordBatches) > 0 || inFile.Size() > 0
			news := p.isNews(&rp, records)
			p.high, p.start = rp.HighWatermark, rp.LogStartOffset
			if rp.ErrorCode != 0 {
				p.high = -2 // told again until it is over
			}
			if news || f.tellsAll() {
				kept, found = append(kept, rp), append(found, inFile)
			}
			if records && order == nil {
				order = make([]*fetchPart, len(f.parts))
				copy(order, f.parts[:n])
			}
			n++
			switch {
			case records:
				served++
				order[len(order)-served] = p
			case order != nil:
				order[n-1-served] = p
			}
		}
		if t.Partitions = kept; len(kept) > 0 {
			topics = append(topics, t)
		}
	}
	f.resp.Topics, f.found = topics, found
	if served > 0 && served < n {
		slices.Reverse(order[n-served:])
		s.parts = order
	}
}
