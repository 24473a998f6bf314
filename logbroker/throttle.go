package logbroker

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/quota"
)

// waits are the requests whose time is spent waiting rather than working: for
// records, for the disk, for other members.
var waits = map[kmsg.Key]bool{
	kmsg.Fetch: true, kmsg.Produce: true, kmsg.JoinGroup: true, kmsg.SyncGroup: true, kmsg.OffsetCommit: true, kmsg.EndTxn: true,
}

// metered counts what a request of a TCP client uses against its limits, and makes
// a client that is over them wait: it is told how long, if it is answered at all, and
// nothing is read from it meanwhile. client is what it called itself with the request,
// size that of the request in bytes, start when it was begun.
func (b *Broker) metered(c *Conn, client string, key int16, size int, start time.Time, resp kmsg.Response) {
	q := b.security.quotas
	if q.Empty() {
		return
	}
	now := b.now()
	user := c.user()
	wait := time.Duration(0)
	if !waits[kmsg.Key(key)] {
		wait = q.Use(user, client, quota.RequestTime, 100*now.Sub(start).Seconds(), now)
	}
	switch kmsg.Key(key) {
	case kmsg.Produce:
		wait = max(wait, q.Use(user, client, quota.ProducerBytes, float64(size), now))
	case kmsg.Fetch:
		wait = max(wait, q.Use(user, client, quota.ConsumerBytes, float64(fetchedBytes(resp)), now))
	}
	c.throttle(resp, wait, now)
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
