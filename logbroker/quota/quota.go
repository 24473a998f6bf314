// Package quota holds how much clients may ask for (KIP-13, KIP-55, KIP-546,
// KIP-599, KIP-612): limits for users, clients and addresses, and how much each
// has used. Limits are rates over the last windows, as Kafka measures them; who is
// over one waits until it would have had the time. It has no I/O and no clock of its own.
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

// maxUsages is how many clients are remembered that have used something lately.
const maxUsages = 10_000

// maxRequestWait is how long a client is made to wait at a time for the broker's time.
const maxRequestWait = windowMs * time.Millisecond

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
	case slices.Contains([]Name{e.User, e.Client, e.IP}, Named("")):
		return fmt.Errorf("the limit %s is of a client without a name", key)
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
	if most, whole := wholes[key]; whole && (value != math.Trunc(value) || value > most) {
		return fmt.Errorf("the limit %s is %v; it must be a whole number, at most %.0f", key, value, most)
	}
	return nil
}

// wholes are the limits that have no fractions, and the largest each may be: Kafka's are
// a long and an int. That the largest long is no float64 makes the bound the one below.
var wholes = map[string]float64{
	ProducerBytes: math.MaxInt64 - 1023, ConsumerBytes: math.MaxInt64 - 1023, Connections: math.MaxInt32,
}

// Table is all limits, and what has been used of them. It is safe for concurrent
// use.
type Table struct {
	limits atomic.Pointer[map[Entity]map[string]float64] // replaced, never changed

	mu     sync.Mutex // guards what follows
	usages map[usageKey]*usage
	epoch  time.Time // from which time is counted, by the steady clock
	nowMs  int64     // since then, and never less
}

type usageKey struct {
	entity Entity // with the real names
	limit  string
}

// New makes a table without limits.
func New() *Table {
	t := &Table{usages: map[usageKey]*usage{}}
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
	return t.use(user, client, limit, amount, now, true)
}

// Most is how much a client with a limit can use at once without having to wait, if it has
// used nothing lately.
func (t *Table) Most(user, client, limit string) (most float64, limited bool) {
	limits := t.Limits()
	if len(limits) == 0 {
		return 0, false
	}
	_, rate, limited := find(limits, user, client, limit)
	return rate * (windows - 1) * windowMs / 1000, limited
}

// Over tells how long a client has to wait before it may use more, without
// counting anything.
func (t *Table) Over(user, client, limit string, now time.Time) time.Duration {
	return t.use(user, client, limit, 0, now, false)
}

func (t *Table) use(user, client, limit string, amount float64, now time.Time, counts bool) time.Duration {
	limits := t.Limits()
	if len(limits) == 0 {
		return 0
	}
	who, rate, ok := find(limits, user, client, limit)
	if !ok {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.usage(usageKey{who, limit}, rate, now)
	if limit == Mutations {
		u.fill(t.nowMs)
		u.tokens -= amount
		return u.untilTokens()
	}
	if counts {
		u.record(amount, t.nowMs)
	}
	wait := u.until(t.nowMs)
	if limit == RequestTime {
		wait = min(wait, maxRequestWait)
	}
	return wait
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
		rate, ok := limits[Entity{IP: name}][limit]
		if !ok {
			continue
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		u := t.usage(usageKey{Entity{IP: who}, limit}, rate, now)
		u.record(amount, t.nowMs)
		wait := u.until(t.nowMs)
		if wait > 0 {
			u.record(-amount, t.nowMs)
		}
		return wait
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

// usage finds what somebody has used, and moves the clock. mu is held.
func (t *Table) usage(k usageKey, rate float64, now time.Time) *usage {
	if t.epoch.IsZero() {
		t.epoch = now
	}
	t.nowMs = max(t.nowMs, now.Sub(t.epoch).Milliseconds())
	u := t.usages[k]
	if u == nil {
		if len(t.usages) >= maxUsages {
			t.forget()
		}
		u = &usage{filledMs: never}
		t.usages[k] = u
	}
	u.rate = rate
	return u
}

// forget drops those who have used nothing lately: they are as new. If there are few of
// them, it drops those who need not wait, so that memory stays bounded.
func (t *Table) forget() {
	for k, u := range t.usages {
		if used, _ := u.measure(t.nowMs); used == 0 && (k.limit != Mutations || u.fill(t.nowMs)) {
			delete(t.usages, k)
		}
	}
	for k, u := range t.usages {
		if len(t.usages) < maxUsages*9/10 {
			return
		}
		if k.limit == Mutations && u.tokens >= 0 || k.limit != Mutations && u.until(t.nowMs) == 0 {
			delete(t.usages, k)
		}
	}
	if len(t.usages) >= maxUsages {
		clear(t.usages)
	}
}
