package quota

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// TestPrecedence takes limits away, the first that counts first, and sees the next
// one count.
func TestPrecedence(t *testing.T) {
	order := []Entity{
		{User: Named("u"), Client: Named("c")},
		{User: Named("u"), Client: Default},
		{User: Named("u")},
		{User: Default, Client: Named("c")},
		{User: Default, Client: Default},
		{User: Default},
		{Client: Named("c")},
		{Client: Default},
	}
	table := New()
	for i, e := range order {
		table.Set(e, map[string]float64{ProducerBytes: float64(i + 1)})
	}
	table.Set(Entity{User: Named("other")}, map[string]float64{ProducerBytes: 99})
	for i, e := range order {
		if _, rate, ok := find(table.Limits(), "u", "c", ProducerBytes); !ok || rate != float64(i+1) {
			t.Errorf("without the first %d: limit %v %v", i, rate, ok)
		}
		table.Set(e, nil)
	}
	if _, _, ok := find(table.Limits(), "u", "c", ProducerBytes); ok {
		t.Error("a limit is left")
	}
}

// TestWaitsAreKafkas: how long a client waits, of whom the first lines are what Apache
// Kafka 4.3.1 told one that wrote so at 1000 bytes a second.
func TestWaitsAreKafkas(t *testing.T) {
	table := New()
	table.Set(Entity{Client: Default}, map[string]float64{ProducerBytes: 1000, RequestTime: 100, Mutations: 2})
	start := time.Now()
	for _, use := range []struct {
		limit  string
		atMs   int64
		amount float64
		wantMs int64
	}{
		{ProducerBytes, 0, 5118, 0},
		{ProducerBytes, 9, 4118, 0},
		{ProducerBytes, 12, 1618, 842},
		{ProducerBytes, 859, 125, 120},
		{ProducerBytes, 2364, 125, 740},
		{ProducerBytes, 3105, 3118, 4117},
		{ProducerBytes, 7223, 3118, 7117},
		// By its rules, not asked: a window counts until 11 s after its last use.
		{ProducerBytes, 11_858, 0, 5482},
		{ProducerBytes, 11_859, 0, 0},
		{RequestTime, 18_300, 1000, 0},
		{RequestTime, 18_300, 5, 50},
		{RequestTime, 18_300, 1000, 1000}, // more than a second at a time is nobody made to wait
		{Mutations, 18_300, 20, 0},
		{Mutations, 18_327, 5, 1473},
		{Mutations, 18_330, 0, 1470},
		{Mutations, 19_800, 1, 500},
		{Mutations, 60_000, 22, 0},
		{Mutations, 60_000, 1, 500},
	} {
		now := start.Add(time.Duration(use.atMs) * time.Millisecond)
		if got := table.Use("u", "c", use.limit, use.amount, now); got != time.Duration(use.wantMs)*time.Millisecond {
			t.Errorf("%s at %d ms: told to wait %v, want %d ms", use.limit, use.atMs, got, use.wantMs)
		}
	}
}

// TestRates: over a long time nobody uses more than its rate and what the windows hold,
// and who asks for less never waits.
func TestRates(t *testing.T) {
	for _, each := range []float64{1, 100, 5000} {
		table := New()
		table.Set(Entity{User: Default}, map[string]float64{ConsumerBytes: 1000})
		start := time.Unix(1000, 0)
		now, used := start, 0.0
		for range 50_000 {
			wait := table.Use("u", "c", ConsumerBytes, each, now)
			used += each
			now = now.Add(wait)
		}
		if took := now.Sub(start).Seconds(); used > 1000*(took+windows)+each || used < 1000*took/2 {
			t.Errorf("%v at a time: %v used in %v s", each, used, took)
		}
		for range 100 {
			now = now.Add(time.Second)
			if wait := table.Use("v", "c", ConsumerBytes, 900, now); wait > 0 {
				t.Fatalf("waits %v below the rate", wait)
			}
		}
	}
}

