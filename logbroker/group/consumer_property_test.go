package group

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// topicList are topics that the test changes.
type topicList struct {
	list    []Topic
	version uint64
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
	id := TopicID{0: byte(len(name)), 1: name[len(name)-1]}
	l.list = slices.DeleteFunc(l.list, func(t Topic) bool { return t.Name == name })
	if partitions > 0 {
		l.list = append(l.list, Topic{ID: id, Name: name, Partitions: partitions})
		slices.SortFunc(l.list, func(a, b Topic) int { return comparePartitions(Partition{Topic: a.ID}, Partition{Topic: b.ID}) })
	}
}

func testTimes() (heartbeat, session time.Duration) { return 5 * time.Second, 45 * time.Second }

// client is a consumer as the protocol wants it: it gives partitions up before it
// says so, and takes those it is told to.
type client struct {
	id      string
	classic bool
	joined  bool
	epoch   int32
	topics  []string
	regex   string
	owned   Partitions
	target  Partitions // what it was told last
	rejoin  bool       // a classic member that has to join again
}

// world is a group with its clients.
type world struct {
	t       *rapid.T
	topics  *topicList
	group   *Consumer
	clients []*client
	now     time.Time
	ids     int
}

func (w *world) beat(c *client, lost bool) {
	if c.owned.within(c.target) {
		c.owned = c.target // it takes what it is to take before it tells what it owns
	}
	if c.classic {
		w.beatClassic(c, lost)
		return
	}
	h := Heartbeat{MemberID: c.id, Epoch: c.epoch, Rebalance: -1, EmptyIDForbidden: true, Owned: c.owned, OwnedGiven: true}
	if !c.joined {
		h.Epoch, h.Rebalance, h.Topics, h.Regex = JoinEpoch, time.Hour, c.topics, &c.regex
		if h.Topics == nil {
			h.Topics = []string{}
		}
	}
	a, err := w.group.Heartbeat(w.now, h, w.topics)
	if lost {
		return
	}
	if err != nil {
		if !errors.Is(err, kerr.FencedMemberEpoch) && !errors.Is(err, kerr.UnknownMemberID) {
			w.t.Fatalf("client %s: %v", c.id, err)
		}
		c.forget()
		return
	}
	c.joined, c.epoch = true, a.Epoch
	if a.AssignmentGiven {
		c.target = a.Assignment
	}
}

func (c *client) forget() { c.joined, c.epoch, c.owned, c.target, c.rejoin = false, 0, nil, nil, false }

// act gives up what the client was not told to have; if there was nothing, it
// takes what it was.
func (c *client) act() {
	if kept := c.owned.and(c.target); len(kept) < len(c.owned) {
		c.owned = kept
		c.rejoin = c.classic
		return
	}
	c.owned = c.target
}

func (w *world) beatClassic(c *client, lost bool) {
	if c.joined && !c.rejoin {
		err := w.group.HeartbeatClassic(w.now, c.id, "", c.epoch, w.topics)
		if lost || err == nil {
			return
		}
		if !errors.Is(err, kerr.RebalanceInProgress) {
			c.forget()
			return
		}
		c.rejoin = true
	}
	md := kmsg.NewConsumerMemberMetadata()
	md.Version, md.Topics = 3, c.topics
	for _, p := range c.owned {
		if t, ok := w.topics.ByID(p.Topic); ok {
			o := kmsg.NewConsumerMemberMetadataOwnedPartition()
			o.Topic, o.Partitions = t.Name, []int32{p.Index}
			md.OwnedPartitions = append(md.OwnedPartitions, o)
		}
	}
	a := w.group.JoinClassic(w.now, Join{
		MemberID: c.id, Session: 45 * time.Second, Rebalance: time.Hour, ProtocolType: "consumer",
		Protocols: []Protocol{{Name: "cooperative-sticky", Metadata: md.AppendTo(nil)}}, NewID: c.id, CanSkip: true,
	}, w.topics)
	if lost {
		return
	}
	if a.Err != nil {
		w.t.Fatalf("classic client %s: %v", c.id, a.Err)
	}
	s := w.group.SyncClassic(w.now, Sync{MemberID: c.id, Generation: a.Generation}, w.topics)
	if s.Err != nil {
		if !errors.Is(s.Err, kerr.RebalanceInProgress) {
			w.t.Fatalf("classic client %s: sync: %v", c.id, s.Err)
		}
		c.joined, c.epoch, c.rejoin = true, a.Generation, true
		return
	}
	target, err := decodeAssignment(s.Assignment, w.topics)
	if err != nil {
		w.t.Fatal(err)
	}
	c.joined, c.epoch, c.target, c.rejoin = true, a.Generation, target, false
}

