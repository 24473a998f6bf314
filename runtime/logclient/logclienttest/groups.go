package logclienttest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/levada/levada/runtime/assign"
	"github.com/levada/levada/runtime/logclient"
)

var groupTests = []subtest{
	{name: "RebalanceWaitsForReleased", run: testHandshake},
	{name: "RevokedWorkCanBeCommitted", run: testCommitInRevoke},
	{name: "MemberThatLeavesIsReplaced", run: testLeave},
	{name: "MemberThatDiesIsReplaced", run: testDies},
	{name: "StaticMemberTakesItsPlaceAgain", run: testStaticReturns},
	{name: "NewerStaticMemberFencesTheOlder", run: testStaticFenced},
	{name: "RejoinTellsNewUserData", run: testRejoin},
	{name: "CommitsGoOnThroughRebalances", run: testCommitsThroughRebalances},
	{name: "ExactlyOnceWhileMembersChange", run: testExactlyOnce},
}

func testHandshake(f *fixture) {
	in := f.topic("in", 4)
	a := f.join(f.log, "a", f.peerConfig("a", in))
	until(f, a.has(4), a)
	a.hold = true
	b := f.join(f.open(), "b", f.peerConfig("b", in))
	until(f, func() bool { return len(a.revoked) == 1 }, a, b)
	if len(a.revoked[0]) != 2 || len(a.owned) != 2 {
		f.Fatalf("revoked %v, kept %v", a.revoked, a.owns())
	}
	// Two heartbeats: b would hear of an assignment with the first.
	quiet(f, 2500*time.Millisecond, func() bool { return len(b.owned) > 0 }, a, b)
	kept := a.owns()
	f.put(a.revoked[0][0], "for b")
	a.member.Released()
	until(f, settled(4, a, b), a, b)
	if !slices.Equal(a.owns(), kept) {
		f.Errorf("a owns %v after the rebalance, it had kept %v", a.owns(), kept)
	}
	for _, p := range []*peer{a, b} {
		until(f, func() bool { return slices.Equal(p.live, []string{f.name("a"), f.name("b")}) }, a, b)
	}
	b.want(a.revoked[0][0], 1, "for b")
	if len(a.records[a.revoked[0][0]]) > 0 {
		f.Error("a revoked partition still flows")
	}
}

func testCommitInRevoke(f *fixture) {
	in, out := f.topic("in", 2), tp(f.topic("out", 1), 0)
	a := f.join(f.log, "a", f.peerConfig("a", in))
	until(f, a.has(2), a)
	a.hold = true
	f.append(a.member, out, "A")
	b := f.join(f.open(), "b", f.peerConfig("b", in))
	until(f, func() bool { return len(a.revoked) == 1 }, a, b)
	gone := a.revoked[0][0]
	pos := at(gone, 5)
	pos.Metadata = "handed over"
	f.commitOf(a, pos)
	a.member.Released()
	until(f, settled(2, a, b), a, b)
	if got, _ := f.committed(a.group, gone); got != pos {
		f.Errorf("the new owner finds %+v, want %+v", got, pos)
	}
	f.reader(false, at(out, 0)).want(out, 1, "A")
}

func testLeave(f *fixture) {
	in := f.topic("in", 4)
	a := f.join(f.log, "a", f.peerConfig("a", in))
	b := f.join(f.open(), "b", f.peerConfig("b", in))
	until(f, settled(4, a, b), a, b)
	begin := time.Now()
	b.close(true)
	until(f, a.has(4), a)
	if took := time.Since(begin); took > 5*time.Second {
		f.Errorf("it took %v, as if b had died", took)
	}
	if !slices.Equal(a.live, []string{f.name("a")}) {
		f.Errorf("live members %q", a.live)
	}
}

