package txn

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestProperties feeds random events: what was handed out never changes, epochs
// only grow, by one, a decision is of the transaction that was open, and the time-out is
// the one that was asked for last.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, now, fresh := New(), time.Unix(1000, 0), int64(1)
		seen := map[Producer]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second)
			fresh++
			who := s.Producer
			switch rapid.IntRange(0, 3).Draw(t, "who") {
			case 0:
				who = s.Last
			case 1:
				who.Epoch--
			}
			timeout := time.Duration(rapid.IntRange(30, 90).Draw(t, "timeout")) * time.Second
			commit := rapid.Bool().Draw(t, "yes")
			ev := []Event{
				Init{Holder: NoProducer, Timeout: timeout, Fresh: fresh},
				Init{Holder: who, Timeout: timeout, Fresh: fresh},
				Add{Producer: who, Partitions: []Partition{{Index: int32(fresh % 3)}}, Implicit: commit},
				End{Producer: who, Commit: commit, Bump: true, Fresh: fresh},
				End{Producer: who, Commit: commit},
				Expire{Fresh: fresh},
				Decided{},
				PowerLoss{Fresh: fresh},
			}[rapid.IntRange(0, 7).Draw(t, "event")]
			before := len(s.Partitions)
			next, eff, err := Step(s, ev, now)
			if len(s.Partitions) != before {
				t.Fatalf("%T changed a state that was handed out", ev)
			}
			if err != nil {
				if next.Phase != s.Phase || next.Producer != s.Producer || eff.Decide != nil || eff.Persist {
					t.Fatalf("%T was refused with %v and had an effect: %+v", ev, err, eff)
				}
				continue
			}
			check(t, s, next, ev, eff)
			if next.Producer != s.Producer {
				if seen[next.Producer] {
					t.Fatalf("%T gave %+v a second time", ev, next.Producer)
				}
				seen[next.Producer] = true
			}
			s = next
		}
	})
}

func check(t *rapid.T, s, next State, ev Event, eff Effects) {
	if next.Producer.ID == s.Producer.ID && next.Producer.Epoch < s.Producer.Epoch {
		t.Fatalf("%T took the epoch from %d to %d", ev, s.Producer.Epoch, next.Producer.Epoch)
	}
	if next.Producer.ID == s.Producer.ID && next.Producer.Epoch > s.Producer.Epoch+1 || next.Producer.ID != s.Producer.ID && next.Producer.Epoch != 0 {
		t.Fatalf("%T left out an epoch: %+v after %+v", ev, next.Producer, s.Producer)
	}
	if init, ok := ev.(Init); ok && eff.Again != (s.Phase == Ongoing) {
		t.Fatalf("%+v in state %+v: %+v", init, s, eff)
	} else if ok && !eff.Again && (next.Timeout != init.Timeout || next.Phase != Empty || eff.Answer != next.Producer) {
		t.Fatalf("%+v was answered %+v, and left %+v", init, eff, next)
	}
	if d := eff.Decide; d != nil {
		if s.Phase != Ongoing || d.Producer != s.Producer || len(d.Partitions) != len(s.Partitions) || d.MarkerEpoch < s.Producer.Epoch {
			t.Fatalf("%T decided %+v in state %+v", ev, d, s)
		}
		if next.Phase != PrepareCommit && next.Phase != PrepareAbort || (next.Phase == PrepareCommit) != d.Commit {
			t.Fatalf("%T decided commit=%v and is in %s", ev, d.Commit, next.Phase)
		}
	}
	if s.Phase == Ongoing && next.Phase != Ongoing && eff.Decide == nil {
		if _, lost := ev.(PowerLoss); !lost {
			t.Fatalf("%T left an open transaction without a decision", ev)
		}
	}
	if _, end := ev.(End); end && s.Phase == Ongoing && s.Producer != ev.(End).Producer {
		t.Fatalf("%+v ended the transaction of %+v", ev, s.Producer)
	}
}
