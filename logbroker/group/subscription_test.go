package group

import (
	"bytes"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestSubscriptions: what classic consumers of every version say of themselves, and the
// assignment that they are given in it.
func TestSubscriptions(t *testing.T) {
	topics := &topicList{version: 1}
	topics.set("a", 3)
	topics.set("b", 1)
	a, _ := topics.ByName("a")
	b, _ := topics.ByName("b")
	part := func(t Topic, index int32) Partition { return Partition{t.ID, index} }
	rack, empty := "r", ""
	for version := int16(-1); version <= 5; version++ {
		md := kmsg.NewConsumerMemberMetadata()
		md.Version, md.Topics = version, []string{"b", "a"}
		md.OwnedPartitions = []kmsg.ConsumerMemberMetadataOwnedPartition{{Topic: "a", Partitions: []int32{2, 0}}, {Topic: "gone", Partitions: []int32{1}}}
		md.Rack = &rack
		text := md.AppendTo(nil)
		got, err := subscriptionOf(text, topics)
		if version < 0 {
			if err == nil {
				t.Errorf("version %d is taken", version)
			}
			continue
		}
		var owned Partitions
		if version >= 1 {
			owned = Partitions{part(a, 0), part(a, 2)}
		}
		if err != nil || !slices.Equal(got.names, md.Topics) || !got.owned.equal(owned) || (got.rack != nil) != (version >= 3) {
			t.Errorf("version %d: %+v, %v; want %q owning %v", version, got, err, md.Topics, owned)
		}

		c := ClassicMember{Protocols: []Protocol{{"range", text}}}
		set := Partitions{part(a, 0), part(a, 2), part(b, 0), {Topic: TopicID{99}}}
		want := kmsg.NewConsumerMemberAssignment()
		want.Version = min(version, 3)
		want.Topics = []kmsg.ConsumerMemberAssignmentTopic{{Topic: "a", Partitions: []int32{0, 2}}, {Topic: "b", Partitions: []int32{0}}}
		if b := c.encodeAssignment(set, topics); !bytes.Equal(b, want.AppendTo(nil)) {
			t.Errorf("version %d: the assignment is % x, want % x", version, b, want.AppendTo(nil))
		}
		if again, err := decodeAssignment(want.AppendTo(nil), topics); err != nil || !again.equal(set[:3]) {
			t.Errorf("version %d: the assignment is read as %v, %v; want %v", version, again, err, set[:3])
		}
	}
	odd := ClassicMember{Protocols: []Protocol{{"range", []byte{0xff, 0xff}}}} // of a group that chose another protocol
	if b := odd.encodeAssignment(nil, topics); b[0] != 0 || b[1] != 0 {
		t.Errorf("an assignment of version % x", b[:2])
	}
	md := kmsg.NewConsumerMemberMetadata()
	md.Version, md.Rack = 3, &empty
	if got, err := subscriptionOf(md.AppendTo(nil), topics); err != nil || got.rack != nil || got.names == nil {
		t.Errorf("%+v, %v; want no rack, and no topics that are known", got, err)
	}
}
