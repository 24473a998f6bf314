// Package quota holds how much clients may ask for (KIP-13, KIP-55, KIP-546,
// KIP-599, KIP-612): limits for users, clients and addresses, and how much each
// has used. Limits are rates; who is over one waits until it would have had the
// time. It has no I/O and no clock of its own.
package quota

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Keys of limits, with Kafka's names.
const (
	// ProducerBytes and ConsumerBytes are bytes of records a second.
	ProducerBytes = "producer_byte_rate"
	ConsumerBytes = "consumer_byte_rate"
	// RequestTime is the share of the broker's time, in percent of one processor.
	RequestTime = "request_percentage"
	// Mutations are partitions created or deleted a second.
	Mutations = "controller_mutation_rate"
	// Connections are connections made a second; for addresses only.
	Connections = "connection_creation_rate"
)

// burst is for how long a client that was idle may be over its rate; maxWait how
// long it is made to wait at a time.
const (
	burst   = time.Second
	maxWait = 30 * time.Second
	// maxBuckets is how many clients are remembered that have used something
	// lately.
	maxBuckets = 10_000
)

// Name names a user, a client or an address in an entity. The zero value leaves it
// open.
type Name string

// Default stands for everybody who has no limit of its own.
const Default Name = "default"

// Named is somebody.
func Named(s string) Name { return Name("=" + s) }

// Address is an address in whatever spelling. What is none is named as it is, which
// Check refuses.
func Address(s string) Name {
	if a, err := netip.ParseAddr(s); err == nil {
		return Named(a.Unmap().WithZone("").String())
	}
	return Named(s)
}

// isAddress tells whether a name is that of an address.
func (n Name) isAddress() bool {
	text, named := n.Text()
	_, err := netip.ParseAddr(text)
	return named && err == nil
}

// Text is the name, and whether it is one rather than the default.
func (n Name) Text() (string, bool) { return strings.CutPrefix(string(n), "=") }

// Entity is whose limit it is: a user, a client, both, or an address.
type Entity struct {
	User, Client, IP Name
}

// Key is a text that only this entity has; it can be read by ParseKey.
func (e Entity) Key() string { return fmt.Sprintf("%q %q %q", e.User, e.Client, e.IP) }

// ParseKey reads what Key wrote.
func ParseKey(s string) (Entity, error) {
	var e Entity
	if _, err := fmt.Sscanf(s, "%q %q %q", &e.User, &e.Client, &e.IP); err != nil {
		return e, fmt.Errorf("quota of %q: %w", s, err)
	}
	return e, nil
}

// Check refuses an entity or a limit that cannot be.
func Check(e Entity, key string, value float64) error {
	switch {
	case e == Entity{}:
		return fmt.Errorf("the limit %s is nobody's", key)
	case e.IP != "" && (e.User != "" || e.Client != ""):
		return fmt.Errorf("a limit is either an address's or a client's")
	case e.IP != "" && e.IP != Default && !e.IP.isAddress():
		return fmt.Errorf("%q is not an address: names are not looked up", strings.TrimPrefix(string(e.IP), "="))
	case e.IP != "" && key != Connections:
		return fmt.Errorf("addresses have no limit %s, only %s", key, Connections)
	case e.IP == "" && !slices.Contains([]string{ProducerBytes, ConsumerBytes, RequestTime, Mutations}, key):
		return fmt.Errorf("there is no limit %s for users and clients", key)
	case !(value > 0) || math.IsInf(value, 0):
		return fmt.Errorf("the limit %s is %v; it must be above 0", key, value)
	}
	return nil
}

// Table is all limits, and what has been used of them. It is safe for concurrent
// use.
type Table struct {
	limits atomic.Pointer[map[Entity]map[string]float64] // replaced, never changed

	mu      sync.Mutex // guards buckets
	buckets map[bucketKey]*bucket
}

type bucketKey struct {
	entity Entity // with the real names
	limit  string
}

// bucket is what somebody may still use: below zero it has to wait.
type bucket struct {
	tokens float64
	last   time.Time
	rate   float64
	full   float64 // as much as it holds
}

// New makes a table without limits.
func New() *Table {
	t := &Table{buckets: map[bucketKey]*bucket{}}
	t.limits.Store(&map[Entity]map[string]float64{})
	return t
}

// Limits are all limits; they must not be changed.
func (t *Table) Limits() map[Entity]map[string]float64 { return *t.limits.Load() }

