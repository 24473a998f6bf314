package logbroker

import (
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/quota"
)

// waits are the requests whose answer is waited for rather than worked on: for
// records, for the disk, for other members. The time of their handler's call counts;
// of the others all until the answer, as what they do goes on after it.
var waits = map[kmsg.Key]bool{
	kmsg.Fetch: true, kmsg.Produce: true, kmsg.JoinGroup: true, kmsg.SyncGroup: true, kmsg.OffsetCommit: true, kmsg.EndTxn: true,
}

// usage is what a request of a TCP client uses.
type usage struct {
	client string // what it called itself with the request
	key    int16
	size   int       // of the request in bytes
	begun  time.Time // when it was handed on
	// counted is the time of the handler's call that the answer has had counted, so
	// that the client could be told; callCounted from when the call returns on.
	counted atomic.Int64
}

// callCounted stands for a call that is counted without the answer.
const callCounted = -1

// metered counts what a request used against the client's limits, and makes
// a client that is over them wait: it is told how long, if it is answered at all, and
// nothing is read from it meanwhile.
func (b *Broker) metered(c *Conn, u *usage, resp kmsg.Response) {
	q := b.security.quotas
	if q.Empty() {
		return
	}
	now := b.now()
	wait := b.timed(c, u, now)
	if kmsg.Key(u.key) == kmsg.Produce {
		wait = max(wait, q.Use(c.user(), u.client, quota.ProducerBytes, float64(u.size), now))
	}
	c.throttle(resp, wait, now)
}

// timed counts the time that a request has taken, and tells how long its client has to wait
// for all that was counted.
func (b *Broker) timed(c *Conn, u *usage, now time.Time) time.Duration {
	spent := now.Sub(u.begun)
	if waits[kmsg.Key(u.key)] && !u.counted.CompareAndSwap(0, int64(spent)) {
		spent = 0 // it was counted, or the call is over: since then it has waited
	}
	return b.security.quotas.Use(c.user(), u.client, quota.RequestTime, 100*spent.Seconds(), now)
}

// returned counts the handler's call of a request, as far as its answer has not. An
// answer that comes later tells of it.
func (b *Broker) returned(c *Conn, u *usage) {
	if !waits[kmsg.Key(u.key)] || b.security.quotas.Empty() {
		return
	}
	spent := b.now().Sub(u.begun)
	b.worked(c, u, spent-time.Duration(u.counted.Swap(callCounted)))
}

// worked counts time that the broker has worked for a client.
func (b *Broker) worked(c *Conn, u *usage, spent time.Duration) {
	if spent <= 0 || b.security.quotas.Empty() {
		return
	}
	now := b.now()
	c.throttle(nil, b.security.quotas.Use(c.user(), u.client, quota.RequestTime, 100*spent.Seconds(), now), now)
}

// throttle tells a client to wait, and makes it. It is told of the longest that it has to.
func (c *Conn) throttle(resp kmsg.Response, wait time.Duration, now time.Time) {
	if wait <= 0 {
		return
	}
	until := now.Add(wait)
	for {
		have := c.muted.Load()
		if have != nil && !have.Before(until) {
			wait = have.Sub(now)
			break
		}
		if c.muted.CompareAndSwap(have, &until) {
			break
		}
	}
	if t, ok := resp.(kmsg.SetThrottleResponse); ok {
		t.SetThrottle(int32(wait.Milliseconds()))
	}
}

// fetchable is how many of so many bytes a client may fetch at once: of more it would be
// refused all.
func (b *Broker) fetchable(r *request, bytes int) int {
	if r.conn.listener == nil {
		return bytes
	}
	if most, limited := b.security.quotas.Most(r.conn.user(), r.client, quota.ConsumerBytes); limited {
		return int(min(float64(bytes), most))
	}
	return bytes
}

// fetched counts what a fetch is to be answered with, and the time that it took. A client that
// is over a limit by it is refused, and has used no bytes: it fetches again when it has waited,
// as by Kafka.
// What is more than may ever be fetched at once, which one batch may be, is given to who is
// within the limit so far, and waited for then: it would be refused for ever, as by Kafka
// it is.
func (b *Broker) fetched(f *fetch) (wait time.Duration, refused bool) {
	q, user, client := b.security.quotas, f.r.conn.user(), f.r.client
	if f.r.conn.listener == nil || q.Empty() {
		return 0, false
	}
	now, size := b.now(), float64(f.size())
	worked := time.Duration(0)
	if f.r.usage != nil {
		worked = b.timed(f.r.conn, f.r.usage, now)
	}
	most, limited := q.Most(user, client, quota.ConsumerBytes)
	if !limited {
		return worked, worked > 0
	}
	within := q.Over(user, client, quota.ConsumerBytes, now) == 0
	wait = q.Use(user, client, quota.ConsumerBytes, size, now)
	if worked == 0 && (wait == 0 || within && size > most) {
		return wait, false
	}
	q.Use(user, client, quota.ConsumerBytes, -size, now)
	return max(wait, worked), true
}

// mutate counts partitions that a client creates or deletes, and tells whether it
// may: a strict request is refused while the client is over its limit, others are
// made to wait after it.
func (b *Broker) mutate(r *request, partitions int, strict bool) bool {
	q := b.security.quotas
	if r.conn.internal || q.Empty() {
		return true
	}
	now := b.now()
	user, client := r.conn.user(), r.client
	if wait := q.Over(user, client, quota.Mutations, now); wait > 0 && strict {
		r.throttle = max(r.throttle, wait)
		return false
	}
	wait := q.Use(user, client, quota.Mutations, float64(partitions), now)
	if !strict {
		r.throttle = max(r.throttle, wait)
	}
	return true
}
