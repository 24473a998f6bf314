package group

import (
	"cmp"
	"slices"
)

// Assignors are the server's assignors, the default first. uniform spreads
// partitions evenly and moves as few as it can; range gives each member the same
// slice of every topic, so that topics can be joined.
var Assignors = []string{"uniform", "range"}

// subscriber is a member as an assignor sees it.
type subscriber struct {
	id       string
	instance Instance
	topics   []string   // subscribed, sorted
	has      Partitions // of the last assignment
}

// assignment is what an assignor works on.
type assignment struct {
	topics  map[string]Topic
	members []subscriber
}

// assign gives every partition of the topics to one of those who subscribe to
// it. The answer is in the order of the members.
func (a *assignment) assign(assignor string) []Partitions {
	if assignor == "range" {
		return a.byRange()
	}
	return a.uniform()
}

// byRange cuts every topic into as many pieces as it has subscribers, static
// members first, so that a restart moves nothing.
func (a *assignment) byRange() []Partitions {
	out := make([][]Partition, len(a.members))
	order := make([]int, len(a.members))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int {
		p, q := a.members[x], a.members[y]
		if (p.instance == NoInstance) != (q.instance == NoInstance) {
			if p.instance != NoInstance {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(p.instance.name, q.instance.name), cmp.Compare(p.id, q.id))
	})
	for _, name := range a.names() {
		t := a.topics[name]
		var who []int
		for _, i := range order {
			if a.subscribes(i, name) {
				who = append(who, i)
			}
		}
		if len(who) == 0 {
			continue
		}
		share, rest := int(t.Partitions)/len(who), int(t.Partitions)%len(who)
		next := int32(0)
		for rank, i := range who {
			n := share
			if rank < rest {
				n++
			}
			for range n {
				out[i] = append(out[i], Partition{t.ID, next})
				next++
			}
		}
	}
	return sets(out)
}

func sets(lists [][]Partition) []Partitions {
	out := make([]Partitions, len(lists))
	for i, l := range lists {
		out[i] = NewPartitions(l)
	}
	return out
}

func (a *assignment) names() []string {
	var names []string
	for name := range a.topics {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (a *assignment) subscribes(member int, topic string) bool {
	_, found := slices.BinarySearch(a.members[member].topics, topic)
	return found
}

// spread is an assignment on its way.
type spread struct {
	*assignment
	names map[TopicID]string
	lists [][]Partition
}

// uniform lets members keep what they have, up to their share, gives what is left
// to who has least, and then moves single partitions from who has most to who has
// least while that makes them more equal.
func (a *assignment) uniform() []Partitions {
	s := spread{assignment: a, names: map[TopicID]string{}, lists: make([][]Partition, len(a.members))}
	var free []Partition
	taken := map[Partition]bool{}
	for _, name := range a.names() {
		s.names[a.topics[name].ID] = name
	}
	for i, m := range a.members {
		for _, p := range m.has {
			name, known := s.names[p.Topic]
			if known && p.Index < a.topics[name].Partitions && !taken[p] && a.subscribes(i, name) {
				s.lists[i] = append(s.lists[i], p)
				taken[p] = true
			}
		}
	}
	who := map[string][]int{}
	for _, name := range a.names() {
		for i := range a.members {
			if a.subscribes(i, name) {
				who[name] = append(who[name], i)
			}
		}
		t := a.topics[name]
		for i := range t.Partitions {
			if p := (Partition{t.ID, i}); !taken[p] && len(who[name]) > 0 {
				free = append(free, p)
			}
		}
	}
	// Those with fewest takers first: the others have more choice.
	slices.SortStableFunc(free, func(p, q Partition) int {
		return cmp.Compare(len(who[s.names[p.Topic]]), len(who[s.names[q.Topic]]))
	})
	for _, p := range free {
		least := s.least(who[s.names[p.Topic]])
		s.lists[least] = append(s.lists[least], p)
	}
	s.level(who)
	return sets(s.lists)
}

func (s *spread) least(members []int) int {
	best := members[0]
	for _, i := range members {
		if len(s.lists[i]) < len(s.lists[best]) {
			best = i
		}
	}
	return best
}

// level moves one partition after another from who has most to who has least,
// until no move makes two members more equal. Every move lowers the sum of the
// squares of the counts, so it ends.
func (s *spread) level(who map[string][]int) {
	order := make([]int, len(s.lists))
	for i := range order {
		order[i] = i
	}
	for moved := true; moved; {
		slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(len(s.lists[y]), len(s.lists[x])) })
		moved = slices.ContainsFunc(order, func(from int) bool { return s.moveOne(from, who) })
	}
}

// moveOne moves a partition of a member to the one with least that can take one,
// if that has at least two less.
func (s *spread) moveOne(from int, who map[string][]int) bool {
	best, which := from, -1
	seen := map[TopicID]bool{}
	for k := len(s.lists[from]) - 1; k >= 0; k-- {
		id := s.lists[from][k].Topic
		if seen[id] {
			continue
		}
		seen[id] = true
		if to := s.least(who[s.names[id]]); len(s.lists[to]) < len(s.lists[best]) {
			best, which = to, k
		}
	}
	if which < 0 || len(s.lists[best])+1 >= len(s.lists[from]) {
		return false
	}
	p := s.lists[from][which]
	s.lists[from] = slices.Delete(s.lists[from], which, which+1)
	s.lists[best] = append(s.lists[best], p)
	return true
}
