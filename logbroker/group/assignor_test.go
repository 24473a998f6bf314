package group

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// topicList are topics that the test changes.
type topicList struct {
	list             []Topic
	version, created uint64
}

func (l *topicList) find(ok func(Topic) bool) (Topic, bool) {
	if i := slices.IndexFunc(l.list, ok); i >= 0 {
		return l.list[i], true
	}
	return Topic{}, false
}

func (l *topicList) ByName(name string) (Topic, bool) {
	return l.find(func(t Topic) bool { return t.Name == name })
}

func (l *topicList) ByID(id TopicID) (Topic, bool) {
	return l.find(func(t Topic) bool { return t.ID == id })
}
func (l *topicList) Version() uint64 { return l.version }
func (l *topicList) Created() uint64 { return l.created }

func (l *topicList) Match(re *regexp.Regexp, _, _ string) (out []Topic) {
	for _, t := range l.list {
		if re.MatchString(t.Name) {
			out = append(out, t)
		}
	}
	return out
}

func (l *topicList) set(name string, partitions int32) {
	l.version++
	if _, ok := l.ByName(name); !ok {
		l.created++
	}
	id := TopicID{0: byte(len(name)), 1: name[len(name)-1]}
	l.list = slices.DeleteFunc(l.list, func(t Topic) bool { return t.Name == name })
	if partitions > 0 {
		l.list = append(l.list, Topic{ID: id, Name: name, Partitions: partitions})
		slices.SortFunc(l.list, func(a, b Topic) int { return comparePartitions(Partition{Topic: a.ID}, Partition{Topic: b.ID}) })
	}
}

func testTimes() Times { return Times{Heartbeat: 5 * time.Second, Session: 45 * time.Second} }

// TestUniformIsEven: whoever subscribes to the same gets the same number, and
// what can stay where it is stays.
func TestUniformIsEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topics := map[string]Topic{}
		var names []string
		total := 0
		for i := range rapid.IntRange(1, 4).Draw(t, "topics") {
			name := fmt.Sprintf("t%d", i)
			n := rapid.IntRange(1, 12).Draw(t, "partitions")
			topics[name] = Topic{ID: TopicID{byte(i + 1)}, Name: name, Partitions: int32(n)}
			names = append(names, name)
			total += n
		}
		a := assignment{topics: topics}
		members := rapid.IntRange(1, 9).Draw(t, "members")
		for i := range members {
			a.members = append(a.members, subscriber{id: fmt.Sprint(i), topics: names})
		}
		first := a.assign("uniform")
		even := func(sets []Partitions) {
			sum := 0
			for _, s := range sets {
				sum += len(s)
				if n := total / len(sets); len(s) < n || len(s) > n+1 {
					t.Fatalf("%d of %d partitions for one of %d members", len(s), total, len(sets))
				}
			}
			if sum != total {
				t.Fatalf("%d partitions assigned of %d", sum, total)
			}
		}
		even(first)
		for i := range a.members {
			a.members[i].has = first[i]
		}
		if again := a.assign("uniform"); !slices.EqualFunc(first, again, Partitions.equal) {
			t.Fatalf("%v became %v, and nothing had changed", first, again)
		}
		// One joins: only what it gets moves.
		a.members = append(a.members, subscriber{id: "new", topics: names})
		third := a.assign("uniform")
		even(third)
		moved := 0
		for i := range first {
			moved += len(third[i].without(first[i]))
		}
		if moved > 0 {
			t.Fatalf("%d partitions moved between old members", moved)
		}
	})
}

// TestRangeJoins: members get the same numbers of topics of the same size.
func TestRangeJoins(t *testing.T) {
	a := assignment{topics: map[string]Topic{"l": {TopicID{1}, "l", 5}, "r": {TopicID{2}, "r", 5}, "s": {TopicID{3}, "s", 1}}}
	for _, m := range []subscriber{{id: "b"}, {id: "z", instance: named("static")}, {id: "a"}} {
		m.topics = []string{"l", "r"}
		if m.id == "a" {
			m.topics = append(m.topics, "s")
		}
		a.members = append(a.members, m)
	}
	var got []string
	for i, set := range a.assign("range") {
		for _, p := range set {
			got = append(got, fmt.Sprintf("%s:%d-%d", a.members[i].id, p.Topic[0], p.Index))
		}
	}
	want := []string{"b:1-4", "b:2-4", "z:1-0", "z:1-1", "z:2-0", "z:2-1", "a:1-2", "a:1-3", "a:2-2", "a:2-3", "a:3-0"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}
