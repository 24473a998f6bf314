package logclienttest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/levada/levada/runtime/assign"
	"github.com/levada/levada/runtime/logclient"
)

// stepped is something that is driven by Poll and Wake.
type stepped interface {
	poll() logclient.Poll
	wake() <-chan struct{}
	nextDue() time.Time
}

func (r *reading) wake() <-chan struct{} { return r.fetcher.Wake() }

func (r *reading) nextDue() time.Time { return r.due }

// until drives all of them until cond holds. In between it waits for one to be
// woken or due.
func until(f *fixture, cond func() bool, all ...stepped) {
	f.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		for _, s := range all {
			s.poll()
		}
		if cond() {
			return
		}
		if !await(deadline.C, all) {
			f.Fatalf("not within %v: %s", patience, standing(all))
		}
	}
}

// standing says how far all of them have come.
func standing(all []stepped) string {
	var out []string
	for _, s := range all {
		r, ok := s.(*reading)
		if !ok {
			continue
		}
		for p, next := range r.next {
			out = append(out, fmt.Sprintf("%v: %d records, next %d, end %d", p, len(r.records[p]), next, r.end[p]))
		}
		for _, e := range r.events {
			out = append(out, fmt.Sprintf("event %v of %v: %v", e.Kind, e.Partitions, e.Err))
		}
	}
	return strings.Join(out, "; ")
}

// await waits until something is woken or due; false at the deadline.
func await(deadline <-chan time.Time, all []stepped) bool {
	cases := []reflect.SelectCase{{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(deadline)}}
	var due time.Time
	for _, s := range all {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(s.wake())})
		if d := s.nextDue(); !d.IsZero() && (due.IsZero() || d.Before(due)) {
			due = d
		}
	}
	if !due.IsZero() {
		t := time.NewTimer(time.Until(due))
		defer t.Stop()
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(t.C)})
	}
	chosen, _, _ := reflect.Select(cases)
	return chosen != 0
}

// quiet drives all of them for a while in which cond must not come to hold.
func quiet(f *fixture, during time.Duration, cond func() bool, all ...stepped) {
	f.Helper()
	end := time.NewTimer(during)
	defer end.Stop()
	for {
		for _, s := range all {
			s.poll()
		}
		if cond() {
			f.Fatal("happened too early")
		}
		if !await(end.C, all) {
			return
		}
	}
}

// done makes a condition of a Pending.
func done[T any](p *logclient.Pending[T]) func() bool { return p.Done }

// peer drives a member as a simple worker does.
type peer struct {
	*reading
	name   string
	member logclient.Member
	group  string
	owned  map[logclient.TopicPartition]bool
	live   []string
	// hold keeps revoked partitions: Released is not called by itself.
	hold bool
	// still lets assigned partitions wait for a Seek of the test.
	still    bool
	revoked  [][]logclient.TopicPartition
	assigned int // Assigned events
	lost     int
	fatal    error
	closed   bool
}

// peerConfig is a member of the group named after the fixture.
func (f *fixture) peerConfig(name string, topics ...string) logclient.MemberConfig {
	id := f.name(name)
	return logclient.MemberConfig{
		Group: f.name("group"), TransactionalID: id, Topics: topics, SessionTimeout: 6 * time.Second,
		UserData: assign.UserData{ProcessID: name, TransactionalID: id}.Encode(),
	}
}

// join makes a member; the log is that of the fixture unless another is given.
func (f *fixture) join(log logclient.Log, name string, cfg logclient.MemberConfig) *peer {
	f.Helper()
	m, err := log.Join(cfg)
	if err != nil {
		f.Fatal(err)
	}
	p := &peer{reading: f.collect(m), name: name, member: m, group: cfg.Group, owned: map[logclient.TopicPartition]bool{}}
	p.self = p
	f.Cleanup(func() { p.close(true) })
	return p
}

// close closes the member once.
func (p *peer) close(leave bool) {
	p.f.Helper()
	if p.closed {
		return
	}
	p.closed = true
	begin := time.Now()
	if err := p.member.Close(leave); err != nil && p.fatal == nil {
		p.f.Logf("close %s: %v", p.name, err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		p.f.Errorf("closing %s took %v", p.name, took)
	}
}

func (p *peer) poll() logclient.Poll {
	p.f.Helper()
	if p.closed {
		return logclient.Poll{}
	}
	polled := p.reading.poll()
	for _, b := range polled.Batches {
		if !p.owned[b.TopicPartition] && !contains(polled.Events, b.TopicPartition) {
			p.f.Fatalf("%s: a batch of %v, which it does not own", p.name, b.TopicPartition)
		}
	}
	for _, e := range polled.Events {
		p.event(e)
	}
	return polled
}

func contains(events []logclient.Event, tp logclient.TopicPartition) bool {
	return slices.ContainsFunc(events, func(e logclient.Event) bool {
		return e.Kind == logclient.Assigned && slices.Contains(e.Partitions, tp)
	})
}

func (p *peer) event(e logclient.Event) {
	p.f.Helper()
	switch e.Kind {
	case logclient.Assigned:
		p.assigned++
		live, err := assign.DecodeLive(e.UserData)
		if err != nil {
			p.f.Fatalf("%s: user data of an assignment: %v", p.name, err)
		}
		p.live = live
		for _, tp := range e.Partitions {
			if p.owned[tp] {
				p.f.Fatalf("%s: %v is assigned and owned already", p.name, tp)
			}
			p.owned[tp] = true
			if !p.still {
				p.start(tp)
			}
		}
	case logclient.Revoked:
		p.revoked = append(p.revoked, e.Partitions)
		for _, tp := range e.Partitions {
			delete(p.owned, tp)
		}
		if !p.hold {
			p.member.Released()
		}
	case logclient.Lost:
		p.lost++
		for _, tp := range e.Partitions {
			delete(p.owned, tp)
		}
	case logclient.Fatal:
		p.fatal = e.Err
	}
}

// start lets a partition flow from the committed position, or its beginning.
func (p *peer) start(tp logclient.TopicPartition) {
	p.f.Helper()
	pos, ok := p.f.committed(p.group, tp)
	if !ok {
		pos = at(tp, 0)
	}
	p.records[tp] = nil
	p.seek(pos)
}

// owns lists what the member owns, in order.
func (p *peer) owns() []string {
	var out []string
	for tp := range p.owned {
		out = append(out, fmt.Sprintf("%s-%d", tp.Topic, tp.Partition))
	}
	slices.Sort(out)
	return out
}

func (p *peer) has(n int) func() bool { return func() bool { return len(p.owned) == n } }

// settled tells whether all peers together own n partitions, evenly.
func settled(n int, peers ...*peer) func() bool {
	return func() bool {
		total, least, most := 0, n, 0
		for _, p := range peers {
			total, least, most = total+len(p.owned), min(least, len(p.owned)), max(most, len(p.owned))
		}
		return total == n && most-least <= 1
	}
}
