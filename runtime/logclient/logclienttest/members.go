package logclienttest

import (
	"errors"
	"slices"
	"time"

	"github.com/levada/levada/runtime/logclient"
)

var memberTests = []subtest{
	{name: "AssignedFlowsAfterSeek", run: testAssignedFlows},
	{name: "PositionsAreCommittedWithRecords", run: testPositions},
	{name: "AbortDropsPositions", run: testAbortedPositions},
	{name: "AbortedWorkIsDoneAgain", run: testReplay},
	{name: "PositionsAlone", run: testPositionsAlone},
	{name: "PendingWakesItsOwner", run: testPendingWakes},
	{name: "AtLeastOnce", run: testAtLeastOnce},
	{name: "UncommittedMember", run: testUncommittedMember},
	{name: "FencedMember", run: testFencedMember},
	{name: "UnstableOffsets", run: testUnstable, lacks: lacksHold},
}

func testAssignedFlows(f *fixture) {
	in := f.topic("in", 2)
	f.put(tp(in, 0), "a")
	f.put(tp(in, 1), "b")
	p := f.join(f.log, "p", f.peerConfig("p", in))
	p.still = true
	until(f, p.has(2), p)
	if p.assigned != 1 || !slices.Equal(p.live, []string{f.name("p")}) {
		f.Errorf("%d assignments, live members %q", p.assigned, p.live)
	}
	quiet(f, 200*time.Millisecond, func() bool { return len(p.records) > 0 }, p)
	p.seek(at(tp(in, 1), 0))
	p.want(tp(in, 1), 1, "b")
	if len(p.records[tp(in, 0)]) > 0 {
		f.Error("a partition flows before Seek")
	}
	p.member.Seek(at(tp(f.name("unknown"), 0), 0)) // not ours: ignored
	p.seek(at(tp(in, 0), 0))
	p.want(tp(in, 0), 1, "a")
}

func testPositions(f *fixture) {
	in, out := f.topic("in", 2), tp(f.topic("out", 1), 0)
	one := tp(in, 0)
	f.put(one, "a", "b", "c")
	p := f.join(f.log, "p", f.peerConfig("p", in))
	p.want(one, 3, "a", "b", "c")
	f.append(p.member, out, "A", "B")
	pos := logclient.Position{TopicPartition: one, Offset: 2, LeaderEpoch: p.epoch[one], Metadata: "what \x00 the worker needs"}
	commit := p.member.Commit([]logclient.Position{pos})
	until(f, done(commit), p)
	if got := wait(f, commit); len(got.Ends) != 1 || got.Ends[0].TopicPartition != out || got.Ends[0].Offset != 2 {
		f.Errorf("ends %+v", got.Ends)
	}
	f.committed(p.group, one) // until it is stable
	got := wait(f, f.admin.CommittedOffsets(p.group, []logclient.TopicPartition{one, tp(in, 1)}, true))
	if len(got) != 1 || got[one] != pos {
		f.Errorf("committed %+v, want only %+v", got, pos)
	}
	f.reader(false, at(out, 0)).want(out, 2, "A", "B")
	if other := wait(f, f.admin.CommittedOffsets(f.name("other group"), []logclient.TopicPartition{one}, true)); len(other) != 0 {
		f.Errorf("another group has committed %+v", other)
	}
}

func testAbortedPositions(f *fixture) {
	in, out := f.topic("in", 1), tp(f.topic("out", 1), 0)
	one := tp(in, 0)
	f.put(one, "a", "b")
	p := f.join(f.log, "p", f.peerConfig("p", in))
	p.want(one, 2, "a", "b")
	f.commitOf(p, at(one, 1))
	f.append(p.member, out, "dropped")
	abort := p.member.Abort()
	until(f, done(abort), p)
	wait(f, abort)
	if pos, _ := f.committed(p.group, one); pos.Offset != 1 {
		f.Errorf("committed %d, want 1", pos.Offset)
	}
	f.append(p.member, out, "kept")
	f.commitOf(p, at(one, 2))
	if pos, _ := f.committed(p.group, one); pos.Offset != 2 {
		f.Errorf("committed %d, want 2", pos.Offset)
	}
	f.reader(false, at(out, 0)).want(out, f.end(out), "kept")
}

// commitOf commits with a member that goes on polling.
func (f *fixture) commitOf(p *peer, positions ...logclient.Position) logclient.CommitResult {
	f.Helper()
	commit := p.member.Commit(positions)
	until(f, done(commit), p)
	return wait(f, commit)
}

func testReplay(f *fixture) {
	in, out := f.topic("in", 1), tp(f.topic("out", 1), 0)
	one := tp(in, 0)
	f.put(one, numbered("v", 5)...)
	p := f.join(f.log, "p", f.peerConfig("p", in))
	p.want(one, 5, numbered("v", 5)...)
	for range 3 {
		f.append(p.member, out, "dropped")
		abort := p.member.Abort()
		until(f, done(abort), p)
		wait(f, abort)
		p.records[one] = nil
		p.seek(at(one, 0)) // as after a rollback
		p.want(one, 5, numbered("v", 5)...)
	}
	f.append(p.member, out, numbered("v", 5)...)
	f.commitOf(p, at(one, 6))
	f.reader(false, at(out, 0)).want(out, f.end(out), numbered("v", 5)...)
}

