package assign

// shares decides how many tasks of each sub-topology each member gets:
// result[sub][member]. Every eligible member gets the whole part of an even
// share; who gets one of the remaining tasks is chosen so that, first, the
// totals are even, and second, as few tasks as possible move. That is a flow
// of least cost: from each sub-topology as many units as it has remaining
// tasks, at most one to each member, and each further unit that a member takes
// costs more than the one before.
func (p *plan) shares() [][]int {
	shares := make([][]int, len(p.subs))
	totals := make([]int, len(p.members))
	edges := 0
	for i := range p.subs {
		s := &p.subs[i]
		shares[i] = make([]int, len(p.members))
		for _, m := range s.eligible {
			shares[i][m] = s.tasks / len(s.eligible)
			totals[m] += shares[i][m]
		}
		edges += len(s.eligible)
	}
	// Nodes: 0 source, 1 sink, then sub-topologies, then members.
	subNode, memberNode := 2, 2+len(p.subs)
	f := newFlow(memberNode + len(p.members))
	offers := make([]int, len(p.members)) // how many units may reach a member
	extra := make([][]int, len(p.subs))   // edge of each eligible member
	units := 0
	for i := range p.subs {
		s := &p.subs[i]
		rest := s.tasks % len(s.eligible)
		if rest == 0 {
			continue
		}
		units += rest
		f.edge(0, subNode+i, rest, 0)
		owned := s.ownedBy(len(p.members))
		for _, m := range s.eligible {
			cost := 1 // a task moves to m
			if owned[m] > shares[i][m] {
				cost = 0
			}
			extra[i] = append(extra[i], f.edge(subNode+i, memberNode+m, 1, cost))
			offers[m]++
		}
	}
	for m, n := range offers {
		for k := range n {
			f.edge(memberNode+m, 1, 1, (edges+1)*(totals[m]+k))
		}
	}
	f.push(units)
	for i, es := range extra {
		for j, e := range es {
			shares[i][p.subs[i].eligible[j]] += f.edges[e^1].room
		}
	}
	return shares
}

func (s *subtopology) ownedBy(members int) []int {
	owned := make([]int, members)
	for _, m := range s.owners {
		if m != nobody {
			owned[m]++
		}
	}
	return owned
}

// flow is a network; edge e and its reverse e^1 lie side by side.
type flow struct {
	out   [][]int // edges that leave a node
	edges []flowEdge
}

type flowEdge struct {
	to, room, cost int
}

func newFlow(nodes int) *flow { return &flow{out: make([][]int, nodes)} }

func (f *flow) edge(from, to, room, cost int) int {
	e := len(f.edges)
	f.edges = append(f.edges, flowEdge{to, room, cost}, flowEdge{from, 0, -cost})
	f.out[from] = append(f.out[from], e)
	f.out[to] = append(f.out[to], e+1)
	return e
}

// push sends units from node 0 to node 1, each along the cheapest path that is
// left (successive shortest paths: the result is the cheapest flow).
func (f *flow) push(units int) {
	for range units {
		via := f.cheapest()
		for n := 1; n != 0; {
			e := via[n]
			f.edges[e].room--
			f.edges[e^1].room++
			n = f.edges[e^1].to
		}
	}
}

// cheapest finds the edge by which the cheapest path from node 0 enters each
// node (Bellman and Ford, with a queue; there is no negative cycle).
func (f *flow) cheapest() (via []int) {
	const far = int(^uint(0) >> 2)
	cost := make([]int, len(f.out))
	via = make([]int, len(f.out))
	queued := make([]bool, len(f.out))
	for i := range cost {
		cost[i] = far
	}
	cost[0] = 0
	queue := []int{0}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		queued[n] = false
		for _, e := range f.out[n] {
			to := f.edges[e].to
			if f.edges[e].room == 0 || cost[n]+f.edges[e].cost >= cost[to] {
				continue
			}
			cost[to], via[to] = cost[n]+f.edges[e].cost, e
			if !queued[to] {
				queued[to] = true
				queue = append(queue, to)
			}
		}
	}
	return via
}
