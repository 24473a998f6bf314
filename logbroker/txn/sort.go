package txn

import (
	"bytes"
	"cmp"
	"slices"
)

// sortPartitions gives a decision one order, whatever the order of a map.
func sortPartitions(ps []Partition) {
	slices.SortFunc(ps, func(a, b Partition) int {
		if c := bytes.Compare(a.Topic[:], b.Topic[:]); c != 0 {
			return c
		}
		return cmp.Compare(a.Index, b.Index)
	})
}
