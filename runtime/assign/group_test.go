package assign

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// group is a model of the coordinator and of cooperative members. In a round
// all that are in the group join with what they own; some of them miss the
// answer and keep what they had with the old generation, as after a lost
// SyncGroup.
type group struct {
	t          *rapid.T
	program    program
	generation int32
	members    map[string]*modelMember
	next       int
}

type modelMember struct {
	data       UserData
	owned      []Partition
	generation int32
	instance   string
}

func (g *group) add() {
	id := fmt.Sprint("m", g.next)
	g.next++
	data := g.program.data
	data.TransactionalID = "tx-" + id
	g.members[id] = &modelMember{data: data, generation: -1}
}

// round is one rebalance; misses says who does not hear of its result. It
// returns whether nobody has anything to give up.
func (g *group) round(misses func(id string) bool) (settled bool) {
	var members []Member
	for _, id := range slices.Sorted(maps.Keys(g.members)) {
		m := g.members[id]
		members = append(members, Member{ID: id, InstanceID: m.instance, Metadata: Metadata{
			UserData: m.data.Encode(), Owned: m.owned, Generation: m.generation,
		}})
	}
	g.generation++
	got, err := Assign(members, g.program.partitions)
	if err != nil {
		g.t.Fatal(err)
	}
	settled = true
	for _, m := range members {
		if misses(m.ID) {
			settled = false
			continue
		}
		a, err := DecodeAssignment(EncodeAssignment(got[m.ID]))
		if err != nil {
			g.t.Fatal(err)
		}
		live, err := DecodeLive(a.UserData)
		if err != nil || len(live) != len(members) {
			g.t.Fatalf("live members %v (%v), want %d", live, err, len(members))
		}
		for _, tp := range m.Owned {
			settled = settled && slices.Contains(a.Partitions, tp)
		}
		g.members[m.ID].owned, g.members[m.ID].generation = a.Partitions, g.generation
	}
	g.checkSingleOwners()
	return settled
}

func (g *group) checkSingleOwners() {
	owner := map[Partition]string{}
	for id, m := range g.members {
		for _, tp := range m.owned {
			if other, twice := owner[tp]; twice {
				g.t.Fatalf("generation %d: %v is owned by %s and by %s", g.generation, tp, id, other)
			}
			owner[tp] = id
		}
	}
}

func nobodyMisses(string) bool { return false }

// settle runs rounds until nobody gives anything up, then checks that all is
// assigned and even.
func (g *group) settle() {
	for n := 0; !g.round(nobodyMisses); n++ {
		if n > 2 {
			g.t.Fatalf("not settled after %d rounds", n)
		}
	}
	total := map[string]int{}
	for s := range g.program.data.Subtopologies {
		count := map[string]int{}
		for id := range g.members {
			count[id] = 0
			total[id] += 0 // a member without tasks counts, too
		}
		for task := range g.program.tasks(s) {
			for i, tp := range g.program.taskPartitions(s, task) {
				id := g.ownerOf(tp)
				if id == "" {
					g.t.Fatalf("%v has no owner", tp)
				}
				if first := g.ownerOf(g.program.taskPartitions(s, task)[0]); id != first {
					g.t.Fatalf("%v belongs to %s, its task to %s", tp, id, first)
				}
				if i == 0 {
					count[id]++
					total[id]++
				}
			}
		}
		g.checkEven(fmt.Sprintf("sub-topology %d", s), count)
	}
	g.checkEven("all tasks", total)
}

func (g *group) checkEven(what string, count map[string]int) {
	counts := slices.Collect(maps.Values(count))
	if slices.Max(counts)-slices.Min(counts) > 1 {
		g.t.Fatalf("%s are not even: %v", what, count)
	}
}

func (g *group) ownerOf(tp Partition) string {
	for id, m := range g.members {
		if slices.Contains(m.owned, tp) {
			return id
		}
	}
	return ""
}

// TestGroupSettles lets members come, go and miss rounds.
func TestGroupSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := &group{t: t, program: drawProgram(t, 3, 7), members: map[string]*modelMember{}}
		g.add()
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			ids := slices.Sorted(maps.Keys(g.members))
			switch rapid.SampledFrom([]string{"add", "add", "die", "lose", "miss", "settle"}).Draw(t, "step") {
			case "add":
				g.add()
			case "die":
				if len(ids) > 1 {
					delete(g.members, rapid.SampledFrom(ids).Draw(t, "who"))
				}
			case "lose": // the session ends: the member comes back with nothing
				id := rapid.SampledFrom(ids).Draw(t, "who")
				g.members[id].owned, g.members[id].generation = nil, -1
			case "miss":
				missing := rapid.SampledFrom(ids).Draw(t, "who")
				g.round(func(id string) bool { return id == missing })
			case "settle":
				g.settle()
			}
			g.round(nobodyMisses)
		}
		g.settle()
		before := map[string][]Partition{}
		for id, m := range g.members {
			before[id] = m.owned
		}
		g.round(nobodyMisses)
		for id, m := range g.members {
			if !slices.Equal(m.owned, before[id]) {
				t.Fatalf("%s owned %v and now %v though nothing changed", id, before[id], m.owned)
			}
		}
	})
}
