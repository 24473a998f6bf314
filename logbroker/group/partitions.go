package group

import (
	"bytes"
	"slices"
)

// TopicID is the 16-byte id of a topic.
type TopicID = [16]byte

// Partition is one partition of a topic.
type Partition struct {
	Topic TopicID
	Index int32
}

// comparePartitions orders by topic, then number.
func comparePartitions(a, b Partition) int {
	if c := bytes.Compare(a.Topic[:], b.Topic[:]); c != 0 {
		return c
	}
	return int(a.Index) - int(b.Index)
}

// Partitions is a set: sorted, each once. Its value is never changed, so sets may
// share it.
type Partitions []Partition

// NewPartitions makes a set of partitions in any order.
func NewPartitions(list []Partition) Partitions {
	out := slices.Clone(list)
	slices.SortFunc(out, comparePartitions)
	return slices.Compact(out)
}

func (s Partitions) has(p Partition) bool {
	_, found := slices.BinarySearchFunc(s, p, comparePartitions)
	return found
}

// and are the partitions in both sets.
func (s Partitions) and(o Partitions) Partitions {
	var out Partitions
	for _, p := range s {
		if o.has(p) {
			out = append(out, p)
		}
	}
	return out
}

// without are the partitions that are not in o.
func (s Partitions) without(o Partitions) Partitions {
	var out Partitions
	for _, p := range s {
		if !o.has(p) {
			out = append(out, p)
		}
	}
	return out
}

// or are the partitions in either set.
func (s Partitions) or(o Partitions) Partitions {
	if len(o) == 0 {
		return s
	}
	return NewPartitions(slices.Concat(s, o))
}

// within tells whether all are in o.
func (s Partitions) within(o Partitions) bool {
	return !slices.ContainsFunc(s, func(p Partition) bool { return !o.has(p) })
}

func (s Partitions) equal(o Partitions) bool { return slices.Equal(s, o) }