// TestClockGoesBack: nobody waits longer because a clock was set back.
func TestClockGoesBack(t *testing.T) {
	table := New()
	table.Set(Entity{User: Default}, map[string]float64{ConsumerBytes: 10, Mutations: 10})
	now := time.Unix(1_000_000, 0)
	for _, limit := range []string{ConsumerBytes, Mutations} {
		first := table.Use("u", "c", limit, 200, now)
		if back := table.Use("u", "c", limit, 0, now.Add(-24*time.Hour)); first <= 0 || back != first {
			t.Errorf("%s: waits %v, and %v a day before", limit, first, back)
		}
	}
}

// TestWhoShares: clients of a user share its limit; a default is each one's own.
func TestWhoShares(t *testing.T) {
	table := New()
	now := time.Unix(1000, 0)
	table.Set(Entity{User: Named("u")}, map[string]float64{ProducerBytes: 10})
	table.Set(Entity{Client: Default}, map[string]float64{ProducerBytes: 10})
	table.Set(Entity{IP: Default}, map[string]float64{Connections: 1})
	if table.Use("u", "a", ProducerBytes, 200, now) == 0 || table.Over("u", "b", ProducerBytes, now) == 0 {
		t.Error("the clients of a user do not share")
	}
	if table.Use("v", "a", ProducerBytes, 200, now) == 0 || table.Over("w", "a", ProducerBytes, now) == 0 || table.Over("v", "b", ProducerBytes, now) != 0 {
		t.Error("a client's limit is not its own, or not for all users")
	}
	if table.UseIP("1.1.1.1", Connections, 11, now) == 0 || table.UseIP("2.2.2.2", Connections, 0, now) != 0 {
		t.Error("an address's limit is not its own")
	}
	if wait := table.Use("u", "a", ProducerBytes, 1e9, now); wait != math.MaxInt32*time.Millisecond {
		t.Errorf("waits %v at a time", wait)
	}
}

// TestWhoTriesWithoutEndGetsItsRate: attempts that are refused do not count, so who
// tries all the time is let in as often as its limit says.
func TestWhoTriesWithoutEndGetsItsRate(t *testing.T) {
	for _, rate := range []float64{1, 2, 3} {
		table := New()
		table.Set(Entity{IP: Default}, map[string]float64{Connections: rate})
		start := time.Unix(1000, 0)
		admitted := 0
		for now := start; now.Sub(start) <= 100*time.Second; now = now.Add(10 * time.Millisecond) {
			for range 10 {
				if table.UseIP("1.1.1.1", Connections, 1, now) == 0 {
					admitted++
				}
			}
		}
		if least, most := int(rate*90), int(rate*(100+windows)); admitted < least || admitted > most {
			t.Errorf("%v a second: %d let in within 100 s, want %d to %d", rate, admitted, least, most)
		}
	}
}

// TestSpellingsOfAddresses: a limit is that of an address, however it is written.
func TestSpellingsOfAddresses(t *testing.T) {
	for _, spelled := range [][2]string{{"2001:DB8:0:0:0:0:0:1", "2001:db8::1"}, {"::ffff:10.0.0.1", "10.0.0.1"}, {"10.0.0.1", "::ffff:10.0.0.1"}} {
		table := New()
		now := time.Unix(1000, 0)
		table.Set(Entity{IP: Address(spelled[0])}, map[string]float64{Connections: 1})
		if table.UseIP(spelled[1], Connections, 11, now) == 0 {
			t.Errorf("%s is not limited as %s", spelled[1], spelled[0])
		}
	}
}

// TestNamesAreBounded: any number of client names takes bounded memory, and does
// not let the one off that has to wait.
func TestNamesAreBounded(t *testing.T) {
	for _, limit := range []string{ProducerBytes, Mutations} {
		table := New()
		table.Set(Entity{Client: Default}, map[string]float64{limit: 10})
		now := time.Unix(1000, 0)
		table.Use("u", "greedy", limit, 1e6, now)
		for i := range 5 * maxUsages {
			table.Use("u", fmt.Sprint("c", i), limit, 1, now)
			if len(table.usages) > maxUsages {
				t.Fatalf("%s: %d are remembered", limit, len(table.usages))
			}
		}
		if table.Over("u", "greedy", limit, now) == 0 {
			t.Errorf("%s: the one that has to wait was forgotten", limit)
		}
	}
}

