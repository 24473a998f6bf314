package checker

import "slices"

// cycles looks for transactions that read from each other in a circle, and for
// those that wrote before each other in a circle.
func (h *history) cycles() {
	reads, writes := h.edges()
	for _, cycle := range circles(reads) {
		h.found(CircularFlow, Micro{}, cycle, "of transactions, each read from the one before")
	}
	for _, cycle := range circles(writes) {
		h.allowed(WriteCycle, Micro{}, cycle, "of transactions, each wrote after the one before")
	}
}

// edges are, for each operation, the transactions that read something of it, and
// those that wrote next after it.
func (h *history) edges() (reads, writes [][]int) {
	reads, writes = make([][]int, len(h.ops)), make([][]int, len(h.ops))
	inGraph := make([]bool, len(h.ops))
	for i, o := range h.ops {
		inGraph[i] = o.F == Txn && !o.Uncommitted && h.committedOp(i)
	}
	link := func(edges [][]int, from, to int) {
		if from >= 0 && from != to && inGraph[from] && inGraph[to] && !endsWith(edges[from], to) {
			edges[from] = append(edges[from], to)
		}
	}
	for i, o := range h.ops {
		if !inGraph[i] {
			continue
		}
		for m, id := range h.of(i) {
			if o.Value[m].Poll {
				link(reads, h.versions[id].writer, i)
			}
		}
	}
	for _, l := range h.logs {
		for i := 1; i < len(l.certain); i++ {
			before, after := h.versions[l.certain[i-1].version].writer, h.versions[l.certain[i].version].writer
			if after >= 0 {
				link(writes, before, after)
			}
		}
	}
	return reads, writes
}

func endsWith(list []int, n int) bool { return len(list) > 0 && list[len(list)-1] == n }

// circles finds one circle in each strongly connected component of more than one
// node, by Tarjan's algorithm with a stack of its own.
func circles(edges [][]int) [][]int {
	type frame struct{ node, next int }
	index, low := make([]int, len(edges)), make([]int, len(edges)) // 0: not visited
	component := make([]int, len(edges))                           // 0: none yet
	var stack []int
	var found [][]int
	visited, components := 0, 0
	for root := range edges {
		if index[root] != 0 || len(edges[root]) == 0 {
			continue
		}
		frames := []frame{{node: root}}
		for len(frames) > 0 {
			f := &frames[len(frames)-1]
			if f.next == 0 {
				visited++
				index[f.node], low[f.node] = visited, visited
				stack = append(stack, f.node)
			} else if to := edges[f.node][f.next-1]; component[to] == 0 {
				low[f.node] = min(low[f.node], low[to])
			}
			for f.next < len(edges[f.node]) && index[edges[f.node][f.next]] != 0 {
				if to := edges[f.node][f.next]; component[to] == 0 {
					low[f.node] = min(low[f.node], index[to])
				}
				f.next++
			}
			if f.next < len(edges[f.node]) {
				f.next++
				frames = append(frames, frame{node: edges[f.node][f.next-1]})
				continue
			}
			if low[f.node] == index[f.node] {
				components++
				start := len(stack) - 1
				for component[stack[start]] = components; stack[start] != f.node; component[stack[start]] = components {
					start--
				}
				if len(stack)-start > 1 {
					found = append(found, circle(edges, component, f.node))
				}
				stack = stack[:start]
			}
			frames = frames[:len(frames)-1]
		}
	}
	return found
}

// circle is a shortest way from a node back to itself within its component.
func circle(edges [][]int, component []int, node int) []int {
	from := map[int]int{}
	for queue := []int{node}; len(queue) > 0; queue = queue[1:] {
		for _, to := range edges[queue[0]] {
			if to == node {
				var path []int
				for n := queue[0]; n != node; n = from[n] {
					path = append(path, n)
				}
				path = append(path, node)
				slices.Reverse(path)
				return path
			}
			if _, seen := from[to]; !seen && component[to] == component[node] {
				from[to] = queue[0]
				queue = append(queue, to)
			}
		}
	}
	return []int{node} // cannot be: the component is strongly connected
}
