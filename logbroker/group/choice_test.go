package group

import (
	"fmt"
	"slices"
	"testing"
)

// TestUniformKeepsWhatMayBeKept: of what a member has it keeps what it subscribes to,
// what there still is, and what nobody else has.
func TestUniformKeepsWhatMayBeKept(t *testing.T) {
	part := func(topic byte, index int32) Partition { return Partition{Topic: TopicID{topic}, Index: index} }
	a := assignment{
		topics: map[string]Topic{"left": {TopicID{1}, "left", 2}, "read": {TopicID{2}, "read", 2}},
		members: []subscriber{
			{id: "a", topics: []string{"read"}, has: Partitions{part(1, 0), part(2, 0)}},                // left is not its any more
			{id: "b", topics: []string{"left", "read"}, has: Partitions{part(1, 5), part(2, 0)}},        // there is no partition 5, and one is a's
			{id: "c", topics: []string{"left", "read"}, has: Partitions{part(1, 1), part(9, 0)}},        // there is no topic 9
			{id: "d", topics: []string{"nowhere"}, has: Partitions{part(1, 0), part(1, 1), part(2, 1)}}, // none is its
		},
	}
	var got []string
	for i, set := range a.assign("uniform") {
		for _, p := range set {
			got = append(got, fmt.Sprintf("%s:%d-%d", a.members[i].id, p.Topic[0], p.Index))
		}
	}
	if want := []string{"a:2-0", "a:2-1", "b:1-0", "c:1-1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestAssignmentsAreTheSame: of the same members and topics, whatever the order in which
// those are found: partitions would move for nothing.
func TestAssignmentsAreTheSame(t *testing.T) {
	for _, name := range Assignors {
		var first []Partitions
		for range 50 {
			a := assignment{topics: map[string]Topic{}}
			var names []string
			for i := range byte(20) {
				names = append(names, fmt.Sprintf("t%02d", i))
				a.topics[names[i]] = Topic{TopicID{i + 1}, names[i], 3}
			}
			for i := range 7 {
				a.members = append(a.members, subscriber{id: fmt.Sprint(i), topics: names})
			}
			got := a.assign(name)
			if first == nil {
				first = got
			}
			if !slices.EqualFunc(first, got, Partitions.equal) {
				t.Fatalf("%s: %v, and before %v", name, got, first)
			}
		}
	}
}