// TestWindows: a window ends a second after its first use, and counts for eleven after
// its last, so that there may be twelve.
func TestWindows(t *testing.T) {
	table := New()
	table.Set(Entity{Client: Default}, map[string]float64{ConsumerBytes: 1})
	start := time.Unix(1000, 0)
	use := func(ms int, amount float64) time.Duration {
		return table.Use("u", "c", ConsumerBytes, amount, start.Add(time.Duration(ms)*time.Millisecond))
	}
	use(0, 1000)
	use(999, 1000)
	for n := 1; n < windows; n++ {
		use(n*windowMs, 1)
	}
	if got, want := use(windows*windowMs, 1), 2000*time.Second; got != want {
		t.Errorf("with the first window it waits %v, want %v", got, want)
	}
	if got, want := use(windows*windowMs+999, 0), time.Millisecond; got != want {
		t.Errorf("after the first window it waits %v, want %v", got, want)
	}
}

// TestChangedLimits: a limit that is changed holds at once, also for who has used it.
func TestChangedLimits(t *testing.T) {
	table, now := New(), time.Unix(1000, 0)
	for _, step := range []struct{ rate, amount, bytes, mutations float64 }{{1, 21, 11, 10}, {10, 0, 0, 1}, {100, 0, 0, 1}, {1, 0, 11, 10}} {
		table.Set(Entity{Client: Default}, map[string]float64{ConsumerBytes: step.rate, Mutations: step.rate})
		for limit, want := range map[string]float64{ConsumerBytes: step.bytes, Mutations: step.mutations} {
			if got := table.Use("u", "c", limit, step.amount, now).Seconds(); math.Abs(got-want) > 1 {
				t.Errorf("%s of %v: waits %v s, want %v", limit, step.rate, got, want)
			}
		}
	}
	table.Set(Entity{Client: Default}, map[string]float64{Mutations: 1e6})
	if wait := table.Use("u", "d", Mutations, 11e6+1, now); wait != time.Millisecond {
		t.Errorf("over the limit by little it waits %v", wait)
	}
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		e     Entity
		key   string
		value float64
		ok    bool
	}{
		"user": {Entity{User: Default}, ProducerBytes, 1, true}, "ip": {Entity{IP: Named("1.1.1.1")}, Connections, 1, true},
		"host name": {Entity{IP: Address("localhost")}, Connections, 1, false}, "range": {Entity{IP: Address("10.0.0.0/8")}, Connections, 1, false},
		"nobody": {Entity{}, ProducerBytes, 1, false}, "both": {Entity{User: Default, IP: Default}, Connections, 1, false},
		"ip bytes": {Entity{IP: Default}, ProducerBytes, 1, false}, "user connections": {Entity{User: Default}, Connections, 1, false},
		"unknown": {Entity{User: Default}, "speed", 1, false}, "zero": {Entity{User: Default}, ProducerBytes, 0, false},
		"half a byte": {Entity{User: Default}, ProducerBytes, 0.5, false}, "many bytes": {Entity{User: Default}, ConsumerBytes, 1 << 62, true},
		"bytes and a half": {Entity{Client: Default}, ConsumerBytes, 1.5, false}, "too many bytes": {Entity{User: Default}, ConsumerBytes, 1 << 63, false},
		"half a connection": {Entity{IP: Default}, Connections, 0.5, false}, "most connections": {Entity{IP: Default}, Connections, math.MaxInt32, true},
		"too many connections": {Entity{IP: Default}, Connections, math.MaxInt32 + 1, false},
		"half a percent":       {Entity{User: Default}, RequestTime, 0.5, true}, "half a partition": {Entity{User: Default}, Mutations, 0.5, true},
		"NaN": {Entity{User: Default}, ProducerBytes, math.NaN(), false}, "infinite": {Entity{User: Default}, ProducerBytes, math.Inf(1), false},
	} {
		if err := Check(test.e, test.key, test.value); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, e := range []Entity{{User: Named(`a "b" c`), Client: Default}, {IP: Named("::1")}, {Client: Named("")}} {
		if back, err := ParseKey(e.Key()); err != nil || back != e {
			t.Errorf("%v read back as %v, %v", e, back, err)
		}
	}
}
