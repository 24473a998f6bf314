package group

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestScripts runs testdata/classic/*: each line is an event, what follows are the
// answers it releases and the state of the group.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/classic", func(t *testing.T, path string) {
		s := &script{t: t, group: New("g", Config{MaxMembers: 6}), now: time.Unix(1000, 0), names: map[RequestID]string{}}
		datadriven.RunTest(t, path, s.run)
	})
}

type script struct {
	t     *testing.T
	group *Group
	now   time.Time
	names map[RequestID]string
	last  RequestID
	ids   int
}

// named is the instance of a name in a script; "?" is an empty name.
func named(name string) Instance {
	if name == "" {
		return NoInstance
	}
	name = strings.Trim(name, "?")
	return InstanceOf(&name)
}

// run understands join, sync, heartbeat, seen, leave, commit, wait, restart.
func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	arg := func(name string) string {
		for _, a := range d.CmdArgs {
			if a.Key == name && len(a.Vals) > 0 {
				return a.Vals[0]
			}
		}
		return ""
	}
	number := func(name string, def int) int {
		n := def
		if v := arg(name); v != "" {
			if _, err := fmt.Sscan(v, &n); err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	var out []Answer
	var said string
	switch d.Cmd {
	case "join":
		s.ids++
		j := Join{
			Request: s.request(arg("as")), MemberID: arg("id"), InstanceID: named(arg("instance")), Session: 10 * time.Second,
			Rebalance: time.Duration(number("rebalance", 60)) * time.Second, ProtocolType: "consumer", NewID: fmt.Sprintf("m%d", s.ids), MustKnowID: arg("v") != "3", CanSkip: arg("v") != "8",
		}
		for name := range strings.SplitSeq(arg("protocols"), "+") {
			if name == "" {
				name = "range"
			}
			j.Protocols = append(j.Protocols, Protocol{name, []byte(arg("meta"))})
		}
		if n := number("session", 0); n != 0 {
			j.Session = time.Duration(n) * time.Second
		}
		switch arg("type") {
		case "":
		case "none":
			j.ProtocolType = ""
		default:
			j.ProtocolType = arg("type")
		}
		if arg("protocols") == "none" {
			j.Protocols = nil
		}
		out = s.group.Join(s.now, j)
	case "sync":
		y := Sync{Request: s.request(arg("as")), MemberID: arg("id"), InstanceID: named(arg("instance")), Generation: int32(number("gen", int(s.group.Generation))), Assignments: map[string][]byte{}}
		for line := range strings.Lines(d.Input) {
			id, a, _ := strings.Cut(strings.TrimSpace(line), "=")
			y.Assignments[id] = []byte(a)
		}
		out = s.group.Sync(s.now, y)
	case "heartbeat":
		said = fmt.Sprintln(result(s.group.Heartbeat(s.now, arg("id"), named(arg("instance")), int32(number("gen", int(s.group.Generation))))))
	case "commit":
		said = fmt.Sprintln(result(s.group.Check(arg("id"), named(arg("instance")), int32(number("gen", int(s.group.Generation))), arg("producer") != "")))
	case "seen":
		s.group.Seen(s.now, arg("id"))
	case "leave":
		var leavers []Leaver
		for id := range strings.SplitSeq(arg("id"), "+") {
			leavers = append(leavers, Leaver{ID: id, InstanceID: named(arg("instance"))})
		}
		var told []error
		out, told = s.group.Leave(s.now, leavers)
		for _, err := range told {
			said += fmt.Sprintln(result(err))
		}
	case "wait":
		s.now = s.now.Add(time.Duration(number("seconds", 0)) * time.Second)
		for next := s.group.Next(); !next.IsZero() && !next.After(s.now); next = s.group.Next() {
			out = append(out, s.group.Tick(next)...)
		}
	case "restart":
		b, err := s.group.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if s.group, err = Decode("g", b, Config{MaxMembers: 6}, s.now); err != nil {
			t.Fatal(err)
		}
	default:
		t.Fatalf("unknown command %s", d.Cmd)
	}
	return said + s.answers(out) + s.state()
}

func (s *script) request(name string) RequestID {
	s.last++
	s.names[s.last] = name
	return s.last
}

func result(err error) string {
	if err == nil {
		return "ok"
	}
	name, _, _ := strings.Cut(err.Error(), ":")
	return name
}

func (s *script) answers(list []Answer) string {
	var b strings.Builder
	for _, a := range list {
		fmt.Fprintf(&b, "%s: ", s.names[a.Request])
		delete(s.names, a.Request)
		switch {
		case a.Sync != nil && a.Sync.Err != nil:
			fmt.Fprintln(&b, result(a.Sync.Err))
		case a.Sync != nil:
			fmt.Fprintf(&b, "assigned %q\n", a.Sync.Assignment)
		case a.Join.Err != nil:
			fmt.Fprintf(&b, "%s id=%s\n", result(a.Join.Err), a.Join.MemberID)
		default:
			fmt.Fprintf(&b, "joined id=%s generation=%d protocol=%s leader=%s", a.Join.MemberID, a.Join.Generation, a.Join.Protocol, a.Join.Leader)
			for _, m := range a.Join.Members {
				fmt.Fprintf(&b, " [%s%s %s]", m.ID, m.InstanceID, m.Metadata)
			}
			if a.Join.SkipAssignment {
				b.WriteString(" skip")
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func (s *script) state() string {
	var ids []string
	for _, m := range s.group.Members {
		id := m.ID
		if len(m.Assignment) > 0 {
			id += "=" + string(m.Assignment)
		}
		ids = append(ids, id)
	}
	out := fmt.Sprintf("-- %s generation=%d members=%s", s.group.State, s.group.Generation, strings.Join(ids, ","))
	if s.group.Leader != "" {
		out += " leader=" + s.group.Leader
	}
	if !s.group.Emptied.IsZero() {
		out += fmt.Sprint(" empty since ", s.group.Emptied.Unix())
	}
	if s.group.Changed() {
		out += " changed"
	}
	return out + "\n"
}
