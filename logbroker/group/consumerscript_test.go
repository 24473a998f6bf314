package group

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestConsumerScripts runs testdata/consumer/*: each line is an event, what follows are
// what is answered and the state of the group.
func TestConsumerScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/consumer", func(t *testing.T, path string) {
		s := &consumerScript{t: t, now: time.Unix(1000, 0), topics: &topicList{version: 1}}
		s.group = NewConsumer("g", Config{MaxMembers: 4}, s.times)
		datadriven.RunTest(t, path, s.run)
	})
}

type consumerScript struct {
	t      *testing.T
	group  *Consumer
	now    time.Time
	topics *topicList
	ids    int

	interval time.Duration // between assignments
}

func (s *consumerScript) times() Times {
	times := testTimes()
	times.Assignment = s.interval
	return times
}

// scriptArgs are what stands in a line, by name.
type scriptArgs map[string]string

func (a scriptArgs) text(name string) *string {
	if v, ok := a[name]; ok {
		return &v
	}
	return nil
}

// list is nil if it is not given; "-" has nothing in it.
func (a scriptArgs) list(name string) []string {
	v, ok := a[name]
	if !ok {
		return nil
	}
	return slices.DeleteFunc(strings.Split(v, "+"), func(s string) bool { return s == "-" })
}

func (a scriptArgs) number(name string, fallback int) int {
	n := fallback
	_, _ = fmt.Sscan(a[name], &n)
	return n
}

// run understands topic, interval, heart, join, sync, beat, leave, commit, wait, restart.
func (s *consumerScript) run(t *testing.T, d *datadriven.TestData) string {
	a := scriptArgs{}
	for _, arg := range d.CmdArgs {
		a[arg.Key] = strings.Join(arg.Vals, "")
	}
	return s.do(d.Cmd, a) + s.state()
}

func (s *consumerScript) do(command string, a scriptArgs) string {
	generation, instance := int32(a.number("at", 0)), named(a["instance"])
	switch command {
	case "topic": // name=NAME partitions=N
		s.topics.set(a["name"], int32(a.number("partitions", 1)))
		return ""
	case "interval": // seconds=N: between assignments
		s.interval = time.Duration(a.number("seconds", 0)) * time.Second
		return ""
	case "heart": // id=ID at=EPOCH ...
		return s.heart(a)
	case "join": // id=ID topics=A+B has=A:0 within=SECONDS session=SECONDS rack=R: by the classic protocol
		return s.join(a)
	case "sync": // id=ID at=GENERATION
		got := s.group.SyncClassic(s.now, Sync{MemberID: a["id"], InstanceID: instance, Generation: generation}, s.topics)
		if got.Err != nil {
			return result(got.Err) + "\n"
		}
		has, err := decodeAssignment(got.Assignment, s.topics)
		if err != nil {
			s.t.Fatal(err)
		}
		return fmt.Sprintf("assigned [%s]\n", s.spell(has))
	case "beat": // id=ID at=GENERATION: by the classic protocol
		return result(s.group.HeartbeatClassic(s.now, a["id"], instance, generation)) + "\n"
	case "leave": // id=ID+ID instance=I: by the classic protocol; an id may be "?" for none
		var leavers []Leaver
		for _, id := range a.list("id") {
			leavers = append(leavers, Leaver{ID: strings.Trim(id, "?"), InstanceID: instance})
		}
		out := ""
		for _, err := range s.group.LeaveClassic(s.now, leavers) {
			out += result(err) + "\n"
		}
		return out
	case "commit": // id=ID at=EPOCH of=A:0: a commit of offsets
		_, producer := a["producer"]
		return result(s.group.CheckCommit(a["id"], instance, int32(a.number("at", -1)), producer, slices.Values(s.partitions(a["of"])))) + "\n"
	case "wait": // seconds=N
		s.now = s.now.Add(time.Duration(a.number("seconds", 0)) * time.Second)
		for next := s.group.Next(); !next.IsZero() && !next.After(s.now); next = s.group.Next() {
			s.group.Tick(next)
		}
		return ""
	case "restart":
		b, err := s.group.Encode()
		if err == nil {
			s.group, err = DecodeConsumer("g", b, Config{MaxMembers: 4}, s.now, s.times)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		return ""
	}
	s.t.Fatalf("unknown command %s", command)
	return ""
}

// heart is a ConsumerGroupHeartbeat: what is not given is not said.
func (s *consumerScript) heart(a scriptArgs) string {
	s.ids++
	h := Heartbeat{
		MemberID: a["id"], Epoch: int32(a.number("at", 0)), InstanceID: named(a["instance"]), RackID: a.text("rack"), ClientID: a["client"], Rebalance: Unchanged, Topics: a.list("topics"),
		Regex: a.text("regex"), Assignor: a.text("assignor"), EmptyIDForbidden: true, NewID: fmt.Sprint("n", s.ids),
	}
	if _, ok := a["has"]; ok || h.Epoch == JoinEpoch {
		h.Owned, h.OwnedGiven = s.partitions(a["has"]), true
	}
	if n := a.number("within", 0); n != 0 {
		h.Rebalance = time.Duration(n) * time.Second
	} else if h.Epoch == JoinEpoch {
		h.Rebalance = time.Minute
	}
	got, err := s.group.Heartbeat(s.now, h, s.topics)
	switch {
	case err != nil:
		return result(err) + "\n"
	case got.AssignmentGiven:
		return fmt.Sprintf("%s at %d has [%s]\n", got.MemberID, got.Epoch, s.spell(got.Assignment))
	}
	return fmt.Sprintf("%s at %d\n", got.MemberID, got.Epoch)
}

func (s *consumerScript) join(a scriptArgs) string {
	s.ids++
	md := kmsg.NewConsumerMemberMetadata()
	md.Version, md.Topics, md.Rack = 3, a.list("topics"), a.text("rack")
	for _, p := range s.partitions(a["has"]) {
		t, _ := s.topics.ByID(p.Topic)
		owned := kmsg.NewConsumerMemberMetadataOwnedPartition()
		owned.Topic, owned.Partitions = t.Name, []int32{p.Index}
		md.OwnedPartitions = append(md.OwnedPartitions, owned)
	}
	got := s.group.JoinClassic(s.now, Join{
		MemberID: a["id"], InstanceID: named(a["instance"]), NewID: fmt.Sprint("n", s.ids), ProtocolType: ConsumerProtocol,
		Session: time.Duration(a.number("session", 30)) * time.Second, Rebalance: time.Duration(a.number("within", 60)) * time.Second,
		Protocols: []Protocol{{"range", md.AppendTo(nil)}},
	}, s.topics)
	if got.Err != nil {
		return result(got.Err) + "\n"
	}
	return fmt.Sprintf("%s at %d\n", got.MemberID, got.Generation)
}

// partitions reads a:0+a:1+b:0.
func (s *consumerScript) partitions(text string) Partitions {
	var out []Partition
	for name := range strings.SplitSeq(text, "+") {
		topic, index, ok := strings.Cut(name, ":")
		if !ok {
			continue
		}
		t, _ := s.topics.ByName(topic)
		p := Partition{Topic: t.ID}
		_, _ = fmt.Sscan(index, &p.Index)
		out = append(out, p)
	}
	return NewPartitions(out)
}

func (s *consumerScript) spell(set Partitions) string {
	var out []string
	for _, p := range set {
		t, _ := s.topics.ByID(p.Topic)
		out = append(out, fmt.Sprintf("%s:%d", t.Name, p.Index))
	}
	return strings.Join(out, " ")
}

// state is the group, and each member's epoch, state, and partitions: which it has, has to
// give up, and is to have.
func (s *consumerScript) state() string {
	g := s.group
	out := fmt.Sprintf("-- %s at %d, target of %d", g.State(), g.Epoch, g.TargetEpoch)
	if g.Assignor != "" {
		out += " by " + g.Assignor
	}
	if g.ToClassic() {
		old := g.Downgrade(s.now, s.topics)
		out += fmt.Sprintf(", to be classic: %s, generation %d", old.State, old.Generation)
	}
	if !g.Emptied.IsZero() {
		out += fmt.Sprintf(", empty since %d", g.Emptied.Unix())
	}
	if g.Changed() {
		out += ", changed"
	}
	for _, m := range g.Members {
		out += fmt.Sprintf("\n   %s", m.ID)
		if m.InstanceID != NoInstance {
			out += "=" + m.InstanceID.String()
		}
		if m.RackID != "" {
			out += " in " + m.RackID
		}
		out += fmt.Sprintf(" at %d after %d, %s: [%s] -[%s] of [%s]", m.Epoch, m.Previous, m.State, s.spell(m.Assigned), s.spell(m.Revoking), s.spell(m.Target))
		if m.IsClassic() {
			out += " classic"
		}
	}
	return out + "\n"
}
