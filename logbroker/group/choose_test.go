package group

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestChoose holds the protocol of a group against the rule: of those that all know
// the one that most name before the others, among equals the first that is voted for.
func TestChoose(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := New("g", Config{})
		names := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 5)
		for i := range rapid.IntRange(1, 5).Draw(rt, "members") {
			m := &Member{ID: fmt.Sprint(i)}
			for _, name := range names.Draw(rt, "protocols") {
				m.Protocols = append(m.Protocols, Protocol{Name: name})
			}
			g.Members = append(g.Members, m)
		}
		best, most := "", 0
		votes := map[string]int{}
		var order []string
		for _, m := range g.Members {
			for _, p := range m.Protocols {
				common := true
				for _, o := range g.Members {
					common = common && knows(o, p.Name)
				}
				if common {
					votes[p.Name]++
					order = append(order, p.Name)
					break
				}
			}
		}
		for _, name := range order {
			if votes[name] > most {
				best, most = name, votes[name]
			}
		}
		if got := g.choose(); got != best {
			rt.Fatalf("%q is chosen, not %q", got, best)
		}
	})
}

// A protocol is chosen for thousands of members, who know hundreds, in one look at
// each: all groups wait meanwhile.
func TestChooseForManyMembers(t *testing.T) {
	g := New("g", Config{})
	for i := range 4000 {
		m := &Member{ID: fmt.Sprint(i)}
		for n := range 200 {
			m.Protocols = append(m.Protocols, Protocol{Name: fmt.Sprint(i, "-", n)})
		}
		m.Protocols = append(m.Protocols, Protocol{Name: "common"})
		g.Members = append(g.Members, m)
	}
	start := time.Now()
	if got := g.choose(); got != "common" {
		t.Errorf("%q is chosen", got)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it takes %v", took)
	}
}

func knows(m *Member, protocol string) bool {
	return slices.ContainsFunc(m.Protocols, func(p Protocol) bool { return p.Name == protocol })
}