func (w *world) check() {
	owner := map[Partition]string{}
	for _, c := range w.clients {
		for _, p := range c.owned {
			if _, ok := w.topics.ByID(p.Topic); !ok {
				continue
			}
			if other, taken := owner[p]; taken {
				w.t.Fatalf("partition %v is consumed by %s and %s", p, other, c.id)
			}
			owner[p] = c.id
		}
	}
}

func (w *world) restart() {
	row, err := w.group.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	if !IsConsumer(row) {
		w.t.Fatal("the row is not a consumer group's")
	}
	if w.group, err = DecodeConsumer("g", row, Config{}, w.now, testTimes); err != nil {
		w.t.Fatal(err)
	}
	again, err := w.group.Encode()
	if err != nil || string(again) != string(row) {
		w.t.Fatalf("the row changes when it is read: %v\n%s\n%s", err, row, again)
	}
}

func (w *world) leave(c *client) {
	if c.joined {
		if c.classic {
			if err := w.group.LeaveClassic(w.now, c.id, ""); err != nil && !errors.Is(err, kerr.UnknownMemberID) {
				w.t.Fatal(err)
			}
		} else if _, err := w.group.Heartbeat(w.now, Heartbeat{MemberID: c.id, Epoch: LeaveEpoch}, w.topics); err != nil && !errors.Is(err, kerr.UnknownMemberID) {
			w.t.Fatal(err)
		}
	}
	c.forget()
	w.clients = slices.DeleteFunc(w.clients, func(o *client) bool { return o == c })
}

func (w *world) add(classic bool) {
	w.ids++
	c := &client{id: fmt.Sprintf("c%02d", w.ids), classic: classic}
	switch kind := rapid.IntRange(0, 3).Draw(w.t, "subscription"); {
	case kind == 0 && !classic:
		c.regex = "t[1-9]"
	case kind == 1:
		c.topics = []string{"t1"}
	default:
		c.topics = []string{"t1", "t2"}
	}
	w.clients = append(w.clients, c)
}

// TestConsumerGroupsShare: whatever comes, goes, is lost or restarts, no partition
// is consumed by two at once; and when all is quiet each is consumed by somebody.
func TestConsumerGroupsShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, topics: &topicList{version: 1}, now: time.Unix(1000, 0), group: NewConsumer("g", Config{}, testTimes)}
		w.topics.set("t1", 4)
		w.add(false)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			w.now = w.now.Add(time.Second)
			c := w.clients[rapid.IntRange(0, len(w.clients)-1).Draw(t, "who")]
			switch what := rapid.IntRange(0, 19).Draw(t, "what"); what {
			case 0:
				w.add(false)
			case 1:
				w.add(true)
			case 2:
				if len(w.clients) > 1 {
					w.leave(c)
				}
			case 3:
				name := fmt.Sprintf("t%d", rapid.IntRange(1, 3).Draw(t, "topic"))
				old, _ := w.topics.ByName(name)
				w.topics.set(name, max(old.Partitions, int32(rapid.IntRange(1, 9).Draw(t, "partitions"))))
			case 4:
				w.restart()
			case 5, 6, 7:
				w.beat(c, true)
			case 8, 9, 10, 11, 12:
				c.act()
			default:
				w.beat(c, false)
			}
			w.check()
		}
		w.settle()
	})
}

// settle lets everybody go on until nothing changes, and looks at the end.
func (w *world) settle() {
	if !slices.ContainsFunc(w.clients, func(c *client) bool { return !c.classic }) {
		w.add(false) // a group of classic members alone is a classic group
	}
	// A member whose first answer was lost, and who left without knowing that it
	// was one, is silent.
	for _, after := range []time.Duration{0, 40 * time.Second, 10 * time.Second} {
		w.now = w.now.Add(after)
		if after > 0 {
			w.group.Tick(w.now)
		}
		for _, c := range w.clients {
			w.beat(c, false)
		}
	}
	for range 40 {
		for _, c := range w.clients {
			w.now = w.now.Add(time.Millisecond)
			w.beat(c, false)
			c.act()
			w.check()
		}
	}
	if state := w.group.State(); state != Stable {
		row, err := w.group.Encode()
		w.t.Fatalf("the group is %s after all that: %s, %v", state, row, err)
	}
	for _, topic := range w.topics.list {
		subscribed := slices.ContainsFunc(w.clients, func(c *client) bool {
			return slices.Contains(c.topics, topic.Name) || c.regex != ""
		})
		for i := range topic.Partitions {
			n := 0
			for _, c := range w.clients {
				if c.owned.has(Partition{topic.ID, i}) {
					n++
				}
			}
			if want := map[bool]int{true: 1}[subscribed]; n != want {
				w.t.Fatalf("partition %s-%d is consumed by %d clients, want %d", topic.Name, i, n, want)
			}
		}
	}
}

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
	for _, m := range []subscriber{{id: "b"}, {id: "z", instance: "static"}, {id: "a"}} {
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
