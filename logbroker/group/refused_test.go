package group

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A heartbeat that is refused for what it says changes nothing: who wanted the place
// of a static member has not taken it, and a group stays empty since when it was.
func TestRefusedHeartbeatChangesNothing(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	wrong := "("
	for name, change := range map[string]func(*Heartbeat){
		"pattern": func(h *Heartbeat) { h.Regex = &wrong },
		"size":    func(h *Heartbeat) { h.Room = 1; h.Topics = []string{"a topic with a longer name than before"} },
	} {
		g := NewConsumer("g", Config{}, func() Times { return Times{Heartbeat: time.Second, Session: time.Minute} })
		beat := func(id, instance string, epoch int32, change func(*Heartbeat)) error {
			h := Heartbeat{MemberID: id, InstanceID: named(instance), Epoch: epoch, Rebalance: time.Minute, OwnedGiven: true, Topics: []string{"t"}}
			change(&h)
			_, err := g.Heartbeat(now, h, &topicList{})
			return err
		}
		as := func(*Heartbeat) {}
		if err := errors.Join(beat("a", "i", JoinEpoch, as), beat("b", "", JoinEpoch, as), beat("a", "i", LeaveForNowEpoch, as)); err != nil {
			t.Fatal(err)
		}
		g.Changed()
		before, epoch := *g.static(named("i")), g.Epoch
		for _, id := range []string{"a", "b", "c"} {
			if err := beat(id, "i", JoinEpoch, change); !errors.Is(err, kerr.InvalidRegularExpression) && !errors.Is(err, kerr.UnknownServerError) {
				t.Fatalf("%s: %s is told %v", name, id, err)
			}
			if g.Changed() || g.Epoch != epoch || len(g.Members) != 2 || !reflect.DeepEqual(*g.static(named("i")), before) {
				t.Fatalf("%s: %s has changed the group: %+v", name, id, g.static(named("i")))
			}
		}
		if err := beat("c", "i", JoinEpoch, as); err != nil {
			t.Errorf("%s: the place is not free: %v", name, err)
		}

		g.Tick(now.Add(time.Hour))
		g.Changed()
		emptied := g.Emptied
		if err := beat("d", "", JoinEpoch, change); err == nil || g.Changed() || emptied.IsZero() || !g.Emptied.Equal(emptied) {
			t.Errorf("%s: emptied at %v, after a join that was refused with %v at %v", name, emptied, err, g.Emptied)
		}
	}
}

// TestRefusedUpgradeChangesNothing: a classic member that would speak the consumer
// protocol, and is refused for what it says, speaks the classic one on.
func TestRefusedUpgradeChangesNothing(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	wrong := "("
	g := NewConsumer("g", Config{}, func() Times { return Times{Heartbeat: time.Second, Session: time.Minute} })
	h := Heartbeat{MemberID: "b", Rebalance: time.Minute, OwnedGiven: true, Topics: []string{"t"}}
	if _, err := g.Heartbeat(now, h, &topicList{}); err != nil {
		t.Fatal(err)
	}
	metadata := kmsg.NewConsumerMemberMetadata()
	metadata.Version, metadata.Topics = 3, []string{"t"}
	join := Join{
		Session: time.Minute, Rebalance: time.Minute, ProtocolType: ConsumerProtocol, NewID: "a",
		Protocols: []Protocol{{Name: "range", Metadata: metadata.AppendTo(nil)}},
	}
	a := g.JoinClassic(now, join, &topicList{})
	if a.Err != nil {
		t.Fatal(a.Err)
	}
	g.Changed()
	for _, instance := range []string{"", "i"} {
		h = Heartbeat{MemberID: "a", InstanceID: named(instance), Rebalance: time.Minute, OwnedGiven: true, Topics: []string{"t"}, Regex: &wrong}
		if _, err := g.Heartbeat(now, h, &topicList{}); !errors.Is(err, kerr.InvalidRegularExpression) {
			t.Fatalf("instance %q: told %v", instance, err)
		}
		if m := g.member("a"); m.Classic == nil || g.Changed() {
			t.Fatalf("instance %q: the member has changed: %+v", instance, m)
		}
		if err := g.HeartbeatClassic(now, "a", NoInstance, a.Generation); err != nil {
			t.Fatalf("instance %q: the classic member is told %v", instance, err)
		}
	}
	h.InstanceID, h.Regex = NoInstance, nil
	if _, err := g.Heartbeat(now, h, &topicList{}); err != nil || g.member("a").Classic != nil || !g.Changed() {
		t.Errorf("told %v, and is %+v", err, g.member("a"))
	}
}

// TestWhoHasNoRoomIsNoMember: whatever room there is, by either protocol.
func TestWhoHasNoRoomIsNoMember(t *testing.T) {
	now, rack := time.UnixMilli(1_700_000_000_000), strings.Repeat("r", 100)
	refused := 0
	check := func(g *Consumer, err error, members, room int) {
		t.Helper()
		if err != nil {
			refused++
		}
		if (err == nil) != (len(g.Members) == members) || err == nil && g.Bytes() > room {
			t.Errorf("with room for %d bytes: told %v, %d members of %d bytes", room, err, len(g.Members), g.Bytes())
		}
	}
	m := Heartbeat{MemberID: "m", Rebalance: time.Minute, OwnedGiven: true, Topics: []string{"t"}}
	md := kmsg.NewConsumerMemberMetadata()
	md.Version, md.Topics, md.Rack = 3, []string{"t"}, &rack
	for room := 1; room < 2000; room++ {
		g := NewConsumer("g", Config{}, testTimes)
		h := m
		h.Room = room
		_, err := g.Heartbeat(now, h, &topicList{})
		check(g, err, 1, room)
	}
	for left := 0; left < 1000; left += 8 {
		md.UserData = make([]byte, MaxMemberBytes-left)
		g := NewConsumer("g", Config{}, testTimes)
		if _, err := g.Heartbeat(now, m, &topicList{}); err != nil {
			t.Fatal(err)
		}
		j := Join{NewID: "x", Session: time.Minute, Rebalance: time.Minute, ProtocolType: "consumer", Protocols: []Protocol{{"range", md.AppendTo(nil)}}}
		check(g, g.JoinClassic(now, j, &topicList{}).Err, 2, 2*MaxMemberBytes)
	}
	if refused < 400 {
		t.Errorf("%d were refused", refused)
	}
}

// TestAssignorsDataIsNotLost: a group whose assignor gives its members more than partitions,
// as Kafka Streams does, is not upgraded.
func TestAssignorsDataIsNotLost(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	for _, given := range []string{"", "tasks"} {
		g := New("g", Config{})
		md, a := kmsg.NewConsumerMemberMetadata(), kmsg.NewConsumerMemberAssignment()
		a.UserData = []byte(given)
		g.Join(now, Join{Request: 1, NewID: "m", Session: time.Minute, Rebalance: time.Minute, ProtocolType: "consumer", Protocols: []Protocol{{"stream", md.AppendTo(nil)}}})
		g.Sync(now, Sync{Request: 2, MemberID: "m", Generation: 1, Assignments: map[string][]byte{"m": a.AppendTo(nil)}})
		if g.State != Stable {
			t.Fatal(g.State)
		}
		_, err := g.Upgrade(now, &topicList{}, testTimes)
		if refused := errors.Is(err, kerr.GroupIDNotFound); refused != (given != "") || !refused && err != nil {
			t.Errorf("with data %q: %v", given, err)
		}
	}
}
