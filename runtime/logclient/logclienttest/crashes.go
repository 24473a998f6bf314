package logclienttest

import (
	"github.com/levada/levada/runtime/logclient"
)

var crashTests = []subtest{
	{name: "CommittedSurvivesAKill", run: testKill, lacks: lacksKill},
	{name: "MembersGoOnAfterAKill", run: testKillSurvived, lacks: lacksSurvival},
}

func lacksKill(e Env) string {
	if e.Kill == nil {
		return "the broker is shared with other tests: it cannot be killed"
	}
	return ""
}

func lacksSurvival(e Env) string {
	if e.Kill != nil && !e.Survives {
		return "the broker is in the process of its logs: they end together"
	}
	return lacksKill(e)
}

func testKill(f *fixture) {
	in, out := f.topic("in", 1), tp(f.topic("out", 1), 0)
	one := tp(in, 0)
	f.put(one, "a", "b")
	cfg := f.peerConfig("p", in)
	cfg.InstanceID = f.name("p") // its place is kept, too
	p := f.join(f.log, "p", cfg)
	p.want(one, 2, "a", "b")
	f.append(p.member, out, "A")
	pos := logclient.Position{TopicPartition: one, Offset: 1, LeaderEpoch: 0, Metadata: "m"}
	f.commitOf(p, pos)
	f.append(p.member, out, "dropped")
	p.close(false)
	f.env.Kill(f.T)
	f.reopen()
	if got, _ := f.committed(p.group, one); got != pos {
		f.Errorf("committed %+v, want %+v", got, pos)
	}
	again := f.join(f.log, "p", cfg) // takes the transactional id
	again.want(one, 2, "b")
	f.append(again.member, out, "B")
	f.commitOf(again, at(one, 2))
	f.reader(false, at(out, 0)).want(out, f.end(out), "A", "B")
}

// testKillSurvived kills the broker under an open transaction: it is still
// open after it, and the same member and reader go on.
func testKillSurvived(f *fixture) {
	in, out := f.topic("in", 1), tp(f.topic("out", 1), 0)
	one := tp(in, 0)
	f.put(one, "a", "b")
	p := f.join(f.log, "p", f.peerConfig("p", in))
	p.want(one, 2, "a", "b")
	r := f.reader(false, at(out, 0))
	f.append(p.member, out, "A")
	f.eventually(func() bool { return f.offset(out, logclient.LatestHigh) == 1 })
	f.env.Kill(f.T)
	f.append(p.member, out, "B")
	f.commitOf(p, at(one, 2))
	r.want(out, 2, "A", "B")
	if got, _ := f.committed(p.group, one); got.Offset != 2 {
		f.Errorf("committed %+v", got)
	}
	f.put(one, "c")
	until(f, func() bool { return len(p.records[one]) == 3 }, p)
}
