package group

import (
	"slices"
	"testing"
	"time"
)

// TestInitialDelay: the first members of a group are waited for, as long as there come
// more, but never beyond the rebalance time-out; then all are in one generation. The times
// are those of Apache Kafka 4.3.1.
func TestInitialDelay(t *testing.T) {
	for _, test := range []struct {
		name      string
		delay     int // all in ms
		rebalance int
		joins     []int
		leaves    int // when the last that has joined leaves; 0 is never
		want      int // when the joins are answered
	}{
		{"one", 1000, 3500, []int{0}, 0, 1000},
		{"two", 1000, 3500, []int{0, 500}, 0, 2000},
		{"three", 1000, 3500, []int{0, 500, 1500}, 0, 3000},
		{"to the time-out", 1000, 3500, []int{0, 500, 1500, 2500}, 0, 3500},
		{"behind it", 1000, 3500, []int{0, 900, 1900, 2800, 3300}, 0, 3500},
		{"at once", 1000, 3500, []int{0, 0, 0}, 0, 2000},
		{"a short time-out", 1000, 500, []int{0, 100}, 0, 1000},
		{"one leaves", 1000, 3500, []int{0, 100}, 1500, 2000},
		{"no delay", 0, 3500, []int{0}, 0, 0},
	} {
		start := time.Unix(1000, 0)
		at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
		g := New("g", Config{InitialDelay: time.Duration(test.delay) * time.Millisecond})
		answered := map[RequestID]int{} // the time
		take := func(ms int, answers []Answer) {
			for _, a := range answers {
				if a.Join == nil || a.Join.Err != nil && test.leaves == 0 || a.Join.Err == nil && a.Join.Generation != 1 {
					t.Errorf("%s: answer at %d: %+v", test.name, ms, a.Join)
				} else if a.Join.Err == nil {
					answered[a.Request] = ms
				}
			}
		}
		var last string
		for ms := 0; ms <= 5000; ms += 100 {
			if next := g.Next(); !next.IsZero() && !at(ms).Before(next) && g.State == PreparingRebalance {
				take(ms, g.Tick(at(ms)))
			}
			for i, join := range test.joins {
				if join == ms {
					last = string(rune('a' + i))
					take(ms, g.Join(at(ms), Join{
						Request: RequestID(i + 1), Session: time.Minute, Rebalance: time.Duration(test.rebalance) * time.Millisecond,
						ProtocolType: "consumer", Protocols: []Protocol{{Name: "range"}}, NewID: last,
					}))
				}
			}
			if test.leaves == ms && ms > 0 {
				answers, told := g.Leave(at(ms), []Leaver{{ID: last}})
				if told[0] != nil {
					t.Fatal(told)
				}
				take(ms, answers)
			}
		}
		want := len(test.joins)
		if test.leaves > 0 {
			want--
		}
		times := slices.Collect(func(yield func(int) bool) {
			for _, ms := range answered {
				if !yield(ms) {
					return
				}
			}
		})
		if len(times) != want || slices.Min(times) != test.want || slices.Max(times) != test.want {
			t.Errorf("%s: answered at %v, want all %d at %d", test.name, answered, want, test.want)
		}
	}
}

// TestInitialDelayOfAGroupLeft: a group whose members all leave while they are waited for
// is empty when the time is over, and the next is waited for again.
func TestInitialDelayOfAGroupLeft(t *testing.T) {
	g := New("g", Config{InitialDelay: time.Second})
	now := time.Unix(1000, 0)
	join := Join{Request: 1, Session: time.Minute, Rebalance: time.Minute, ProtocolType: "consumer", Protocols: []Protocol{{Name: "range"}}, NewID: "a"}
	if out := g.Join(now, join); len(out) > 0 {
		t.Fatalf("answered at once: %+v", out[0].Join)
	}
	if _, told := g.Leave(now, []Leaver{{ID: "a"}}); told[0] != nil {
		t.Fatal(told)
	}
	now = now.Add(time.Second)
	if g.Tick(now); g.State != Empty {
		t.Fatalf("%s when nobody is left", g.State)
	}
	if out := g.Join(now, join); len(out) > 0 {
		t.Errorf("the next is not waited for: %+v", out[0].Join)
	}
	if out := g.Tick(now.Add(time.Second)); len(out) != 1 || out[0].Join.Generation != 2 {
		t.Errorf("answers %+v", out)
	}
}

// TestInitialDelayIsOfTheFirstRebalance: the next is over as soon as all are there.
func TestInitialDelayIsOfTheFirstRebalance(t *testing.T) {
	g := New("g", Config{InitialDelay: time.Second})
	now := time.Unix(1000, 0)
	join := func(request RequestID, id string) []Answer {
		j := Join{
			Request: request, Session: time.Minute, Rebalance: time.Minute,
			ProtocolType: "consumer", Protocols: []Protocol{{Name: "range"}}, NewID: id,
		}
		if g.member(id) != nil {
			j.MemberID = id
		}
		return g.Join(now, j)
	}
	join(1, "a")
	now = now.Add(time.Second)
	if out := g.Tick(now); len(out) != 1 || out[0].Join.Err != nil {
		t.Fatalf("answers %+v", out)
	}
	if out := join(2, "b"); len(out) > 0 {
		t.Fatalf("answered before all are there: %+v", out[0].Join)
	}
	if out := join(3, "a"); len(out) != 2 || out[0].Join.Generation != 2 || out[1].Join.Generation != 2 {
		t.Errorf("answers %+v when all are there", out)
	}
}
