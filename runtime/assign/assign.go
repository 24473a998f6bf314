package assign

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Member is a member of the group as its leader sees it.
type Member struct {
	ID         string // given by the coordinator
	InstanceID string // group.instance.id; "" for a dynamic member
	Metadata
}

// Assign decides what each member shall own, by Member.ID. partitions holds
// the number of partitions of each topic; a topic that is not in it has none.
// It is an error if the user data of a member cannot be read.
func Assign(members []Member, partitions map[string]int32) (map[string]Assignment, error) {
	p := plan{claims: map[Partition][]claim{}}
	if err := p.readMembers(members); err != nil {
		return nil, err
	}
	p.findSubtopologies(partitions)
	p.readClaims()
	for i := range p.subs {
		p.findOwners(&p.subs[i])
	}
	shares := p.shares()
	for i := range p.subs {
		p.place(&p.subs[i], shares[i])
	}
	return p.result(), nil
}

// plan is an assignment being made. Members are known by their index in order
// of instance id and id.
type plan struct {
	members []planMember
	subs    []subtopology
	claims  map[Partition][]claim
}

type planMember struct {
	Member
	data     UserData
	assigned []Partition
}

// claim says that a member owned a partition in a generation.
type claim struct {
	member     int
	generation int32
}

// subtopology is a set of topics that are read together.
type subtopology struct {
	topics   []string
	widths   []int32 // number of partitions of each topic
	tasks    int
	eligible []int // members that run it
	owners   []int // of each task, or nobody
}

const nobody = -1

func (p *plan) readMembers(members []Member) error {
	for _, m := range members {
		data, err := DecodeUserData(m.UserData)
		if err != nil {
			return fmt.Errorf("member %s: %w", m.ID, err)
		}
		if len(data.Subtopologies) == 0 {
			for _, t := range m.Topics {
				data.Subtopologies = append(data.Subtopologies, []string{t})
			}
		}
		p.members = append(p.members, planMember{Member: m, data: data})
	}
	slices.SortFunc(p.members, func(a, b planMember) int {
		return cmp.Or(cmp.Compare(a.InstanceID, b.InstanceID), cmp.Compare(a.ID, b.ID))
	})
	return nil
}

// findSubtopologies takes the sub-topologies that the members declare. While a
// new version of a program is rolled out they may differ: a topic belongs to
// the declaration most members share (then to the widest, then to the first by
// name), and who declares otherwise gets none of it.
func (p *plan) findSubtopologies(partitions map[string]int32) {
	declared := map[string]*subtopology{}
	for i, m := range p.members {
		for _, topics := range m.data.Subtopologies {
			topics = slices.Compact(slices.Sorted(slices.Values(topics)))
			key := strings.Join(topics, "\x00")
			s := declared[key]
			if s == nil {
				s = &subtopology{topics: topics}
				declared[key] = s
			}
			if n := len(s.eligible); n == 0 || s.eligible[n-1] != i {
				s.eligible = append(s.eligible, i)
			}
		}
	}
	order := slices.SortedFunc(maps.Values(declared), func(a, b *subtopology) int {
		return cmp.Or(
			cmp.Compare(len(b.eligible), len(a.eligible)),
			cmp.Compare(len(b.topics), len(a.topics)),
			slices.Compare(a.topics, b.topics))
	})
	taken := map[string]bool{}
	for _, s := range order {
		if slices.ContainsFunc(s.topics, func(t string) bool { return taken[t] }) {
			continue
		}
		for _, t := range s.topics {
			taken[t] = true
			s.widths = append(s.widths, partitions[t])
			s.tasks = max(s.tasks, int(partitions[t]))
		}
		p.subs = append(p.subs, *s)
	}
}

func (p *plan) readClaims() {
	for i, m := range p.members {
		for _, tp := range slices.Compact(slices.SortedFunc(slices.Values(m.Owned), comparePartitions)) {
			p.claims[tp] = append(p.claims[tp], claim{i, m.Generation})
		}
	}
}

// owner is the member whose claim to a partition counts.
func (p *plan) owner(tp Partition) int {
	best, contested := claim{member: nobody}, false
	for _, c := range p.claims[tp] {
		switch {
		case best.member == nobody || c.generation > best.generation:
			best, contested = c, false
		case c.generation == best.generation:
			contested = true
		}
	}
	if contested {
		return nobody
	}
	return best.member
}

// findOwners finds who has each task: the eligible member that owns the most
// of its partitions, the first of equals.
func (p *plan) findOwners(s *subtopology) {
	s.owners = make([]int, s.tasks)
	votes := make([]int, len(p.members))
	for task := range s.owners {
		clear(votes)
		for _, tp := range s.partitions(task) {
			if m := p.owner(tp); m != nobody {
				votes[m]++
			}
		}
		s.owners[task] = nobody
		for _, m := range s.eligible {
			if votes[m] > 0 && (s.owners[task] == nobody || votes[m] > votes[s.owners[task]]) {
				s.owners[task] = m
			}
		}
	}
}

// partitions of a task: those of its topics that are wide enough.
func (s *subtopology) partitions(task int) []Partition {
	out := make([]Partition, 0, len(s.topics))
	for i, t := range s.topics {
		if int32(task) < s.widths[i] {
			out = append(out, Partition{t, int32(task)})
		}
	}
	return out
}

// place gives the tasks of a sub-topology to its members, share[m] of them to
// member m: first what it owns, lowest first, then what is left over.
func (p *plan) place(s *subtopology, share []int) {
	target := slices.Clone(s.owners)
	left := slices.Clone(share)
	for task, m := range target {
		if m == nobody || left[m] == 0 {
			target[task] = nobody
			continue
		}
		left[m]--
	}
	next := 0
	for task, m := range target {
		if m == nobody {
			for left[s.eligible[next]] == 0 {
				next++
			}
			m = s.eligible[next]
			left[m]--
		}
		p.give(s, task, m)
	}
}

// give assigns a task to a member, so far as nobody else has still to release
// it: who owns nothing of it waits until it is whole.
func (p *plan) give(s *subtopology, task, member int) {
	var free []Partition
	whole, has := true, false
	for _, tp := range s.partitions(task) {
		switch {
		case len(p.claims[tp]) == 0:
			free = append(free, tp)
		case p.owner(tp) == member:
			free, has = append(free, tp), true
		default:
			whole = false
		}
	}
	if whole || has {
		p.members[member].assigned = append(p.members[member].assigned, free...)
	}
}

func (p *plan) result() map[string]Assignment {
	var live []string
	for _, m := range p.members {
		if m.data.TransactionalID != "" {
			live = append(live, m.data.TransactionalID)
		}
	}
	slices.Sort(live)
	data := EncodeLive(slices.Compact(live))
	out := make(map[string]Assignment, len(p.members))
	for _, m := range p.members {
		slices.SortFunc(m.assigned, comparePartitions)
		out[m.ID] = Assignment{Partitions: m.assigned, UserData: data}
	}
	return out
}