func testDies(f *fixture) {
	in, out := f.topic("in", 4), tp(f.topic("out", 1), 0)
	a := f.join(f.log, "a", f.peerConfig("a", in))
	b := f.join(f.open(), "b", f.peerConfig("b", in))
	until(f, settled(4, a, b), a, b)
	f.append(b.member, out, "dropped")
	f.eventually(func() bool { return f.offset(out, logclient.LatestHigh) >= 1 })
	b.close(false) // does not leave: as if it had died
	until(f, a.has(4), a)
	if !slices.Equal(a.live, []string{f.name("a")}) {
		f.Errorf("live members %q: b must be known to be gone", a.live)
	}
	wait(f, f.admin.Fence(f.name("b")))
	if stable, high := f.offset(out, logclient.LatestStable), f.offset(out, logclient.LatestHigh); stable != high {
		f.Errorf("last stable offset %d of %d after the dead member was fenced", stable, high)
	}
}

func testStaticReturns(f *fixture) {
	in := f.topic("in", 4)
	static := func(name string) logclient.MemberConfig {
		cfg := f.peerConfig(name, in)
		cfg.InstanceID = f.name(name)
		return cfg
	}
	a := f.join(f.log, "a", static("a"))
	b := f.join(f.open(), "b", static("b"))
	until(f, settled(4, a, b), a, b)
	mine, theirs := b.owns(), a.owns()
	revoked := len(a.revoked)
	begin := time.Now()
	b.close(false)
	again := f.join(f.open(), "b", static("b"))
	until(f, func() bool { return slices.Equal(again.owns(), mine) }, a, again)
	if took := time.Since(begin); took > 5*time.Second {
		f.Errorf("it took %v, as if b had to be declared dead", took)
	}
	if len(a.revoked) != revoked || !slices.Equal(a.owns(), theirs) {
		f.Errorf("a was disturbed: revoked %v, owns %v, had %v", a.revoked[revoked:], a.owns(), theirs)
	}
	f.commitOf(again, at(tp(in, 0), 0))
}

func testStaticFenced(f *fixture) {
	in := f.topic("in", 2)
	cfg := f.peerConfig("a", in)
	cfg.InstanceID = f.name("a")
	a := f.join(f.log, "a", cfg)
	until(f, a.has(2), a)
	newer := f.join(f.open(), "newer", cfg)
	until(f, newer.has(2), newer)
	until(f, func() bool { return a.fatal != nil }, a, newer)
	if !errors.Is(a.fatal, logclient.ErrFenced) {
		f.Errorf("the older member ends with %v, want ErrFenced", a.fatal)
	}
	commit := a.member.Commit([]logclient.Position{at(tp(in, 0), 1)})
	until(f, done(commit), a, newer)
	if _, err := commit.Result(); !errors.Is(err, logclient.ErrFenced) {
		f.Errorf("its commit: %v, want ErrFenced", err)
	}
	f.commitOf(newer, at(tp(in, 0), 2))
}

func testRejoin(f *fixture) {
	in := f.topic("in", 2)
	a := f.join(f.log, "a", f.peerConfig("a", in))
	b := f.join(f.open(), "b", f.peerConfig("b", in))
	until(f, settled(2, a, b), a, b)
	before := a.assigned
	b.member.Rejoin(assign.UserData{ProcessID: "b", TransactionalID: f.name("b2")}.Encode())
	until(f, func() bool { return slices.Contains(a.live, f.name("b2")) }, a, b)
	if a.assigned == before {
		f.Error("no new assignment")
	}
	if !settled(2, a, b)() || len(a.revoked[min(1, len(a.revoked)):]) > 0 {
		f.Errorf("partitions moved: a owns %v, b owns %v", a.owns(), b.owns())
	}
}

// testCommitsThroughRebalances commits while the generation changes: the
// partitions stay the member's, so no commit may fail.
func testCommitsThroughRebalances(f *fixture) {
	in, out := f.topic("in", 1), tp(f.topic("out", 1), 0)
	a := f.join(f.log, "a", f.peerConfig("a", in))
	until(f, a.has(1), a)
	var want []string
	for i := range 150 {
		id := fmt.Sprint(f.name("a"), i)
		a.member.Rejoin(assign.UserData{ProcessID: "a", TransactionalID: id}.Encode())
		value := fmt.Sprint(i)
		f.append(a.member, out, value)
		f.commitOf(a, at(tp(in, 0), int64(i)))
		want = append(want, value)
	}
	if len(a.revoked) > 0 || a.lost > 0 || !a.owned[tp(in, 0)] {
		f.Errorf("revoked %v, lost %d times, owns %v", a.revoked, a.lost, a.owns())
	}
	until(f, func() bool { return slices.Equal(a.live, []string{fmt.Sprint(f.name("a"), 149)}) }, a)
	f.reader(false, at(out, 0)).want(out, f.end(out), want...)
	if pos, _ := f.committed(a.group, tp(in, 0)); pos.Offset != 149 {
		f.Errorf("committed %+v", pos)
	}
}

