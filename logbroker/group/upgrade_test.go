package group

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestUpgradeWithinARebalance: who has joined, and was not assigned anything yet, gets its own
// after the upgrade, also if who upgraded the group subscribes to nothing that there is.
func TestUpgradeWithinARebalance(t *testing.T) {
	now := time.Unix(1000, 0)
	topics := &topicList{version: 1}
	topics.set("a", 2)
	md := kmsg.NewConsumerMemberMetadata()
	md.Version, md.Topics = 1, []string{"a"}
	join := func(id string, request RequestID) Join {
		return Join{
			Request: request, MemberID: id, NewID: id + "new", Session: 30 * time.Second, Rebalance: time.Minute, ProtocolType: ConsumerProtocol,
			Protocols: []Protocol{{"range", md.AppendTo(nil)}},
		}
	}
	g := New("g", Config{})
	first := g.Join(now, join("", 1))[0].Join
	has := (&ClassicMember{Protocols: []Protocol{{"range", md.AppendTo(nil)}}}).encodeAssignment(NewPartitions([]Partition{{topics.list[0].ID, 0}, {topics.list[0].ID, 1}}), topics)
	g.Sync(now, Sync{Request: 2, MemberID: first.MemberID, Generation: first.Generation, Assignments: map[string][]byte{first.MemberID: has}})
	second := join("", 3)
	second.NewID = "second"
	g.Join(now, second) // waits for the first to join again
	c, err := g.Upgrade(now, topics, testTimes)
	if err != nil {
		t.Fatal(err)
	}
	nothing := "zzz"
	if _, err := c.Heartbeat(now, Heartbeat{MemberID: "m", Rebalance: time.Minute, Regex: &nothing, OwnedGiven: true}, topics); err != nil {
		t.Fatal(err)
	}
	if a := c.JoinClassic(now, join("second", 0), topics); a.Err != nil {
		t.Fatal(a.Err)
	}
	if m := c.member("second"); len(m.Target) != 1 {
		t.Errorf("it is to have %v", m.Target)
	}
}

// TestManySessionsEndAtOnce: the time that it takes grows little faster than their number.
func TestManySessionsEndAtOnce(t *testing.T) {
	took := func(n int) time.Duration {
		g := NewConsumer("g", Config{}, testTimes)
		for range n {
			m := &ConsumerMember{ID: string(rune('a' + len(g.Members))), State: settled, seen: time.Unix(1000, 0), resolved: []string{"a", "b", "c", "d", "e"}}
			g.Members = append(g.Members, m)
		}
		began := time.Now()
		g.Tick(time.Unix(2000, 0))
		if len(g.Members) > 0 {
			t.Fatalf("%d of %d members are left", len(g.Members), n)
		}
		return time.Since(began)
	}
	if d := took(8000); d > 5*time.Second {
		t.Errorf("8000 members took %v", d)
	}
}
