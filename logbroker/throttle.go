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
	user, client := c.user(), u.client
	spent := now.Sub(u.begun)
	if waits[kmsg.Key(u.key)] && !u.counted.CompareAndSwap(0, int64(spent)) {
		spent = 0 // the call is over: since then it has waited
	}
	wait := q.Use(user, client, quota.RequestTime, 100*spent.Seconds(), now)
	switch kmsg.Key(u.key) {
	case kmsg.Produce:
		wait = max(wait, q.Use(user, client, quota.ProducerBytes, float64(u.size), now))
	case kmsg.Fetch:
		wait = max(wait, q.Use(user, client, quota.ConsumerBytes, float64(fetchedBytes(resp)), now))
	}
	c.throttle(resp, wait, now)
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

// throttle tells a client to wait, and makes it.
func (c *Conn) throttle(resp kmsg.Response, wait time.Duration, now time.Time) {
	if wait <= 0 {
		return
	}
	if t, ok := resp.(kmsg.SetThrottleResponse); ok {
		t.SetThrottle(int32(wait.Milliseconds()))
	}
	if wait > c.mutedFor(now) {
		until := now.Add(wait)
		c.muted.Store(&until)
	}
}

func fetchedBytes(resp kmsg.Response) (n int) {
	f, ok := resp.(*fetchAnswer)
	if !ok {
		return 0
	}
	for i := range f.Topics {
		for j := range f.Topics[i].Partitions {
			n += len(f.Topics[i].Partitions[j].RecordBatches)
		}
	}
	for _, r := range f.ranges {
		n += r.Size()
	}
	return n
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
