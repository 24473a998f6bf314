package logbroker

import (
	"container/list"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// staleSession is how long a fetch session that others want the place of is kept
// without use, and how old one is that a larger may replace, as with Kafka.
const staleSession = 2 * time.Minute

// sessionOwner is whose a fetch session is. To others it is as if there were none:
// they can neither use it, nor learn of it, nor end it.
type sessionOwner struct {
	principal string
	listener  *listener
}

// fetchSessions are the fetch sessions of all clients (KIP-227). They outlive their
// connections, and make way for others by the rules of Kafka when there are too many.
// The lock of a session is not taken under this one, which nobody holds for long.
type fetchSessions struct {
	limits *Limits

	mu   sync.Mutex // guards what follows
	byID map[int32]*fetchSession
	used list.List // of *fetchSession, the least recently used first
	room int64     // that all take: see roomFor
	// least is at most what the smallest session takes that a larger one may
	// replace, so that who is refused costs nothing.
	least int64
}

func (c *fetchSessions) open(limits *Limits) {
	c.limits, c.byID, c.least = limits, map[int32]*fetchSession{}, math.MaxInt64
}

// roomFor is how much partitions take. Names longer than those of topics, which the
// client has made up, count for more.
func roomFor(parts []*fetchPart) (n int64) {
	for _, p := range parts {
		n += 1 + int64(len(p.name)>>8)
	}
	return n
}

func (c *fetchSessions) find(id int32, owner sessionOwner) *fetchSession {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.byID[id]; s != nil && s.owner == owner {
		return s
	}
	return nil
}

// drop ends a session, if the owner has one of the id.
func (c *fetchSessions) drop(id int32, owner sessionOwner) {
	if id == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.byID[id]; s != nil && s.owner == owner {
		c.remove(s)
	}
}

// remove ends a session. mu is held.
func (c *fetchSessions) remove(s *fetchSession) {
	delete(c.byID, s.id)
	c.used.Remove(s.place)
	s.place = nil
	c.room -= s.held
}

// add takes a session in and gives it its id, if there is room for it.
func (c *fetchSessions) add(s *fetchSession, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := s.size.Load()
	if !c.makeRoom(size, now) || !c.makePlace(size, now) {
		return false
	}
	for s.id == 0 || c.byID[s.id] != nil {
		s.id = 1 + rand.Int32N(math.MaxInt32-1)
	}
	s.created, s.lastUsed, s.held = now, now, size
	c.byID[s.id], s.place = s, c.used.PushBack(s)
	c.room += s.held
	return true
}

// touch says that a session is used, and takes over its size, if there is room for it.
// For one that is there no more nothing is done.
func (c *fetchSessions) touch(s *fetchSession, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.place == nil {
		return true
	}
	c.used.MoveToBack(s.place)
	s.lastUsed = now
	size := s.size.Load()
	if size > s.held && !c.makeRoom(size-s.held, now) {
		c.remove(s)
		return false
	}
	c.room += size - s.held
	s.held = size
	if s.replaceable() {
		c.least = min(c.least, s.held)
	}
	return true
}

// makeRoom tells whether n more may be taken; stale sessions make way. mu is held.
func (c *fetchSessions) makeRoom(n int64, now time.Time) bool {
	if n > int64(c.limits.FetchSessionPartitions) {
		return false
	}
	for c.room+n > int64(c.limits.FetchSessionPartitions) {
		if !c.removeStale(now) {
			return false
		}
	}
	return true
}

// makePlace tells whether there may be another session, of a size: a stale one makes
// way, else the smallest that is smaller and not new. mu is held.
func (c *fetchSessions) makePlace(size int64, now time.Time) bool {
	if len(c.byID) < c.limits.FetchSessions || c.removeStale(now) {
		return true
	}
	if size <= c.least {
		return false
	}
	var smallest *fetchSession
	c.least = math.MaxInt64
	for e := c.used.Front(); e != nil; e = e.Next() {
		if s := e.Value.(*fetchSession); s.replaceable() && s.held < c.least {
			smallest, c.least = s, s.held
		}
	}
	if size <= c.least {
		return false
	}
	c.remove(smallest)
	return true
}

// removeStale ends the session that was not used for longest, if that is long. mu is
// held.
func (c *fetchSessions) removeStale(now time.Time) bool {
	e := c.used.Front()
	if e == nil {
		return false
	}
	s := e.Value.(*fetchSession)
	if now.Sub(s.lastUsed) <= staleSession {
		return false
	}
	c.remove(s)
	return true
}

// replaceable tells whether a larger session may take the place: if it was old when it
// was used last.
func (s *fetchSession) replaceable() bool { return s.lastUsed.Sub(s.created) > staleSession }