// mover is a peer that copies what it reads to an output topic.
type mover struct {
	*peer
	out    string
	commit *logclient.Pending[logclient.CommitResult]
	done   map[logclient.TopicPartition]int // records copied since the last start
}

// work copies what is there and commits, as a worker does.
func (m *mover) work(f *fixture) {
	f.Helper()
	if m.commit != nil {
		if !m.commit.Done() {
			return
		}
		_, err := m.commit.Result()
		m.commit = nil
		if err != nil {
			f.Fatalf("%s: commit: %v", m.name, err)
		}
	}
	var positions []logclient.Position
	for one, records := range m.records {
		news := records[m.done[one]:]
		if len(news) == 0 {
			continue
		}
		var values []string
		for _, r := range news {
			values = append(values, r.value)
		}
		f.append(m.member, tp(m.out, one.Partition), values...)
		m.done[one] = len(records)
		positions = append(positions, at(one, m.next[one]))
	}
	switch {
	case len(positions) > 0:
		m.commit = m.member.Commit(positions)
	case len(m.revoked) > 0:
		for _, one := range m.revoked[0] {
			delete(m.records, one)
			delete(m.done, one)
		}
		m.revoked = m.revoked[1:]
		m.member.Released()
	}
}

func (f *fixture) mover(name, in, out string) *mover {
	f.Helper()
	p := f.join(f.open(), name, f.peerConfig(name, in))
	p.hold = true
	return &mover{peer: p, out: out, done: map[logclient.TopicPartition]int{}}
}

// testExactlyOnce copies a topic while members come, leave and die.
func testExactlyOnce(f *fixture) {
	const partitions = 4
	in, out := f.topic("in", partitions), f.topic("out", partitions)
	want := map[logclient.TopicPartition][]string{}
	source := f.writer(f.name("source"))
	feed := func(round int) {
		for p := range int32(partitions) {
			values := numbered(fmt.Sprintf("%d/%d/", round, p), 20)
			f.append(source, tp(in, p), values...)
			want[tp(out, p)] = append(want[tp(out, p)], values...)
		}
		f.commit(source)
	}
	movers := []*mover{f.mover("a", in, out)}
	r := f.reader(false)
	for p := range int32(partitions) {
		r.seek(at(tp(out, p), 0))
	}
	copied := func() bool {
		for _, m := range movers {
			m.work(f)
		}
		for one, values := range want {
			if len(r.records[one]) < len(values) {
				return false
			}
		}
		return true
	}
	drive := func() {
		f.Helper()
		all := []stepped{r}
		var peers []*peer
		for _, m := range movers {
			all, peers = append(all, m), append(peers, m.peer)
		}
		even := settled(partitions, peers...)
		until(f, func() bool { return copied() && even() }, all...)
	}
	feed(0)
	drive()
	movers = append(movers, f.mover("b", in, out))
	feed(1)
	drive()
	movers = append(movers, f.mover("c", in, out))
	feed(2)
	drive()
	gone := movers[1]
	gone.close(true) // leaves; whatever it had open is dropped
	movers = append(movers[:1], movers[2:]...)
	feed(3)
	drive()
	dead := movers[1]
	dead.close(false) // dies: the others take over after its session
	movers = movers[:1]
	wait(f, f.admin.Fence(f.name("c")))
	feed(4)
	drive()
	for one, values := range want {
		if !slices.Equal(r.values(one), values) {
			f.Errorf("%v: %d records, want %d, in order and once", one, len(r.records[one]), len(values))
		}
	}
}