func testPositionsAlone(f *fixture) {
	in := f.topic("in", 1)
	one := tp(in, 0)
	f.put(one, "a", "b")
	p := f.join(f.log, "p", f.peerConfig("p", in))
	until(f, p.has(1), p)
	for offset := range int64(3) {
		if got := f.commitOf(p, at(one, offset)); len(got.Ends) != 0 {
			f.Errorf("ends %+v of a transaction without records", got.Ends)
		}
		if pos, ok := f.committed(p.group, one); !ok || pos.Offset != offset {
			f.Errorf("committed %+v (%v), want %d", pos, ok, offset)
		}
	}
}

func testPendingWakes(f *fixture) {
	in, out := f.topic("in", 1), tp(f.topic("out", 1), 0)
	p := f.join(f.log, "p", f.peerConfig("p", in))
	until(f, p.has(1), p)
	for i := range 3 {
		f.append(p.member, out, "v")
		commit := p.member.Commit([]logclient.Position{at(tp(in, 0), int64(i))})
		deadline := time.NewTimer(patience)
		for !commit.Done() {
			if !await(deadline.C, []stepped{p}) {
				f.Fatal("the end of a commit does not wake its member")
			}
			p.poll()
		}
		deadline.Stop()
		wait(f, commit)
	}
}

func testAtLeastOnce(f *fixture) {
	in, out := f.topic("in", 1), tp(f.topic("out", 1), 0)
	one := tp(in, 0)
	f.put(one, "a", "b", "c")
	cfg := f.peerConfig("p", in)
	cfg.TransactionalID = ""
	p := f.join(f.log, "p", cfg)
	p.want(one, 3, "a", "b", "c")
	f.append(p.member, out, "A", "B")
	got := f.commitOf(p, logclient.Position{TopicPartition: one, Offset: 2, LeaderEpoch: -1, Metadata: "m"})
	if len(got.Ends) != 1 || got.Ends[0].Offset != 2 {
		f.Errorf("ends %+v", got.Ends)
	}
	if pos, _ := f.committed(p.group, one); pos.Offset != 2 || pos.Metadata != "m" {
		f.Errorf("committed %+v", pos)
	}
	f.append(p.member, out, "C")
	abort := p.member.Abort()
	until(f, done(abort), p)
	wait(f, abort)
	f.append(p.member, out, "D")
	f.commitOf(p, at(one, 3))
	r := f.reader(false, at(out, 0))
	until(f, func() bool { return slices.Contains(r.values(out), "D") }, r)
	if v := r.values(out); v[0] != "A" || v[1] != "B" {
		f.Errorf("read %q", v)
	}
	f.commitOf(p) // nothing
}

func testUncommittedMember(f *fixture) {
	in := f.topic("in", 1)
	one := tp(in, 0)
	w := f.writer(f.name("w"))
	f.append(w, one, "open")
	cfg := f.peerConfig("p", in)
	cfg.ReadUncommitted = true
	p := f.join(f.log, "p", cfg)
	p.want(one, 1, "open")
	wait(f, w.Abort())
	f.append(w, one, "kept")
	f.commit(w)
	until(f, func() bool { return len(p.records[one]) == 2 }, p)
}

func testFencedMember(f *fixture) {
	in, out := f.topic("in", 1), tp(f.topic("out", 1), 0)
	one := tp(in, 0)
	f.put(one, "a")
	p := f.join(f.log, "p", f.peerConfig("p", in))
	p.want(one, 1, "a")
	f.append(p.member, out, "kept")
	f.commitOf(p, at(one, 0))
	f.append(p.member, out, "dropped")
	wait(f, f.admin.Fence(f.name("p")))
	commit := p.member.Commit([]logclient.Position{at(one, 1)})
	until(f, done(commit), p)
	if _, err := commit.Result(); !errors.Is(err, logclient.ErrFenced) {
		f.Errorf("commit of a fenced member: %v, want ErrFenced", err)
	}
	if pos, _ := f.committed(p.group, one); pos.Offset != 0 {
		f.Errorf("a fenced member has committed %d", pos.Offset)
	}
	p.close(true)
	again := f.join(f.log, "p", f.peerConfig("p", in))
	again.want(one, 1, "a")
	f.append(again.member, out, "again")
	f.commitOf(again, at(one, 1))
	f.reader(false, at(out, 0)).want(out, f.end(out), "kept", "again")
}

func testUnstable(f *fixture) {
	one := tp(f.topic("in", 1), 0)
	group := f.name("group")
	end := f.env.HoldOffset(f.T, group, at(one, 7))
	_, err := result(f, f.admin.CommittedOffsets(group, []logclient.TopicPartition{one}, true))
	if !errors.Is(err, logclient.ErrUnstable) {
		f.Errorf("stable offsets while a transaction may change them: %v, want ErrUnstable", err)
	}
	if got := wait(f, f.admin.CommittedOffsets(group, []logclient.TopicPartition{one}, false)); len(got) != 0 {
		f.Errorf("committed %+v before the transaction ended", got)
	}
	end()
	f.eventually(func() bool {
		got, err := result(f, f.admin.CommittedOffsets(group, []logclient.TopicPartition{one}, true))
		return err == nil && got[one].Offset == 7
	})
}

func lacksHold(e Env) string {
	if e.HoldOffset == nil {
		return "nobody here holds a transaction open by hand"
	}
	return ""
}
