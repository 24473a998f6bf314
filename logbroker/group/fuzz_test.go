package group

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// FuzzRow reads any bytes as a group: it is refused, or goes on as a group does and
// is written and read again as it was.
func FuzzRow(f *testing.F) {
	f.Add([]byte(`{"version":1,"state":"Stable","protocol_type":"consumer","protocol":"range","generation":3,"leader":"a","members":[{"id":"a","session_ms":10000,"rebalance_ms":60000,"protocols":[{"Name":"range","Metadata":"AAA="}],"assignment":"AAA="}]}`))
	f.Add([]byte(`{"version":1,"state":"PreparingRebalance","generation":3,"members":[{"id":"a","instance_id":"i","protocols":[{"Name":"range"}]}]}`))
	f.Add([]byte(`{"version":1,"type":"consumer","epoch":5,"target_epoch":4,"members":[{"id":"a","rebalance_ms":1000,"topics":["t1"],"epoch":4,"previous_epoch":3,"state":"UnrevokedPartitions","revoking":[{"topic":"AgEAAAAAAAAAAAAAAAAAAA","partitions":[0]}]}]}`))
	f.Add([]byte(`{"version":1,"type":"consumer","epoch":5,"target_epoch":5,"members":[{"id":"a","topics":["t1"],"epoch":5,"previous_epoch":4,"state":"Stable","assigned":[{"topic":"AgEAAAAAAAAAAAAAAAAAAA","partitions":[0,1],"since":[3,5]}]}]}`))
	f.Add([]byte(`{"version":1,"type":"consumer","members":[{"id":"a","assigned":[{"topic":"AgEAAAAAAAAAAAAAAAAAAA","partitions":[0,1],"since":[3]}]}]}`))
	f.Add([]byte(`{"version":1,"type":"consumer","members":[{"id":"a","regex":"(","classic":{"session_ms":10000,"protocols":[]}}]}`))
	f.Fuzz(func(t *testing.T, row []byte) {
		now := time.Unix(1000, 0)
		topics := &topicList{version: 1}
		topics.set("t1", 3)
		if IsConsumer(row) {
			useConsumer(t, row, now, topics)
			return
		}
		g, err := Decode("g", row, Config{}, now)
		if err != nil {
			return
		}
		encoded, err := g.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode("g", encoded, Config{}, now)
		if err != nil {
			t.Fatalf("%s cannot be read: %v", encoded, err)
		}
		if second, err := again.Encode(); err != nil || !bytes.Equal(encoded, second) {
			t.Fatalf("%s became %s, %v", encoded, second, err)
		}
		if c, err := again.Upgrade(now, topics, testTimes); err == nil {
			c.Tick(now.Add(time.Hour))
		}
		md := kmsg.NewConsumerMemberMetadata()
		g.Join(now, Join{MemberID: "", NewID: "new", Request: 1, Session: time.Minute, Rebalance: time.Minute, ProtocolType: "consumer", Protocols: []Protocol{{"range", md.AppendTo(nil)}}})
		for range 20 {
			now = now.Add(time.Hour)
			g.Tick(now)
		}
		if next := g.Next(); !next.IsZero() && next.Before(now) {
			t.Fatalf("something is due since %v and stays due", now.Sub(next))
		}
	})
}

func useConsumer(t *testing.T, row []byte, now time.Time, topics *topicList) {
	t.Helper()
	g, err := DecodeConsumer("g", row, Config{}, now, testTimes)
	if err != nil {
		return
	}
	encoded, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeConsumer("g", encoded, Config{}, now, testTimes)
	if err != nil {
		t.Fatalf("%s cannot be read: %v", encoded, err)
	}
	if second, err := again.Encode(); err != nil || !bytes.Equal(encoded, second) {
		t.Fatalf("%s became %s, %v", encoded, second, err)
	}
	if again.onlyClassic() {
		again.Downgrade(now, topics).Tick(now.Add(time.Hour))
	}
	md := kmsg.NewConsumerMemberMetadata()
	g.JoinClassic(now, Join{NewID: "old", Session: time.Minute, ProtocolType: "consumer", Protocols: []Protocol{{"range", md.AppendTo(nil)}}}, topics)
	for _, m := range g.Members {
		if m.Classic != nil {
			g.SyncClassic(now, Sync{MemberID: m.ID, InstanceID: m.InstanceID, Generation: m.Epoch}, topics)
			_ = g.HeartbeatClassic(now, m.ID, m.InstanceID, m.Epoch)
		}
	}
	regex := ""
	a, err := g.Heartbeat(now, Heartbeat{MemberID: "new", Rebalance: time.Minute, OwnedGiven: true, Topics: []string{"t1"}, Regex: &regex}, topics)
	if err == nil {
		_, err = g.Heartbeat(now, Heartbeat{MemberID: "new", Epoch: a.Epoch, Rebalance: Unchanged, Owned: a.Assignment, OwnedGiven: true}, topics)
	}
	if code := (*kerr.Error)(nil); err != nil && !errors.As(err, &code) {
		t.Fatal(err)
	}
	g.Tick(now.Add(24 * time.Hour))
}
