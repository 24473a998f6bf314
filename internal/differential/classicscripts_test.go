package differential

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (c *groupTalk) classic(f []string, given map[string]*string) string {
	m := c.members[f[1]]
	if m == nil {
		m = &groupMember{instance: given["static"]}
		c.members[f[1]] = m
	}
	md := kmsg.NewConsumerMemberMetadata()
	for _, t := range f[2:] {
		md.Topics = append(md.Topics, c.topicName(t))
	}
	var generation int32
	for {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Version, req.Group, req.MemberID, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 5, c.group, m.id, "consumer", 10_000, 10_000
		req.InstanceID = m.instance
		for name, ms := range map[string]*int32{"session": &req.SessionTimeoutMillis, "within": &req.RebalanceTimeoutMillis} {
			if given[name] != nil {
				_, _ = fmt.Sscan(*given[name], ms)
			}
		}
		req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: md.AppendTo(nil)}}
		got := c.ask(req).(*kmsg.JoinGroupResponse)
		m.id = got.MemberID
		if got.ErrorCode == 79 { // now it has an id
			continue
		}
		if got.ErrorCode != 0 {
			return codeName(got.ErrorCode)
		}
		generation = got.Generation
		break
	}
	if f[0] == "enter" {
		return fmt.Sprint("ok ", generation)
	}
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 3, c.group, m.id, generation
	req.InstanceID = m.instance
	a := kmsg.NewConsumerMemberAssignment()
	req.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: m.id, MemberAssignment: a.AppendTo(nil)}}
	return fmt.Sprint(codeName(c.ask(req).(*kmsg.SyncGroupResponse).ErrorCode), " ", generation)
}

func (c *groupTalk) waits(f []string) string {
	m := &groupMember{waits: make(chan *kmsg.JoinGroupResponse, 1)}
	c.members[f[1]] = m
	md := kmsg.NewConsumerMemberMetadata()
	for _, t := range f[2:] {
		md.Topics = append(md.Topics, c.topicName(t))
	}
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 5, c.group, "consumer", 10_000, 10_000
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: md.AppendTo(nil)}}
	m.id = c.ask(req).(*kmsg.JoinGroupResponse).MemberID // and is to come back with it
	req.MemberID = m.id
	other := dialBroker(c.t, c.name, c.conn.RemoteAddr().String())
	go func() {
		got, err := other.try(req)
		if err != nil {
			got = &kmsg.JoinGroupResponse{ErrorCode: -1}
		}
		m.waits <- got.(*kmsg.JoinGroupResponse)
	}()
	return settle(func() string {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Version, req.Groups = 5, []string{c.group}
		if state := c.ask(req).(*kmsg.DescribeGroupsResponse).Groups[0].State; state == "PreparingRebalance" {
			return state
		}
		return "busy"
	}, "busy")
}
