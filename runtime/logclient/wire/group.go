package wire

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/runtime/assign"
	"github.com/levada/levada/runtime/logclient"
)

// JoinProtocol describes a member that joins its group: the topics it reads,
// what it owns since the generation, and its userdata.
func JoinProtocol(topics []string, userData []byte, owned []logclient.TopicPartition, generation int32) kmsg.JoinGroupRequestProtocol {
	meta := assign.Metadata{Topics: topics, UserData: userData, Generation: generation}
	for _, tp := range owned {
		meta.Owned = append(meta.Owned, assign.Partition{Topic: tp.Topic, Partition: tp.Partition})
	}
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = assign.Protocol, assign.EncodeMetadata(meta)
	return p
}

// Group is the whole group, as its leader is told.
type Group struct {
	members []assign.Member
	// Topics are those that any member reads, sorted.
	Topics []string
}

// DecodeGroup reads the members out of the answer to the leader's JoinGroup.
func DecodeGroup(resp *kmsg.JoinGroupResponse) (Group, error) {
	var g Group
	for _, r := range resp.Members {
		meta, err := assign.DecodeMetadata(r.ProtocolMetadata)
		if err != nil {
			return Group{}, fmt.Errorf("metadata of member %s: %w", r.MemberID, err)
		}
		one := assign.Member{ID: r.MemberID, Metadata: meta}
		if r.InstanceID != nil {
			one.InstanceID = *r.InstanceID
		}
		g.members = append(g.members, one)
		g.Topics = append(g.Topics, meta.Topics...)
	}
	slices.Sort(g.Topics)
	g.Topics = slices.Compact(g.Topics)
	return g, nil
}

// Assign computes what each member gets; partitions counts those of each topic.
func (g Group) Assign(partitions map[string]int32) ([]kmsg.SyncGroupRequestGroupAssignment, error) {
	assigned, err := assign.Assign(g.members, partitions)
	if err != nil {
		return nil, err
	}
	var out []kmsg.SyncGroupRequestGroupAssignment
	for _, one := range g.members {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = one.ID, assign.EncodeAssignment(assigned[one.ID])
		out = append(out, a)
	}
	return out, nil
}

// Change is what an assignment changes for a member.
type Change struct {
	Owned, Added, Lost []logclient.TopicPartition
	UserData           []byte
}

// DecodeChange reads an assignment of a member that owns partitions.
func DecodeChange(assignment []byte, owned []logclient.TopicPartition) (Change, error) {
	a, err := assign.DecodeAssignment(assignment)
	if err != nil {
		return Change{}, err
	}
	c := Change{UserData: a.UserData}
	for _, p := range a.Partitions {
		tp := logclient.TopicPartition{Topic: p.Topic, Partition: p.Partition}
		c.Owned = append(c.Owned, tp)
		if !slices.Contains(owned, tp) {
			c.Added = append(c.Added, tp)
		}
	}
	for _, tp := range owned {
		if !slices.Contains(c.Owned, tp) {
			c.Lost = append(c.Lost, tp)
		}
	}
	return c, nil
}
