package logbroker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// once leaves out of a list what it names again, in place. What is told of one thing
// can be large, and its name short: were it told as often as it is named, the answer
// to a small request could be larger than memory.
func once[T any, K comparable](list []T, key func(*T) K) []T {
	if len(list) < 2 {
		return list
	}
	seen := make(map[K]bool, len(list))
	return slices.DeleteFunc(list, func(e T) bool {
		k := key(&e)
		again := seen[k]
		seen[k] = true
		return again
	})
}

// itself is the key of what is nothing but a name or a number.
func itself[T comparable](e *T) T { return *e }

// offsetsOnce leaves out groups all of whose offsets, and partitions whose offset, are
// asked for again.
func offsetsOnce(groups []kmsg.OffsetFetchRequestGroup) []kmsg.OffsetFetchRequestGroup {
	type place struct {
		group, topic string
		id           [16]byte
		partition    int32
	}
	nth := wholly[string]{}
	groups = once(groups, func(g *kmsg.OffsetFetchRequestGroup) named[string] { return nth.key(g.Group, g.Topics == nil) })
	seen := map[place]bool{}
	for i := range groups {
		for j := range groups[i].Topics {
			t := &groups[i].Topics[j]
			t.Partitions = slices.DeleteFunc(t.Partitions, func(n int32) bool {
				at := place{groups[i].Group, t.Topic, t.TopicID, n}
				again := seen[at]
				seen[at] = true
				return again
			})
		}
	}
	return groups
}

// named is a thing that is asked for wholly, nth 0, or in parts that are named and
// bound the answer themselves, which is not the same as any other.
type named[K comparable] struct {
	key K
	nth int
}

// wholly makes keys of things that are asked for wholly or in parts.
type wholly[K comparable] struct{ parts int }

func (w *wholly[K]) key(key K, whole bool) named[K] {
	if whole {
		return named[K]{key, 0}
	}
	w.parts++
	return named[K]{key, w.parts}
}