// Set replaces all limits of one entity; none removes it. Calls are not to be
// concurrent.
func (t *Table) Set(e Entity, limits map[string]float64) {
	next := map[Entity]map[string]float64{}
	for k, v := range t.Limits() {
		if k != e {
			next[k] = v
		}
	}
	if len(limits) > 0 {
		next[e] = limits
	}
	t.limits.Store(&next)
}

// Empty tells whether there are no limits at all.
func (t *Table) Empty() bool { return len(t.Limits()) == 0 }

// Use counts an amount against a client's limit, if it has one, and tells how long
// it has to wait.
func (t *Table) Use(user, client, limit string, amount float64, now time.Time) time.Duration {
	limits := t.Limits()
	if len(limits) == 0 {
		return 0
	}
	who, rate, ok := find(limits, user, client, limit)
	if !ok {
		return 0
	}
	return t.take(bucketKey{who, limit}, rate, amount, now)
}

// Over tells how long a client has to wait before it may use more, without
// counting anything.
func (t *Table) Over(user, client, limit string, now time.Time) time.Duration {
	return t.Use(user, client, limit, 0, now)
}

// UseIP counts an amount against an address's limit, if it is within that; else it
// tells how long to wait, and counts nothing: who is turned away has used nothing,
// and would never get in if each attempt counted.
func (t *Table) UseIP(ip, limit string, amount float64, now time.Time) time.Duration {
	limits := t.Limits()
	if len(limits) == 0 {
		return 0
	}
	who := Address(ip)
	for _, name := range []Name{who, Default} {
		if rate, ok := limits[Entity{IP: name}][limit]; ok {
			return t.admit(bucketKey{Entity{IP: who}, limit}, rate, amount, now)
		}
	}
	return 0
}

// find finds the limit of a client: the one that names most of it, users before
// clients. who are those who share it.
func find(limits map[Entity]map[string]float64, user, client, limit string) (who Entity, rate float64, ok bool) {
	u, c := Named(user), Named(client)
	for _, e := range []Entity{
		{User: u, Client: c},
		{User: u, Client: Default},
		{User: u},
		{User: Default, Client: c},
		{User: Default, Client: Default},
		{User: Default},
		{Client: c},
		{Client: Default},
	} {
		if rate, ok = limits[e][limit]; !ok {
			continue
		}
		if e.User != "" {
			who.User = u
		}
		if e.Client != "" {
			who.Client = c
		}
		return who, rate, true
	}
	return Entity{}, 0, false
}

func (t *Table) take(k bucketKey, rate, amount float64, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.bucket(k, rate, rate*burst.Seconds(), now)
	b.tokens -= amount
	return b.until(0)
}

// admit is take for what can be refused: there is never a debt. One at a time is
// within a limit, however low that is.
func (t *Table) admit(k bucketKey, rate, amount float64, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.bucket(k, rate, max(1, rate*burst.Seconds()), now)
	if wait := b.until(amount); wait > 0 {
		return wait
	}
	b.tokens -= amount
	return 0
}

// bucket finds a bucket and fills it up for the time that has passed. mu is held.
func (t *Table) bucket(k bucketKey, rate, full float64, now time.Time) *bucket {
	b := t.buckets[k]
	if b == nil {
		if len(t.buckets) >= maxBuckets {
			t.forget(now)
		}
		b = &bucket{tokens: full, last: now}
		t.buckets[k] = b
	}
	b.rate, b.full = rate, full
	b.refill(now)
	return b
}

// until is how long it takes until as much is there, as far as anybody waits at a
// time.
func (b *bucket) until(amount float64) time.Duration {
	if b.tokens >= amount {
		return 0
	}
	return max(1, time.Duration(min(maxWait.Seconds(), (amount-b.tokens)/b.rate)*float64(time.Second)))
}

func (b *bucket) refill(now time.Time) {
	if d := now.Sub(b.last); d > 0 {
		b.tokens = min(b.full, b.tokens+b.rate*d.Seconds())
		b.last = now
	}
}

// forget drops the buckets that are full again: they are as new. If none is, it
// drops those that have most left, so that memory stays bounded.
func (t *Table) forget(now time.Time) {
	for k, b := range t.buckets {
		if b.refill(now); b.tokens >= b.full {
			delete(t.buckets, k)
		}
	}
	for k, b := range t.buckets {
		if len(t.buckets) < maxBuckets*9/10 {
			return
		}
		need := 0.0
		if k.limit == Connections { // is never below zero
			need = 1
		}
		if b.tokens >= need {
			delete(t.buckets, k)
		}
	}
	if len(t.buckets) >= maxBuckets {
		clear(t.buckets)
	}
}
