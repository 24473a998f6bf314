package group

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestCheckHeartbeat: what no group can take, whoever says it.
func TestCheckHeartbeat(t *testing.T) {
	text := func(s string) *string { return &s }
	joins := func(change func(*Heartbeat)) Heartbeat {
		h := Heartbeat{MemberID: "m", Rebalance: time.Minute, OwnedGiven: true, Topics: []string{"a"}, EmptyIDForbidden: true}
		change(&h)
		return h
	}
	beats := func(epoch int32, change func(*Heartbeat)) Heartbeat {
		h := Heartbeat{MemberID: "m", Epoch: epoch, Rebalance: Unchanged}
		change(&h)
		return h
	}
	as := func(*Heartbeat) {}
	for name, c := range map[string]struct {
		h    Heartbeat
		want error
	}{
		"a join":                           {joins(as), nil},
		"of no id, which version 0 may":    {joins(func(h *Heartbeat) { h.MemberID, h.EmptyIDForbidden = "", false }), nil},
		"of no id":                         {joins(func(h *Heartbeat) { h.MemberID = "" }), kerr.InvalidRequest},
		"of blanks for an id":              {joins(func(h *Heartbeat) { h.MemberID = " \t" }), kerr.InvalidRequest},
		"by a pattern":                     {joins(func(h *Heartbeat) { h.Topics, h.Regex = nil, text("a") }), nil},
		"to nothing":                       {joins(func(h *Heartbeat) { h.Topics = nil }), kerr.InvalidRequest},
		"without a time-out":               {joins(func(h *Heartbeat) { h.Rebalance = Unchanged }), kerr.InvalidRequest},
		"not saying what it owns":          {joins(func(h *Heartbeat) { h.OwnedGiven = false }), kerr.InvalidRequest},
		"owning a topic":                   {joins(func(h *Heartbeat) { h.OwnedTopics = true }), kerr.InvalidRequest},
		"owning a partition":               {joins(func(h *Heartbeat) { h.Owned = Partitions{{}} }), kerr.InvalidRequest},
		"with a rack":                      {joins(func(h *Heartbeat) { h.RackID = text("r") }), nil},
		"with an empty rack":               {joins(func(h *Heartbeat) { h.RackID = text("") }), kerr.InvalidRequest},
		"with an assignor":                 {joins(func(h *Heartbeat) { h.Assignor = text("range") }), nil},
		"with one that there is not":       {joins(func(h *Heartbeat) { h.Assignor = text("none") }), kerr.UnsupportedAssignor},
		"a sign of life":                   {beats(3, as), nil},
		"of nobody":                        {beats(3, func(h *Heartbeat) { h.MemberID = "" }), kerr.InvalidRequest},
		"who leaves":                       {beats(LeaveEpoch, as), nil},
		"nobody leaves":                    {beats(LeaveEpoch, func(h *Heartbeat) { h.MemberID = "" }), kerr.InvalidRequest},
		"who leaves for now":               {beats(LeaveForNowEpoch, func(h *Heartbeat) { h.InstanceID = named("i") }), nil},
		"who leaves for now by no id":      {beats(LeaveForNowEpoch, func(h *Heartbeat) { h.InstanceID, h.MemberID = named("i"), "" }), nil},
		"who has no place to come back to": {beats(LeaveForNowEpoch, as), kerr.InvalidRequest},
		"an epoch that there is not":       {beats(LeaveForNowEpoch-1, func(h *Heartbeat) { h.InstanceID = named("i") }), kerr.InvalidRequest},
	} {
		if err := CheckHeartbeat(c.h); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestIsBlank(t *testing.T) {
	for text, want := range map[string]bool{"": true, " ": true, "\x00\t\n ": true, "a": false, " a ": false, "!": false} {
		if got := IsBlank(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// TestOfConsumerProtocol: of the members of a group, who speaks which protocol.
func TestOfConsumerProtocol(t *testing.T) {
	now := time.Unix(1000, 0)
	g := NewConsumer("g", Config{}, testTimes)
	if _, err := g.Heartbeat(now, Heartbeat{MemberID: "new", Rebalance: time.Minute, OwnedGiven: true, Topics: []string{"a"}}, &topicList{}); err != nil {
		t.Fatal(err)
	}
	md := kmsg.NewConsumerMemberMetadata()
	old := g.JoinClassic(now, Join{MemberID: "old", Session: time.Minute, Rebalance: time.Minute, ProtocolType: ConsumerProtocol, Protocols: []Protocol{{"range", md.AppendTo(nil)}}}, &topicList{})
	if old.Err != nil {
		t.Fatal(old.Err)
	}
	for id, want := range map[string]bool{"new": true, "old": false, "nobody": false} {
		if got := g.OfConsumerProtocol(id); got != want {
			t.Errorf("%s: %v, want %v", id, got, want)
		}
	}
}
