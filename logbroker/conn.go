package logbroker

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/sasl"
)

// anonymous is the principal of who did not have to say who it is.
const anonymous = "User:ANONYMOUS"

// Conn identifies a client to Handle: a TCP connection, or a caller in this
// process. Its requests are to be handed over one after another.
type Conn struct {
	// ClientID and Host are what the client calls itself and where it is;
	// groups show them. With TCP the first is the reader's of the requests alone, as
	// each request may have another.
	ClientID string
	Host     string

	internal  bool      // a caller in this process: it may do everything
	listener  *listener // nil for internal ones
	principal string    // TYPE:NAME
	auth      authState
	closed    atomic.Bool
	onFail    func(error)
	earned    int                       // bytes of its last produce, which it is trusted to send again
	stint     stint                     // of the reader of its requests
	usage     *usage                    // of the request that is handed on; nil without one
	muted     atomic.Pointer[time.Time] // until when nothing is read from it
	parked    parked
	syncs     syncs
	arrivals  arrivals
}

// gatheredBytes is how much of a large request is written before the syncs begin of what
// it was: with less the disk has more to do, with more it waits for the network.
const gatheredBytes = 8 << 20

// writeOutBytes are worth a call of their own that has the disk begin with them before the
// sync that waits for it: so it works on all logs at once.
const writeOutBytes = 128 << 10

// keptDue is for how many partitions a connection keeps memory.
const keptDue = 1 << 10

// syncs are those that wait until all produces that came at once have been written, so
// that one sync makes all of them durable. Only the reader of the requests uses it.
type syncs struct {
	gathers bool // a flush will follow; else syncs begin at once
	due     []*partition
}

// begin calls fn once everything below end is durable. Where a flush follows, fn must not take
// a while: others may wait for it.
func (s *syncs) begin(p *partition, end int64, fn func(error)) {
	switch {
	case !p.awaitSync(syncWaiter{end: end, long: !s.gathers, fn: fn}):
	case !s.gathers:
		p.sync()
	case len(s.due) == 0 || s.due[len(s.due)-1] != p:
		s.due = append(s.due, p)
	}
}

// flush begins those that wait.
func (s *syncs) flush() {
	if len(s.due) > 0 {
		s.due[0].broker.pulse.rests()
	}
	if len(s.due) > 1 {
		s.together()
	} else if len(s.due) == 1 {
		s.due[0].sync()
	}
	clear(s.due)
	s.due = s.due[:0]
	if cap(s.due) > keptDue {
		s.due = nil
	}
}

// together begins the syncs of several logs, as one.
func (s *syncs) together() {
	b := s.due[0].broker
	n := 0
	for _, p := range s.due {
		if p.unsynced.Load() >= writeOutBytes {
			p.log.WriteOut()
		}
		if p.mayBegin() {
			s.due[n] = p
			n++
		}
	}
	b.syncer.add(s.due[:n]...)
}

// here is flush of a single log where nothing is left to be read: the reader of the requests
// syncs it itself, and writes the answers, which others need not be woken for.
func (s *syncs) here() {
	s.due[0].syncHere()
	clear(s.due)
	s.due = s.due[:0]
}

// soon lets those that wait begin after as long as anything may be unsynced, whatever
// comes until then.
func (s *syncs) soon() {
	for _, p := range s.due {
		p.syncLater()
	}
}

// parked are the fetches of a connection that wait. They end with it: a client may ask
// for a wait of weeks, and connect again.
type parked struct {
	mu    sync.Mutex
	list  []*fetch
	ended bool
}

// add is false once the connection has ended.
func (p *parked) add(f *fetch) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.list = append(p.list, f)
	}
	return !p.ended
}

func (p *parked) remove(f *fetch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.list, f); i >= 0 {
		p.list = slices.Delete(p.list, i, i+1)
	}
}

func (p *parked) end() {
	p.mu.Lock()
	p.ended = true
	list := slices.Clone(p.list)
	p.mu.Unlock()
	for _, f := range list {
		f.leave()
	}
}

// authState is how far a connection is with its authentication. Only the handlers
// of its own requests use it.
type authState struct {
	mechanism string        // of the handshake; empty before it
	exchange  sasl.Exchange // under way, or nil
	raw       bool          // messages come without a request around them (handshake version 0)
	done      bool          // it has authenticated at least once
	first     string        // the mechanism then
	failed    bool          // the connection ends after the answer
	expires   time.Time     // when it must have done so again; zero is never
}

// NewConn makes the Conn of a caller in this process, who may do everything.
func NewConn(clientID, host string) *Conn {
	return &Conn{ClientID: clientID, Host: host, internal: true, principal: anonymous}
}

// address is where the client is, as access rules name it.
func (c *Conn) address() string { return strings.TrimPrefix(c.Host, "/") }

// user is the name of the principal, as quotas have it.
func (c *Conn) user() string {
	_, name, _ := strings.Cut(c.principal, ":")
	return name
}

// mustAuthenticate tells whether the client has to say who it is, now or again.
func (c *Conn) mustAuthenticate(now time.Time) bool {
	if c.listener == nil || len(c.listener.SASL) == 0 {
		return false
	}
	return !c.auth.done || c.auth.exchange != nil || !c.auth.expires.IsZero() && now.After(c.auth.expires)
}

// admits refuses requests from a client that is not let in yet, or not any more.
func (c *Conn) admits(key int16, now time.Time) error {
	switch kmsg.Key(key) {
	case kmsg.ApiVersions, kmsg.SASLHandshake, kmsg.SASLAuthenticate:
		return nil
	}
	if c.mustAuthenticate(now) {
		return refusef("%s before authentication: this listener wants SASL with %s", kmsg.NameForKey(key), strings.Join(c.listener.SASL, ", "))
	}
	return nil
}

// mutedFor is how long nothing is to be read from the client: by the steady clock,
// so that a jump of the other neither mutes a client for ever nor lets it go.
func (c *Conn) mutedFor(now time.Time) time.Duration {
	if until := c.muted.Load(); until != nil {
		return until.Sub(now)
	}
	return 0
}

// fail closes a TCP connection whose client does not keep to the protocol.
func (c *Conn) fail(err error) {
	if c.closed.CompareAndSwap(false, true) && c.onFail != nil {
		c.onFail(err)
	}
}

// errGoodbye ends a connection after what was answered has been sent.
type errGoodbye struct{ err error }

func (e *errGoodbye) Error() string { return fmt.Sprint(e.err) }
func (e *errGoodbye) Unwrap() error { return e.err }
