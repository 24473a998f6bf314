package assign

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Names by which the members of a group agree on this assignor.
const (
	// ProtocolType is the type of group that consumers form.
	ProtocolType = "consumer"
	// Protocol is the name of the assignor.
	Protocol = "levada-cooperative-1"
)

const metadataVersion = 3 // v1 has owned partitions, v2 the generation, v3 a rack

// Partition names one partition.
type Partition struct {
	Topic     string
	Partition int32
}

func comparePartitions(a, b Partition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

// Metadata is what a member joins with.
type Metadata struct {
	Topics   []string
	UserData []byte // see UserData
	// Owned are the partitions that the member has at this moment.
	Owned []Partition
	// Generation is the one in which it got them; -1 if it has none.
	Generation int32
}

// EncodeMetadata returns the consumer protocol's member metadata, version 3.
// Equal metadata gives equal bytes.
func EncodeMetadata(m Metadata) []byte {
	k := kmsg.NewConsumerMemberMetadata()
	k.Version, k.Topics, k.UserData, k.Generation = metadataVersion, slices.Sorted(slices.Values(m.Topics)), m.UserData, m.Generation
	for _, run := range runs(m.Owned) {
		o := kmsg.NewConsumerMemberMetadataOwnedPartition()
		o.Topic, o.Partitions = run.topic, run.partitions
		k.OwnedPartitions = append(k.OwnedPartitions, o)
	}
	return k.AppendTo(nil)
}

// DecodeMetadata reads member metadata of version 0 to 3. The strings and
// UserData do not refer to b.
func DecodeMetadata(b []byte) (Metadata, error) {
	k := kmsg.NewConsumerMemberMetadata()
	if err := k.ReadFrom(b); err != nil {
		return Metadata{}, fmt.Errorf("%w: metadata of a member: %w", ErrCorrupt, err)
	}
	m := Metadata{Topics: k.Topics, UserData: slices.Clone(k.UserData), Generation: -1}
	if k.Version >= 2 {
		m.Generation = k.Generation
	}
	for _, o := range k.OwnedPartitions {
		for _, p := range o.Partitions {
			m.Owned = append(m.Owned, Partition{o.Topic, p})
		}
	}
	return m, nil
}

// Assignment is what a member is told.
type Assignment struct {
	// Partitions are all that the member shall own, in order.
	Partitions []Partition
	// UserData lists the live transactional ids; see DecodeLive.
	UserData []byte
}

// EncodeAssignment returns the consumer protocol's assignment, version 1.
func EncodeAssignment(a Assignment) []byte {
	k := kmsg.NewConsumerMemberAssignment()
	k.Version, k.UserData = 1, a.UserData
	for _, run := range runs(a.Partitions) {
		t := kmsg.NewConsumerMemberAssignmentTopic()
		t.Topic, t.Partitions = run.topic, run.partitions
		k.Topics = append(k.Topics, t)
	}
	return k.AppendTo(nil)
}

// DecodeAssignment reads an assignment. No bytes are an empty one: the group
// protocol sends that to a member the leader did not know.
func DecodeAssignment(b []byte) (Assignment, error) {
	var a Assignment
	if len(b) == 0 {
		return a, nil
	}
	k := kmsg.NewConsumerMemberAssignment()
	if err := k.ReadFrom(b); err != nil {
		return a, fmt.Errorf("%w: assignment: %w", ErrCorrupt, err)
	}
	a.UserData = slices.Clone(k.UserData)
	for _, t := range k.Topics {
		for _, p := range t.Partitions {
			a.Partitions = append(a.Partitions, Partition{t.Topic, p})
		}
	}
	return a, nil
}

type run struct {
	topic      string
	partitions []int32
}

// runs groups partitions by topic, in order.
func runs(ps []Partition) []run {
	var out []run
	for _, p := range slices.SortedFunc(slices.Values(ps), comparePartitions) {
		if len(out) == 0 || out[len(out)-1].topic != p.Topic {
			out = append(out, run{topic: p.Topic})
		}
		last := &out[len(out)-1]
		last.partitions = append(last.partitions, p.Partition)
	}
	return out
}
