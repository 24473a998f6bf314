package txn

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestScripts runs testdata/*: each command is an event; what follows is the
// answer, what is to be carried out, and the state.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{state: New(), now: time.Unix(1000, 0), fresh: 70}
		datadriven.RunTest(t, path, s.run)
	})
}

type script struct {
	state State
	now   time.Time
	fresh int64
}

// run understands init, add, end, decided, expire, power-loss, wait, epoch.
func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	holder := s.state.Producer
	has := func(name string) bool { return d.HasArg(name) }
	if has("holder") {
		d.ScanArgs(t, "holder", &holder.ID, &holder.Epoch)
	}
	var ev Event
	switch d.Cmd {
	case "init":
		e := Init{Holder: NoProducer, Timeout: time.Minute, Fresh: s.fresh}
		if has("holder") || has("again") {
			e.Holder = holder
		}
		ev = e
	case "add":
		e := Add{Producer: holder, Implicit: has("implicit"), Partitions: []Partition{{Index: 1}}, Groups: []string{"g"}}
		if has("nothing") {
			e.Partitions, e.Groups = nil, nil
		}
		ev = e
	case "end":
		ev = End{Producer: holder, Commit: !has("abort"), Bump: has("bump"), Fresh: s.fresh}
	case "decided":
		ev = Decided{}
	case "expire":
		ev = Expire{Fresh: s.fresh}
	case "power-loss":
		ev = PowerLoss{Fresh: s.fresh}
	case "wait":
		var seconds int
		d.ScanArgs(t, "seconds", &seconds)
		s.now = s.now.Add(time.Duration(seconds) * time.Second)
		return s.text()
	case "epoch": // jumps there
		d.ScanArgs(t, "to", &s.state.Producer.Epoch)
		s.fresh++
		return s.text()
	default:
		t.Fatalf("unknown command %s", d.Cmd)
	}
	next, eff, err := Step(s.state, ev, s.now)
	var b strings.Builder
	if err != nil {
		name, _, _ := strings.Cut(err.Error(), ":")
		fmt.Fprintln(&b, name)
	} else if eff.Again {
		fmt.Fprintln(&b, "ask again")
	} else if eff.Answer != (Producer{}) {
		fmt.Fprintf(&b, "answer %d/%d\n", eff.Answer.ID, eff.Answer.Epoch)
	}
	if eff.Persist {
		fmt.Fprintln(&b, "persist")
	}
	if c := eff.Decide; c != nil {
		fmt.Fprintf(&b, "decide commit=%v of %d/%d, markers with epoch %d in %d partitions\n", c.Commit, c.Producer.ID, c.Producer.Epoch, c.MarkerEpoch, len(c.Partitions))
	}
	s.state = next
	return b.String() + s.text()
}

func (s *script) text() string {
	st := s.state
	return fmt.Sprintf("-- %s %d/%d last %d/%d\n", st.Phase, st.Producer.ID, st.Producer.Epoch, st.Last.ID, st.Last.Epoch)
}
